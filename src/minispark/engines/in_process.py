"""An engine whose tasks run in this process, with the scheduler and blocks of the others."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.port import BlockFiles
from minispark.engines.local import LocalRunner
from minispark.ids import TaskKey
from minispark.task.run import attempt
from minispark.task.spec import TaskFailure, TaskProgress, TaskReport, TaskSpec

_task_lock = threading.Lock()
"""A task keeps its counters and bindings in its process: two tasks at a time would mix them."""


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
