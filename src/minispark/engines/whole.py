"""The rule for small queries: they run whole in this process and start no other.

For a small query, starting processes and exchanging rows costs more than it saves. `fits_whole`
decides for every front end: the query reads little and has no Python function. (In this process
Python functions run one at a time, in several processes in parallel.)
"""

from __future__ import annotations

import polars as pl
from polars.exceptions import PanicException

from minispark.plan.stages import StageGraph
from minispark.settings import MIB

WHOLE_BYTES = 256 * MIB
"""Below this input size one process is as fast as several that must be started first."""

_PYTHON_MARKS = (b"OpaquePython", b"AnonymousFunction")
"""Names of Python functions in a binary plan. A column of that name only makes a query slower."""


def fits_whole(graph: StageGraph, *, limit_bytes: int = WHOLE_BYTES) -> bool:
    """Whether a plan reads little and has no Python functions of a user.

    A plan with a flow comes from a JSON job; its Python functions are ours and count rows.
    """
    if graph.input_bytes >= limit_bytes:
        return False
    if graph.flow:
        return True
    fragments = (branch.fragment for stage in graph.stages for branch in stage.branches)
    return not any(mark in fragment for fragment in fragments for mark in _PYTHON_MARKS)


def collect_whole(
    frame: pl.LazyFrame, *, optimizations: pl.QueryOptFlags | None = None
) -> pl.DataFrame:
    """Collect with Polars' streaming engine; if it panics, with the in-memory engine.

    Both are named explicitly, since Polars' default engine may be ours, which calls this function.
    """
    flags = optimizations or pl.QueryOptFlags()
    try:
        return frame.collect(engine="streaming", optimizations=flags)
    except PanicException:
        return frame.collect(engine="in-memory", optimizations=flags)
