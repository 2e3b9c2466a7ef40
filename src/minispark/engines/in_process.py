"""Runs a small query in this process, without starting any other.

Starting processes and exchanging rows cost more than they save until there is some work to
share. One rule decides for every front end, `fits_whole`: the query reads little, and no Python
function takes part (those would take turns here, and run side by side in processes).
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.port import BlockFiles
from minispark.engines.local import LocalRunner
from minispark.ids import TaskKey
from minispark.plan.stages import StageGraph
from minispark.settings import MIB
from minispark.task.run import attempt
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec

WHOLE_BYTES = 256 * MIB
"""Input bytes below which one process is as fast as several that must be started first."""

_PYTHON_MARKS = (b"OpaquePython", b"AnonymousFunction")
"""How Python functions are named in a binary plan. A column of that name only costs a detour."""

_one_at_a_time = threading.Lock()
"""What a task counts and binds is of its process: two at a time would mix theirs."""


def fits_whole(graph: StageGraph, *, limit_bytes: int = WHOLE_BYTES) -> bool:
    """Whether a plan reads little and holds no Python functions of a user.

    Those of a JSON job, which alone has a flow, are the engine's own: they count rows.
    """
    if graph.input_bytes >= limit_bytes:
        return False
    if graph.flow:
        return True
    fragments = (branch.fragment for stage in graph.stages for branch in stage.branches)
    return not any(mark in fragment for fragment in fragments for mark in _PYTHON_MARKS)


class InProcessRunner(LocalRunner):
    """A `Runner` whose tasks run in a thread of this process, one at a time."""

    def __init__(self) -> None:
        super().__init__(1)

    async def _new_pool(self) -> _ThisProcess:
        return _ThisProcess()


class _ThisProcess:
    """Stands in for the pool of executor processes."""

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        return await asyncio.to_thread(_attempt, spec)

    async def cancel(self, key: TaskKey) -> None:
        """Do nothing: no thread can end a query of Polars in another; its rows are dropped."""

    async def close(self) -> None:
        """End nothing."""


def _attempt(spec: TaskSpec) -> TaskReport | TaskFailure:
    with _one_at_a_time:
        return attempt(spec, port=BlockFiles(Path(spec.block_directory), FetchSettings()))


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
