from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.store import BlockStore
from minispark.errors import (
    Cancelled,
    FetchFailed,
    MinisparkError,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.failures import PANIC_CODE
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.executors import ExecutorPool
from minispark.worker.memory import Memory

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


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@asynccontextmanager
async def pool_of(slots: int, **options: Any) -> AsyncIterator[ExecutorPool]:
    pool = ExecutorPool(slots, **options)
    await pool.start()
    pids = pool.pids
    try:
        yield pool
    finally:
        pids += pool.pids
        await pool.close()
        assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), DEADLINE_S * 2))


def failure_of(outcome: TaskReport | TaskFailure) -> Any:
    assert isinstance(outcome, TaskFailure), outcome
    return outcome.failure


def test_tasks_run_side_by_side_and_in_turn(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(2) as pool:
            assert len(set(pool.pids)) == 2
            specs = [desk.task() for _ in range(7)]
            outcomes = await asyncio.gather(*(pool.run(spec) for spec in specs))
            assert [outcome.key for outcome in outcomes] == [spec.key for spec in specs]
            assert all(isinstance(outcome, TaskReport) for outcome in outcomes)
            assert all(desk.store.path_of(spec.key.block_id).exists() for spec in specs)
            assert pool.memory_bytes > 0
            failure = failure_of(await pool.run(desk.task("1/0")))
            assert isinstance(failure, TaskError)
            assert failure.error.message == "ZeroDivisionError: division by zero"

    run(story)


def test_executors_get_their_threads_and_the_parents_group_and_path(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend("/a/users/place")
    seen = desk.signs / "seen"
    source = (
        "import os, sys, pathlib;"
        f"pathlib.Path({str(seen)!r}).write_text(repr((os.environ['POLARS_MAX_THREADS'],"
        " os.getpgid(0), sys.path[0], os.getpid())))"
    )

    async def story() -> None:
        async with pool_of(1, threads_per_slot=3) as pool:
            assert isinstance(await pool.run(desk.task(source)), TaskReport)
            expected = ("3", os.getpgid(0), "/a/users/place", pool.pids[0])
            assert seen.read_text() == repr(expected)

    run(story)


DEATHS = {
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "signal 9 (SIGKILL)",
    "import ctypes; ctypes.string_at(0)": "signal 11 (SIGSEGV)",
    "import os; os._exit(3)": "exit code 3",
    "import os; os.write(2, b'last words\\n'); os._exit(4)": "last words: last words",
}


def test_a_dying_executor_costs_one_attempt(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            for source, reason in DEATHS.items():
                before = pool.pids
                failure = failure_of(await pool.run(desk.task(source)))
                assert isinstance(failure, WorkerLost)
                assert reason in failure.reason
                assert isinstance(await pool.run(desk.task()), TaskReport)
                assert pool.pids != before

    run(story)


def test_a_panic_of_polars_costs_its_executor(desk: Desk) -> None:
    # Polars 2.1 panics on arrays of width 0 that come from Arrow; should it learn to, take another.
    source = (
        "import polars as pl, pyarrow as pa;"
        "pl.from_arrow(pa.table({'a': pa.array([[], []], pa.list_(pa.int8(), 0))}).slice(1))"
    )

    async def story() -> None:
        async with pool_of(1) as pool:
            before = pool.pids
            failure = failure_of(await pool.run(desk.task(source)))
            assert isinstance(failure, TaskError)
            assert failure.error.code == PANIC_CODE
            assert isinstance(await pool.run(desk.task()), TaskReport)
            assert pool.pids != before

    run(story)


def test_killed_from_outside_while_idle_or_busy(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            os.kill(pool.pids[0], signal.SIGKILL)
            first = await pool.run(desk.task())
            assert isinstance(first, TaskReport) or isinstance(failure_of(first), WorkerLost)
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            os.kill(pool.pids[0], signal.SIGKILL)
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


def test_a_running_and_a_waiting_attempt_are_cancelled(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            waiting = asyncio.create_task(pool.run(desk.task()))
            behind = asyncio.create_task(pool.run(desk.task()))
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="here already"):
                await pool.run(spec)
            await pool.cancel(replace(spec.key, partition=2))
            assert failure_of(await waiting) == Cancelled()
            assert not running.done()
            await pool.cancel(spec.key)
            assert failure_of(await running) == Cancelled()
            assert isinstance(await behind, TaskReport)
            await pool.cancel(spec.key)

    run(story)


def test_a_killed_attempt_leaves_no_block(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            for suffix in (".arrow", ".idx", ".arrow.tmp", ".idx.tmp"):
                (desk.store.directory / f"{spec.key.block_id}{suffix}").touch()
            await pool.cancel(spec.key)
            await running
            assert list(desk.store.directory.iterdir()) == []

    run(story)


def test_a_caller_that_gives_up_frees_the_slot(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            waiting = asyncio.create_task(pool.run(desk.task()))
            await asyncio.sleep(0)
            for given_up in (waiting, running):
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run(story)


def test_what_tasks_print_is_heard_and_harms_nothing(desk: Desk) -> None:
    heard: list[str] = []
    named: set[TaskKey | None] = set()

    def listener(pid: int, key: TaskKey | None, line: str) -> None:
        heard.append(line)
        named.add(key)
        if line == "bad listener":
            raise RuntimeError(line)

    noise = "\n".join(
        [
            "import os, sys",
            "print('to stdout'); print('to stderr', file=sys.stderr)",
            "print('bad listener')",
            "os.write(1, b'\\x00\\x00\\x00\\x04junk past any buffer\\n')",
            "assert sys.stdin.read() == ''",
            "os.write(2, b'x' * 500_000 + b'\\n')",
            "print('the end')",
        ]
    )

    async def story() -> None:
        async with pool_of(1, on_output=listener) as pool:
            noisy = desk.task(noise)
            assert isinstance(await pool.run(noisy), TaskReport)
            await until(lambda: "the end" in heard)
            assert named == {noisy.key}
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run(story)
    assert {"to stdout", "to stderr", "bad listener"} < set(heard)
    assert max(map(len, heard)) <= 2_000


def test_the_hungriest_executor_is_killed_before_the_machine_is_full(desk: Desk) -> None:
    eat = "import time; food = bytearray(400 << 20); time.sleep(600)"
    limit = 600 << 20

    async def story() -> None:
        async with pool_of(2, memory_limit_bytes=limit) as pool:
            spec, sign = desk.hanging()
            modest = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            small = await pool.run(desk.task("food = bytearray(100 << 20)"))
            assert isinstance(small, TaskReport)
            failure = failure_of(await pool.run(desk.task(eat.replace("400", "600"))))
            assert isinstance(failure, OutOfMemory)
            assert (failure.limit_bytes, failure.bound) == (limit, "given")
            assert failure.used_bytes > 500 << 20
            assert not modest.done()

    run(story)


def test_an_executor_goes_before_the_machine_or_its_group_is_full(desk: Desk) -> None:
    """Without a limit of its own; on a machine that has 700 MB to give."""
    eat = "import time; food = bytearray(600 << 20); time.sleep(600)"

    async def story() -> None:
        pools: list[ExecutorPool] = []

        def left() -> Memory:
            taken = sum(pool.memory_bytes for pool in pools)
            return Memory(8 << 30, max(0, (700 << 20) - taken))

        async with pool_of(2, read_memory=left) as pool:
            pools.append(pool)
            spec, sign = desk.hanging()
            modest = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
            failure = failure_of(await pool.run(desk.task(eat)))
            assert isinstance(failure, OutOfMemory)
            assert failure.bound == "machine"
            assert failure.used_bytes > 300 << 20
            assert not modest.done()

    run(story)


def test_an_idle_executor_that_keeps_too_much_is_replaced(desk: Desk) -> None:
    hoard = "import sys; sys.hoard = bytearray(500 << 20)"

    async def story() -> None:
        async with pool_of(1, memory_limit_bytes=400 << 20) as pool:
            before = pool.pids
            # Killed at once or after its report, as the watch falls.
            await pool.run(desk.task(hoard))
            await until(lambda: pool.pids and pool.pids != before)
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run(story)


def test_mapped_files_are_no_memory(desk: Desk) -> None:
    big = desk.signs / "big"
    with big.open("wb") as file:
        file.truncate(400 << 20)
    source = (
        f"import mmap, time; f = open({str(big)!r}, 'rb');"
        "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
        "sum(m[i] for i in range(0, len(m), 4096)); time.sleep(0.3)"
    )

    async def story() -> None:
        async with pool_of(1, memory_limit_bytes=250 << 20) as pool:
            assert isinstance(await pool.run(desk.task(source)), TaskReport)

    run(story)


def test_the_settings_for_fetching_reach_the_executor(desk: Desk) -> None:
    from minispark.blocks.format import write_block
    from minispark.blocks.meta import BlockSource
    from minispark.plan.leaves import Leaf
    from minispark.task.spec import TaskInput

    key = TaskKey("job-a-1-1", 5, 0, 0, 0)
    meta = write_block(desk.store.directory, key, [pl.DataFrame({"n": [1]})])
    source = BlockSource(key, 0, meta.partitions[0], "a-host", str(desk.store.directory))
    spec = replace(
        desk.task(),
        fragment=Leaf("rows", {"n": pl.Int64()}).lazy().serialize(),
        inputs=(TaskInput("rows", 5, 2, (source,)),),
    )

    async def story() -> None:
        async with pool_of(1, fetch=FetchSettings(host="a-host")) as pool:
            assert isinstance(await pool.run(spec), TaskReport)
        async with pool_of(1, fetch=FetchSettings(host="another-host")) as pool:
            failure = failure_of(await pool.run(spec))
            assert isinstance(failure, FetchFailed)
            assert failure.stage == 5

    run(story)


def test_closing_ends_what_runs_waits_and_starts(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            spec, sign = desk.hanging()
            running = asyncio.create_task(pool.run(spec))
            await until(sign.exists)
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
from test_executors import Desk
from minispark.worker.executors import ExecutorPool
from minispark.worker.memory import Memory

async def main():
    pool = ExecutorPool(2)
    await pool.start()
    print(*pool.pids, flush=True)
    spec, _ = Desk(Path({directory!r})).hanging()
    await pool.run(spec)

asyncio.run(main())
"""


@pytest.mark.process
def test_executors_end_with_their_parent(tmp_path: Path) -> None:
    code = PARENT.format(folder=str(Path(__file__).parent), directory=str(tmp_path))
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
