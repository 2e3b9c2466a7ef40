"""The planner: a LazyFrame becomes a StageGraph. It knows nothing of who runs it.

``build`` cuts a plan into stages · ``stages`` is what comes of it · ``leaves`` stand in a stage's
plan for the rows that it reads.

Nothing is re-exported here: who only reads or runs a plan, as workers and their executors do, need
not wait for the planner.
"""
