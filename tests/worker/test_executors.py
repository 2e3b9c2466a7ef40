"""What runs in the executors of a worker, and what it meets there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from tests.worker.executor_kit import Call, Desk, failure_of, pids_of, pool_of, run, until

from minispark.blocks.fetch import FetchSettings
from minispark.errors import (
    FetchFailed,
    TaskError,
)
from minispark.ids import TaskKey
from minispark.plan.counters import counted
from minispark.task.spec import TaskReport


def test_tasks_run_side_by_side_and_in_turn(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(2) as pool:
            assert len(set(pids_of(pool))) == 2
            specs = [desk.task() for _ in range(7)]
            outcomes = await asyncio.gather(*(pool.run(spec) for spec in specs))
            assert [outcome.key for outcome in outcomes] == [spec.key for spec in specs]
            assert all(isinstance(outcome, TaskReport) for outcome in outcomes)
            assert all(desk.store.path_of(spec.key.block_id).exists() for spec in specs)
            assert pool.memory_bytes > 0
            for outcome in outcomes:
                assert outcome.usage is not None
                assert outcome.usage.cpu_s > 0
            failure = failure_of(await pool.run(desk.task("1/0")))
            assert isinstance(failure, TaskError)
            assert failure.error.message == "ZeroDivisionError: division by zero"

    run(story)


def test_a_running_task_says_what_it_has_read(desk: Desk) -> None:
    async def story() -> None:
        async with pool_of(1) as pool:
            assert pool.progress() == ()
            rows = counted(pl.LazyFrame({"n": range(10)}), "read")
            query = rows.map_batches(Call("import time; time.sleep(600)"))
            tasks = replace(desk.task(), fragment=query.serialize()), desk.task()
            running = [asyncio.create_task(pool.run(task)) for task in tasks]
            await until(lambda: pool.progress() and pool.progress()[0].nodes)
            (progress,) = pool.progress()  # Of the one that has the slot.
            assert (progress.key, dict(progress.nodes)) == (tasks[0].key, {"read": 10})
            assert progress.ran_s > 0
            await pool.cancel(tasks[0].key)
            await asyncio.gather(*running)
            assert pool.progress() == ()

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
            expected = ("3", os.getpgid(0), "/a/users/place", pids_of(pool)[0])
            assert seen.read_text() == repr(expected)

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


def test_an_executor_loads_neither_a_web_server_nor_its_models() -> None:
    code = "import sys, minispark.worker.executor; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "pydantic", "starlette", "uvicorn", "rich"} & set(ran.stdout.split())
