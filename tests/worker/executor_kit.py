"""Tasks that do what a test says, and pools of executors that run them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from minispark.blocks.store import BlockStore
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.executors import ExecutorPool

DEADLINE_S = 30.0


class Call:
    """A user's function that travels by value: its source is run in the executor."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"lambda batch: exec({self.source!r}, {{}}) or batch",)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        return batch


class Desk:
    """Makes tasks that run ``source`` in an executor and then deliver three rows."""

    def __init__(self, directory: Path) -> None:
        self.store = BlockStore(directory / "blocks")
        self.signs = directory
        self._made = 0

    def task(self, source: str = "pass", *, timeout_s: float | None = None) -> TaskSpec:
        frame = pl.LazyFrame({"n": [1, 2, 3]}).map_batches(Call(source), schema={"n": pl.Int64})
        self._made += 1
        return TaskSpec(
            key=TaskKey("job-a-1-1", 0, 0, self._made, 0),
            fragment=frame.serialize(),
            scans=(),
            inputs=(),
            output=Output(OutputKind.SINGLE),
            block_directory=str(self.store.directory),
            timeout_s=timeout_s,
        )

    def hanging(self, name: str = "started", **options: Any) -> tuple[TaskSpec, Path]:
        """Make a task that leaves a sign once it runs, and then never ends."""
        sign = self.signs / name
        source = f"import time, pathlib; pathlib.Path({str(sign)!r}).touch(); time.sleep(600)"
        return self.task(source, **options), sign


def pids_of(pool: ExecutorPool) -> tuple[int, ...]:
    """Process ids of the executors that have started."""
    return tuple(executor.pid for executor in pool._living())


@asynccontextmanager
async def pool_of(slots: int, **options: Any) -> AsyncIterator[ExecutorPool]:
    pool = ExecutorPool(slots, **options)
    await pool.start()
    pids = pids_of(pool)
    try:
        yield pool
    finally:
        pids += pids_of(pool)
        await pool.close()
        assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), DEADLINE_S * 2))


def failure_of(outcome: TaskReport | TaskFailure) -> Failure:
    assert isinstance(outcome, TaskFailure), outcome
    return outcome.failure
