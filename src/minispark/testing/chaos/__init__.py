"""A job on real processes while its cluster is taken apart, by a printed seed.

``faults`` what happens, drawn from a seed · ``gate`` a network to cut · ``shaky`` the cluster to
which it happens · ``ordeal`` a job that goes through it · ``trial`` a job of the user's, twice.
"""
