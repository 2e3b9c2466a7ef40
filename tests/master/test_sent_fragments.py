"""The fragment of a stage is sent to each worker once, also when messages are lost."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ResultSpec,
    Stage,
    StageGraph,
)
from minispark.task.spec import FragmentKey
from minispark.wire.messages import (
    Fragment,
    FragmentReply,
    FragmentRequest,
    PollReply,
    PollRequest,
)

FRAGMENT = os.urandom(20_000)


def wide(tasks: int) -> StageGraph:
    """One stage of two branches."""
    stage = Stage(
        0,
        "all",
        (Branch(b"first", 1), Branch(FRAGMENT, tasks)),
        Output(OutputKind.SINGLE),
        Label.DETERMINATE,
        ("read",),
    )
    return StageGraph((stage,), (ResultSpec("read", 0, ("token", "count")),), flow={"read": ()})


async def polled(worker: Any) -> tuple[PollReply, int]:
    """What a poll brings, and how many bytes that took."""
    message = PollRequest(member=worker.member, wait_s=10)
    reply = await worker.send(f"/{worker.name}/poll", message)
    return PollReply.model_validate_json(reply.content), len(reply.content)


async def asked(worker: Any, key: FragmentKey) -> FragmentReply:
    reply = await worker.send(
        f"/{worker.name}/fragments", FragmentRequest(member=worker.member, key=key)
    )
    assert reply.status_code == 200, reply.text
    return FragmentReply.model_validate_json(reply.content)


def test_tasks_cost_no_fragment_each_on_the_wire(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(wide(60))
            done, sent_bytes, fragments = 0, 0, list[Fragment]()
            while done < 61:
                reply, size = await polled(worker)
                sent_bytes += size
                fragments += reply.fragments
                assert {task.fragment for task in reply.tasks} <= {b""}
                await worker.report(*(worker.run(task) for task in reply.tasks))
                done += len(reply.tasks)
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            assert {one.key: one.data for one in fragments} == {
                FragmentKey(job, 0, 0): b"first",
                FragmentKey(job, 0, 1): FRAGMENT,
            }
            assert len(fragments) == 2
            assert sent_bytes < 2 * len(FRAGMENT) + 61 * 1_000

    asyncio.run(story())


def test_each_worker_and_each_session_of_it_is_sent_the_fragment(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            first = await bench.worker(client, "w1", slots=1)
            job = await client.submit(wide(20))
            for worker in (first, await bench.worker(client, "w2", slots=1)):
                fragments: list[Any] = []
                while FragmentKey(job, 0, 1) not in {one.key for one in fragments}:
                    reply, _ = await polled(worker)
                    fragments += reply.fragments
                    await worker.report(*(worker.run(task) for task in reply.tasks))
            again = await bench.worker(client, "w1", slots=1)
            reply, _ = await polled(again)
            assert FragmentKey(job, 0, 1) in {one.key for one in reply.fragments}

    asyncio.run(story())


def test_a_worker_that_misses_a_fragment_is_given_it_until_the_job_ends(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(wide(2))
            reply, _ = await polled(worker)  # As if it had been lost.
            key = FragmentKey(job, 0, 1)
            assert (await asked(worker, key)).fragment == Fragment(key=key, data=FRAGMENT)
            for unknown in (replace(key, stage=5), replace(key, branch=2), replace(key, job="x")):
                assert (await asked(worker, unknown)).fragment is None
            await worker.report(*(worker.run(task) for task in reply.tasks))
            await client.ended(job)
            assert (await asked(worker, key)).fragment is None
            await bench.worker(client)
            assert (await asked(worker, key)).register_again

    asyncio.run(story())


def test_a_restarted_master_has_the_fragments_of_what_runs(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client, slots=1)
            job = await client.submit(wide(9))
            before, _ = await polled(worker)
        async with bench.master() as client:
            worker.client = client
            key = FragmentKey(job, 0, 1)
            assert (await asked(worker, key)).fragment == Fragment(key=key, data=FRAGMENT)
            await worker.report(*(worker.run(task) for task in before.tasks))
            after, _ = await polled(worker)
            assert after.tasks
            assert {one.key for one in after.fragments} == {t.fragment_key for t in after.tasks}

    asyncio.run(story())
