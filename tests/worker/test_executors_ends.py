"""Executors and attempts that end before they are done."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import psutil
import pytest
from polars.exceptions import PanicException
from tests.worker.executor_kit import DEADLINE_S, Desk, failure_of, pids_of, pool_of, run, until

from minispark.clock import monotonic_s
from minispark.errors import (
    Cancelled,
    MinisparkError,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.task.failures import PANIC_CODE
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.executors import ExecutorPool

DEATHS = {
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "signal 9 (SIGKILL)",
    "import ctypes; ctypes.string_at(0)": "signal 11 (SIGSEGV)",
    "import os; os._exit(3)": "exit code 3",
    "import os; os.write(2, b'last words\\n'); os._exit(4)": "last output: last words",
}


@asynccontextmanager
async def one_hangs(
    desk: Desk,
) -> AsyncIterator[tuple[ExecutorPool, TaskSpec, asyncio.Task[TaskReport | TaskFailure]]]:
    """A pool of one executor, busy with an attempt that does not end by itself."""
    async with pool_of(1) as pool:
        spec, sign = desk.hanging()
        running = asyncio.create_task(pool.run(spec))
        await until(sign.exists)
        yield pool, spec, running


def test_a_dying_executor_costs_one_attempt(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            for source, reason in DEATHS.items():
                before = pids_of(pool)
                failure = failure_of(await pool.run(desk.task(source)))
                assert isinstance(failure, WorkerLost)
                assert reason in failure.reason
                assert isinstance(await pool.run(desk.task()), TaskReport)
                assert pids_of(pool) != before

    run(story)


def test_a_panic_of_polars_costs_its_executor(desk: Desk) -> None:
    # Polars 2.1 panics on arrays of width 0 that come from Arrow; should it learn to, take another.
    source = (
        "import polars as pl, pyarrow as pa;"
        "pl.from_arrow(pa.table({'a': pa.array([[], []], pa.list_(pa.int8(), 0))}).slice(1))"
    )

    async def story() -> None:
        async with pool_of(1) as pool:
            before = pids_of(pool)
            failure = failure_of(await pool.run(desk.task(source)))
            assert isinstance(failure, TaskError)
            assert failure.error.code == PANIC_CODE
            assert isinstance(await pool.run(desk.task()), TaskReport)
            assert pids_of(pool) != before

    run(story)


def test_a_task_that_panics_is_tried_with_the_other_engine_of_polars(desk: Desk) -> None:
    # Polars 2.1 panics in its streaming engine only; should it learn to, take another.
    lists = pl.Series("k", [["a"]], dtype=pl.List(pl.Categorical))
    query = pl.LazyFrame([lists, pl.Series("v", [7])]).group_by("k").agg(pl.col("v").sum())
    with pytest.raises(PanicException):
        query.collect(engine="streaming")

    async def story() -> None:
        async with pool_of(1) as pool:
            before = pids_of(pool)
            report = await pool.run(replace(desk.task(), fragment=query.serialize()))
            assert isinstance(report, TaskReport)
            assert report.block.rows == 1
            assert pids_of(pool) != before

    run(story)


def test_killed_from_outside_while_idle_or_busy(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            os.kill(pids_of(pool)[0], signal.SIGKILL)
            first = await pool.run(desk.task())
            assert isinstance(first, TaskReport) or isinstance(failure_of(first), WorkerLost)
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            os.kill(pids_of(pool)[0], signal.SIGKILL)
            failure = failure_of(await running)
            assert failure == WorkerLost("executor ended by signal 9 (SIGKILL)")
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run(story)


def test_time_runs_out(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1, task_timeout_s=0.3) as pool:
            outcome = await pool.run(desk.hanging()[0])
            assert failure_of(outcome) == TimedOut(0.3)
            assert isinstance(outcome, TaskFailure)
            assert outcome.duration_s >= 0.3
            # The task's own limit goes before the pool's.
            assert failure_of(await pool.run(desk.hanging(timeout_s=0.1)[0])) == TimedOut(0.1)
            assert isinstance(await pool.run(desk.task(timeout_s=30)), TaskReport)

    run(story)


def test_time_in_the_queue_is_no_time_of_the_task(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1, task_timeout_s=0.3) as pool:
            began_s = monotonic_s()
            running = [asyncio.create_task(pool.run(desk.hanging()[0])) for _ in range(2)]
            outcomes = [await task for task in running]
            elapsed_s = monotonic_s() - began_s
            last = outcomes[1]
            assert isinstance(last, TaskFailure)
            assert 0.3 <= last.duration_s <= elapsed_s - 0.3

    run(story)


def test_a_running_and_a_waiting_attempt_are_cancelled(desk: Desk) -> None:
    async def story() -> None:
        async with one_hangs(desk) as (pool, spec, running):
            waiting = asyncio.create_task(pool.run(desk.task()))
            behind = asyncio.create_task(pool.run(desk.task()))
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="here already"):
                await pool.run(spec)
            await pool.cancel(spec.key._replace(partition=2))
            assert failure_of(await waiting) == Cancelled()
            assert not running.done()
            await pool.cancel(spec.key)
            assert failure_of(await running) == Cancelled()
            assert isinstance(await behind, TaskReport)
            await pool.cancel(spec.key)

    run(story)


def test_a_killed_attempt_leaves_no_block(desk: Desk) -> None:
    async def story() -> None:
        async with one_hangs(desk) as (pool, spec, running):
            for suffix in (".arrow", ".arrow.tmp"):
                (desk.store.directory / f"{spec.key.block_id}{suffix}").touch()
            await pool.cancel(spec.key)
            await running
            assert list(desk.store.directory.iterdir()) == []

    run(story)


def test_a_caller_that_gives_up_frees_the_slot(desk: Desk) -> None:
    async def story() -> None:
        async with one_hangs(desk) as (pool, _, running):
            waiting = asyncio.create_task(pool.run(desk.task()))
            await asyncio.sleep(0)
            for given_up in (waiting, running):
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run(story)


def test_closing_ends_what_runs_waits_and_starts(desk: Desk) -> None:
    async def story() -> None:
        async with one_hangs(desk) as (pool, _, running):
            waiting = asyncio.create_task(pool.run(desk.task()))
            await asyncio.sleep(0)
            await pool.close()
            assert failure_of(await running) == Cancelled()
            assert failure_of(await waiting) == Cancelled()
            assert failure_of(await pool.run(desk.task())) == Cancelled()
        starting = ExecutorPool(1)
        attempt = asyncio.create_task(starting.start())
        await asyncio.sleep(0.05)
        await starting.close()
        with pytest.raises(asyncio.CancelledError):
            await attempt

    run(story)


def test_an_executor_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(MinisparkError, match=r"could not start: .*exit code 1"):
            await ExecutorPool(1).start()
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(MinisparkError, match=r"could not start: .*No such file"):
            await ExecutorPool(1).start()

    run(story)


def test_a_slot_that_cannot_start_again_fails_its_tasks_until_it_can(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", "/bin/false")
                lost = failure_of(await pool.run(desk.task("import os; os._exit(1)")))
                assert isinstance(lost, WorkerLost)
                again = failure_of(await pool.run(desk.task()))
                assert isinstance(again, WorkerLost)
                assert "could not start" in again.reason
            outcomes = [await pool.run(desk.task()) for _ in range(2)]
            assert isinstance(outcomes[-1], TaskReport)

    run(story)


PARENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from tests.worker.executor_kit import Desk
from minispark.worker.executors import ExecutorPool
from minispark.blocks.memory import Memory

async def main():
    pool = ExecutorPool(2)
    await pool.start()
    print(*(executor.pid for executor in pool._living()), flush=True)
    spec, _ = Desk(Path({directory!r})).hanging()
    await pool.run(spec)

asyncio.run(main())
"""


@pytest.mark.process
def test_executors_end_with_their_parent(tmp_path: Path) -> None:
    code = PARENT.format(folder=str(Path(__file__).parents[2]), directory=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        executors = [psutil.Process(pid) for pid in pids]
        deadline = time.monotonic() + DEADLINE_S
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        parent.kill()
        parent.communicate()
    gone, alive = psutil.wait_procs(executors, timeout=DEADLINE_S)
    assert len(gone) == 2
    assert not alive
