"""The journal: events and decisions, durable and in order.

- `rows`: the types of rows, and their JSON
- `decisions`: the decisions in a row
- `journal`: writing and reading of rows
- `writer_thread`: the thread that makes writes durable
- `schema`: tables and versions
- `checkpoint`: detection of lost rows
- `commits`: publication of a job's files
- `cluster_event`: events of the cluster as sentences
"""
