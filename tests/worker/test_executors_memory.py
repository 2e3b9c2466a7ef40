"""Which executor goes when memory does."""

from __future__ import annotations

import asyncio

from tests.worker.executor_kit import Desk, failure_of, pids_of, pool_of, run, until

from minispark.blocks.memory import Memory
from minispark.errors import (
    OutOfMemory,
)
from minispark.task.spec import TaskReport
from minispark.worker.executors import ExecutorPool


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
            before = pids_of(pool)
            # Killed at once or after its report, as the watch falls.
            await pool.run(desk.task(hoard))
            await until(lambda: pids_of(pool) and pids_of(pool) != before)
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
