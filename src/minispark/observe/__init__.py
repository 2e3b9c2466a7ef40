"""Watches: what a job did, as records and views. Never writes back to the scheduler.

``record`` what is known of a job · ``views`` what others are shown of it · ``specs`` what
the scheduler says · ``logs`` lines.

Nothing is re-exported here: a process that only writes logs need not wait for the rest.
"""
