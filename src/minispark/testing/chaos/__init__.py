"""Fault injection on real processes: a job runs while faults strike its cluster, by a seed.

``faults`` the faults, drawn from a seed · ``tcp_proxy`` a network to cut · ``faulty_cluster`` the
cluster · ``fault_run`` a job under faults · ``trial`` a user's job with and without faults.
"""
