"""Runs a small query as one: in this process, without starting any other.

Starting processes and exchanging rows cost more than they save until there is some work to
share. What decides is what the planner found: the query reads little, and no Python function
takes part (those would take turns here, and run side by side in processes).
"""

from __future__ import annotations

import polars as pl
from polars.exceptions import PanicException

from minispark.plan.stages import StageGraph
from minispark.settings import MIB

WHOLE_BYTES = 256 * MIB
"""Input bytes below which one process is as fast as several that must be started first."""

_PYTHON_MARKS = (b"OpaquePython", b"AnonymousFunction")
"""How Python functions are named in a binary plan. A column of that name only costs a detour."""


def fits_whole(graph: StageGraph, *, limit_bytes: int = WHOLE_BYTES) -> bool:
    """Whether a plan reads little and holds no Python functions."""
    if graph.input_bytes >= limit_bytes:
        return False
    fragments = (branch.fragment for stage in graph.stages for branch in stage.branches)
    return not any(mark in fragment for fragment in fragments for mark in _PYTHON_MARKS)


def collect_whole(
    frame: pl.LazyFrame, *, optimizations: pl.QueryOptFlags | None = None
) -> pl.DataFrame:
    """Collect with Polars' streaming engine; where that panics, with the in-memory engine.

    Each is named explicitly: the engine of Polars' configuration may be ours, which would call
    this again.
    """
    flags = optimizations or pl.QueryOptFlags()
    try:
        return frame.collect(engine="streaming", optimizations=flags)
    except PanicException:
        return frame.collect(engine="in-memory", optimizations=flags)
