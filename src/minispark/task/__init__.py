"""Tasks: a fragment of a plan over named inputs, run once by one process.

A `TaskSpec` (`minispark.task.spec`) says everything that a task needs: the fragment, the splits and
blocks to bind to its leaves, and where its rows go. `attempt` (`minispark.task.run`) runs it and
returns a `TaskReport` or a `TaskFailure`. It does not know which engine runs it::

    inputs, scans     blocks and splits  ->  frames
    collect           fragment over these frames, with Polars' streaming engine
    outputs, sinks    rows  ->  a block, or a file under a staging name
    failures          what was raised  ->  a failure that the scheduler can act on
    path_sandbox      with a data root: no file outside it is read or written
"""
