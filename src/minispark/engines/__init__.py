"""Engines: each runs a StageGraph. All run the same tasks and give the same answers.

``base`` what every engine offers · ``local`` processes of this machine, with the scheduler in
``embedded`` and the blocks in ``block_dirs`` · ``in_process`` small queries in this process ·
``cluster`` a master over HTTP (``http``) · ``polars_engine`` all of them behind Polars' interface ·
``progress`` one line about a running job · ``public`` short tracebacks of what users call.

Nothing is re-exported here: each engine costs the imports of its own kind.
"""
