"""Watches: what a job did, as records, views and a journal. Never writes back to the scheduler.

``record`` what is known of a job · ``views`` what others are shown of it · ``journal`` what
outlives the master · ``specs`` what the scheduler says · ``found`` what earlier jobs kept ·
``logs`` lines.

Nothing is re-exported here: a process that only writes logs need not wait for the rest.
"""
