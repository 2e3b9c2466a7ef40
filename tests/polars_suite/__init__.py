"""Runs Polars' own unit tests, from any copy of them, with the Mini-Spark engine.

`python -m polars_suite PATH` with ``tests/`` on PYTHONPATH, or `make polars-tests`. The package
imports nothing of ``tests``, which is also the name of the package of Polars' tests.
"""
