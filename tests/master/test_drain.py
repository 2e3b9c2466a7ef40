"""A worker that leaves: its blocks go to others, and results are found where they are then."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.master.lives import Lives
from tests.master.masters import Bench, Client, FakeWorker

from minispark.settings import SchedulerSettings
from minispark.task.spec import TaskSpec
from minispark.wire.messages import PollReply, ReportRequest


async def _fetch(worker: FakeWorker, answer: PollReply) -> None:
    """Do as a real worker does: have the files, then say so."""
    for block in answer.move:
        assert block.bytes > 0
        for path in Path(block.directory).glob(f"{block.key.block_id}*"):
            shutil.copy(path, worker.directory)
    message = ReportRequest(
        member=worker.member, reports=(), moved=tuple(block.key for block in answer.move)
    )
    reply = await worker.send(f"/{worker.name}/reports", message)
    assert reply.status_code == 200, reply.text


async def _statuses(client: Client) -> dict[str, str]:
    workers = (await client.get("/api/v1/workers")).json()["workers"]
    return {worker["worker_id"]: worker["status"] for worker in workers}


def test_results_of_a_worker_that_leaves_are_kept(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            giver = await bench.worker(client, "giver")
            job = await client.submit(bench.two_stages())
            await giver.work(polls=2)
            await client.ended(job)
            taker = await bench.worker(client, "taker")
            said = await giver.drain()
            assert (said.register_again, said.master_epoch) == (False, 1)
            assert await _statuses(client) == {"giver": "DRAINING", "taker": "UP"}
            answer = await taker.poll()
            assert {block.key.stage for block in answer.move} == {1}
            assert {block.url for block in answer.move} == {"http://giver:1"}
            await _fetch(taker, answer)
            assert (await giver.poll()).dismissed
            await giver.leave()
            shutil.rmtree(giver.directory)
            path = f"/api/v1/jobs/{job}/results"
            csv = await client.get(path, format="csv")
            assert len(csv.text.splitlines()) == 7
            blocks = (await client.get(f"/internal/v1/jobs/{job}/blocks")).json()
            where = {block["url"] for block in blocks["nodes"][0]["blocks"]}
            assert where == {"http://taker:1"}
        async with bench.master() as client:
            assert (await client.get(path, format="csv")).text == csv.text
            assert await _statuses(client) == {"giver": "DOWN", "taker": "UP"}

    asyncio.run(story())


def test_a_job_reads_on_where_its_blocks_have_gone(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            giver = await bench.worker(client, "giver", slots=1)
            job = await client.submit(bench.two_stages())
            first = (await giver.poll()).tasks
            taker = await bench.worker(client, "taker")
            await giver.report(*(giver.run(spec) for spec in first))
            await giver.drain()
            assert (await giver.drain()).register_again is False
            running = (await giver.poll()).tasks
            await giver.report(*(giver.run(spec) for spec in running))
            moved: set[str] = set()
            async with asyncio.timeout(60):
                while (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "RUNNING":
                    answer = await taker.poll(wait_s=1)
                    if answer.move:
                        await _fetch(taker, answer)
                        moved |= {block.key.block_id for block in answer.move}
                    if answer.tasks:
                        await taker.report(*(taker.run(spec) for spec in answer.tasks))
            assert (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "SUCCEEDED"
            assert {worker for spec in taker.ran for worker in _holders(spec)} <= {
                "http://giver:1",
                "http://taker:1",
            }
            assert (await client.get(f"/api/v1/jobs/{job}/results", format="csv")).is_success

    asyncio.run(story())


def _holders(spec: TaskSpec) -> set[str | None]:
    return {block.url for one in spec.inputs for block in one.blocks}


def test_a_master_killed_while_a_worker_leaves_lets_it_leave(bench: Bench) -> None:
    """Before each of its writes: the blocks arrive, the results are there, the worker may go."""

    async def story(limit: int, *, carried: bool) -> bool:
        name = f"s{limit}{carried}"
        config = replace(bench.config, state_dir=bench.tmp_path / name, scheduler=HASTY)
        lives = Lives(config, bench.client_of(config))
        client = lives.client
        giver, taker = (bench.worker_of(client, f"{name}-{who}") for who in ("giver", "taker"))
        life = await lives.begin()
        await giver.register()
        job = await client.submit(bench.two_stages())
        await giver.work(polls=2)
        await client.ended(job)
        await taker.register()
        life.die_after(limit, carried=carried)
        leaving = asyncio.create_task(_leave(lives, giver))
        taking = asyncio.create_task(_take(lives, taker))
        died = asyncio.create_task(life.dead.wait())
        await asyncio.wait((leaving, died), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        crashed = not life.spare()
        if crashed:
            await lives.end(life)
            life = await lives.begin()
        await asyncio.wait_for(leaving, 20)
        for task in (taking, died):
            task.cancel()
        await asyncio.gather(taking, died, return_exceptions=True)
        shutil.rmtree(giver.directory)
        csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
        assert len(csv.text.splitlines()) == 7, (limit, carried, csv.text)
        await lives.end(life)
        return crashed

    async def all_stories() -> None:
        for carried in (True, False):
            limit = 1
            while await story(limit, carried=carried):
                limit += 1
            assert limit > 3

    asyncio.run(all_stories())


HASTY = SchedulerSettings(lost_task_grace_s=0.5)


async def _leave(lives: Lives, worker: FakeWorker) -> None:
    await lives.insist(worker.drain)
    while not (await lives.insist(lambda: worker.poll(wait_s=5))).dismissed:
        pass
    await lives.insist(worker.leave)


async def _take(lives: Lives, worker: FakeWorker) -> None:
    while True:
        answer = await lives.insist(lambda: worker.poll(wait_s=5))
        if answer.move:
            await lives.insist(partial(_fetch, worker, answer))
