"""Caches in a master: jobs that start with cached blocks, and what views show of that."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.master.masters import Bench, Client, FakeWorker

from minispark.blocks.cache import CacheChanges, CachedBlock, cache_key
from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.plan.stages import (
    Branch,
    CachedNode,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.task.spec import TaskReport, TaskSpec
from minispark.wire.messages import ReportRequest

KEY = "a" * 32
PARTS = 2


def cached_graph() -> StageGraph:
    read = (StageInput("in", 0, ReadMode.FORWARD),)
    single = Output(OutputKind.SINGLE)
    return StageGraph(
        stages=(
            Stage(
                0,
                "cache",
                (Branch(b"map", PARTS),),
                single,
                Label.DETERMINATE,
                nodes=("read", "kept"),
                cached=CachedNode("kept", KEY),
            ),
            Stage(
                1, "result", (Branch(b"top", PARTS, inputs=read),), single, Label.DETERMINATE,
                nodes=("agg",),
            ),
        ),
        results=(ResultSpec("agg", 1, ("token", "count")),),
        flow={"read": (), "kept": ("read",), "agg": ("kept",)},
    )  # fmt: skip


async def report(worker: FakeWorker, reports: list[TaskReport], *, version: int) -> int:
    """Report as a worker does that has kept every block of a cached node so far."""
    kept = tuple(
        CachedBlock(cache_key(KEY, report.key.partition), report.block)
        for report in reports
        if report.key.stage == 0
    )
    message = ReportRequest(
        member=worker.member,
        reports=tuple(reports),
        cache=CacheChanges(version - 1, version, added=kept),
    )
    reply = await worker.send(f"/{worker.name}/reports", message)
    return int(reply.json()["cache_version"])


async def submit(client: Client) -> str:
    reply = await client.submit_json()
    assert reply.status_code == 202, reply.text
    return str(reply.json()["job_id"])


async def first_job(client: Client, worker: FakeWorker) -> tuple[TaskSpec, ...]:
    """Run a job to its end; its cached node is kept then."""
    job = await submit(client)
    tasks = (await worker.poll()).tasks
    assert [spec.keep for spec in tasks] == [cache_key(KEY, p) for p in range(PARTS)]
    assert await report(worker, [worker.run(spec) for spec in tasks], version=1) == 1
    rest = (await worker.poll()).tasks
    await worker.report(*(worker.run(spec) for spec in rest))
    assert (await client.ended(job))["status"] == "SUCCEEDED"
    return tuple(tasks)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.config = replace(bench.config, planner_command=bench.planner_of(cached_graph()))
    return bench


def test_a_job_begins_with_what_is_there(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await first_job(client, worker)
            job = await submit(client)
            reply = await worker.poll()
            assert [spec.key.stage for spec in reply.tasks] == [1, 1]
            sources = [block for spec in reply.tasks for block in spec.inputs[0].blocks]
            assert [source.name for source in sources] == [cache_key(KEY, p) for p in range(PARTS)]
            assert [source.key.job for source in sources] == [job] * PARTS
            assert reply.cache_used == tuple(cache_key(KEY, p).block_id for p in range(PARTS))
            await worker.report(*(worker.run(spec) for spec in reply.tasks))
            await client.ended(job)
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert (metrics["cache_hits"], metrics["cache_misses"]) == (PARTS, 0)
            assert metrics["records"] == {"kept": 6, "agg": 6}

    asyncio.run(story())


def test_a_plan_of_a_client_is_neither_kept_nor_served(bench: Bench) -> None:
    """The master cannot verify the key."""

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await first_job(client, worker)
            await client.submit(cached_graph())
            tasks = (await worker.poll()).tasks
            assert [(spec.key.stage, spec.keep) for spec in tasks] == [(0, None)] * PARTS

    asyncio.run(story())


def test_a_kept_block_that_cannot_be_read_is_dropped_before_it_is_made_again(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await first_job(client, worker)
            job = await submit(client)
            first, second = (await worker.poll()).tasks
            gone = FetchFailed(job, 0, 0, 0, 0, "its bytes do not match their checksum")
            await worker.report(worker.fail(first, gone), worker.run(second))
            reply = await worker.poll()
            assert reply.cache_drop == (cache_key(KEY, 0).block_id,)
            assert [spec.key for spec in reply.tasks] == [TaskKey(job, 0, 0, 0, 1)]
            await worker.report(*(worker.run(spec) for spec in reply.tasks))
            (last,) = (await worker.poll()).tasks
            assert last.inputs[0].blocks[0].name == TaskKey(job, 0, 0, 0, 1)
            await worker.report(worker.run(last))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert (metrics["cache_hits"], metrics["cache_misses"]) == (PARTS - 1, 1)

    asyncio.run(story())


def test_nothing_is_found_on_a_worker_that_leaves(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await first_job(client, worker)
            other = await bench.worker(client, "w2")
            await worker.leave()
            await submit(client)
            assert [spec.key.stage for spec in (await other.poll()).tasks] == [0] * PARTS

    asyncio.run(story())


def test_a_new_master_goes_on_with_what_was_found(bench: Bench, tmp_path: Path) -> None:
    left = tmp_path / "left"

    async def before() -> tuple[str, FakeWorker, tuple[TaskSpec, ...]]:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await first_job(client, worker)
            job = await submit(client)
            tasks = (await worker.poll()).tasks
            shutil.copytree(bench.config.state_dir, left)
            return job, worker, tasks

    async def after(job: str, worker: FakeWorker, tasks: tuple[TaskSpec, ...]) -> None:
        async with bench.master(state_dir=left) as client:
            worker.client = client
            again = (await worker.poll()).tasks
            assert [spec.key for spec in again] == [spec.key for spec in tasks]
            assert [spec.inputs for spec in again] == [spec.inputs for spec in tasks]
            await worker.report(*(worker.run(spec) for spec in again))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert (metrics["cache_hits"], metrics["cache_misses"]) == (PARTS, 0)

    job, worker, tasks = asyncio.run(before())
    left.chmod(0o700)
    asyncio.run(after(job, worker, tasks))
