"""The engine for small queries: it runs them in this process and starts no other.

For a small query, starting processes and exchanging rows costs more than it saves. One rule,
`fits_whole`, decides for every front end: the query reads little and has no Python function. (In
this process Python functions run one at a time, in several processes in parallel.)
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
from minispark.task.spec import TaskFailure, TaskProgress, TaskReport, TaskSpec

WHOLE_BYTES = 256 * MIB
"""Below this input size one process is as fast as several that must be started first."""

_PYTHON_MARKS = (b"OpaquePython", b"AnonymousFunction")
"""Names of Python functions in a binary plan. A column of that name only makes a query slower."""

_task_lock = threading.Lock()
"""A task keeps its counters and bindings in its process: two tasks at a time would mix them."""


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


class InProcessRunner(LocalRunner):
    """A `Runner` whose tasks run in a thread of this process, one at a time."""

    def __init__(self) -> None:
        super().__init__(1)

    async def _new_pool(self) -> _ThisProcess:
        return _ThisProcess()


class _ThisProcess:
    """An `Executors` pool without processes."""

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        return await asyncio.to_thread(_attempt, spec)

    async def cancel(self, key: TaskKey) -> None:
        """Do nothing: a thread cannot end another thread's query. The rows are dropped."""

    def progress(self) -> tuple[TaskProgress, ...]:
        """Return nothing: what this process reads may be read by its other threads."""
        return ()

    async def close(self) -> None:
        """Do nothing: there are no processes."""


def _attempt(spec: TaskSpec) -> TaskReport | TaskFailure:
    with _task_lock:
        return attempt(spec, port=BlockFiles(Path(spec.block_directory), FetchSettings()))


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
