"""Chaos on real processes: jobs run while their cluster is taken apart, by a printed seed.

``faults`` what happens, drawn from a seed · ``gate`` a network to cut · ``shaky`` the cluster to
which it happens · ``ordeal`` a job that goes through it · ``jobs`` jobs whose answers are known ·
``suite`` many of them · ``journals`` what is kept of a run.
"""
