"""Readers of the journal: records, views and metrics of jobs. They never change the scheduler.

``projection`` folds journal rows into a ``record`` of each job · ``tables`` and ``views`` show it
to users · ``cluster`` and ``prometheus`` metrics · ``story`` the decisions in sentences.

Nothing is re-exported here: a process imports only the readers that it needs.
"""
