"""The planner: a LazyFrame becomes a StageGraph. It does not depend on the engine that runs it.

``build`` cuts a plan into stages · ``stages`` has the classes of the result · ``leaves`` stand in a
stage's plan for the rows that it reads.

This module exports nothing: a process that only reads or runs plans, as workers and executors do,
does not load the planner.
"""
