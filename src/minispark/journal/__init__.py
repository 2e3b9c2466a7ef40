"""The journal: what happened, durable and in order. Below everything that reads it.

``rows`` what a row holds, as types · ``decisions`` what was decided · ``journal`` writing and
reading them · ``writer`` the thread that makes writes durable · ``schema`` tables and versions ·
``checkpoint`` notices a loss · ``commits`` publishes the files of a job · ``news`` sentences about
the cluster, kept beside.
"""
