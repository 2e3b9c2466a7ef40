"""The planner's child process: what it refuses, and what its end costs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from minispark.settings import Limits
from minispark.tokens import Level, derive
from minispark.wire.http import auth_headers


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("wrong", "MS-110", "no column x"),
        ("crash", "MS-130", "SIGABRT"),
        ("garbage", "MS-130", "ended the planner"),
        ("hang", "MS-131", "timed out after 0.5 s"),
    ],
)
def test_a_job_that_cannot_be_planned_is_refused(
    bench: Any, name: str, code: str, says: str
) -> None:
    async def story() -> None:
        async with bench.master(limits=Limits(plan_timeout_s=0.5)) as client:
            reply = await client.submit_json(name=name)
            assert reply.status_code == 422, reply.text
            error = reply.json()["error"]
            assert error["code"] == code
            assert says in error["message"]
            # The next job finds a planner again.
            assert (await client.submit_json(name="fine")).status_code == 202

    asyncio.run(story())


def test_the_node_and_field_at_fault_are_named(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            error = (await client.submit_json(name="wrong")).json()["error"]
            assert (error["node"], error["field"]) == ("map1", "expr")

    asyncio.run(story())


def test_the_child_is_kept_and_replaced_after_its_share(bench: Any) -> None:
    async def story() -> None:
        async with bench.master(limits=Limits(jobs_per_planner=3)) as client:
            said = [
                (await client.submit_json(name="pid")).json()["error"]["message"].split()
                for _ in range(4)
            ]
            assert [count for _, count in said] == ["1", "2", "3", "1"]
            assert said[0][0] == said[2][0] != said[3][0]

    asyncio.run(story())


def test_the_child_is_replaced_after_a_panic_of_polars(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            pids = []
            for name in ("pid", "panic", "pid"):
                reply = await client.submit_json(name=name)
                assert reply.status_code == 422
                pids.append(reply.json()["error"]["message"].split()[0])
            assert pids[0] == pids[1] != pids[2]

    asyncio.run(story())


def test_jobs_sent_at_once_get_their_own_answers(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            names = ["fine", "wrong", "crash", "fine", "wrong"]
            replies = await asyncio.gather(*(client.submit_json(name=n) for n in names))
            assert [reply.status_code for reply in replies] == [202, 422, 422, 202, 422]

    asyncio.run(story())


def test_a_planner_that_cannot_start_is_an_error_not_a_hang(bench: Any) -> None:
    async def story() -> None:
        command = (sys.executable, "-c", "raise SystemExit(3)")
        async with bench.master(planner_command=command) as client:
            reply = await client.submit_json()
            assert reply.status_code == 422
            assert reply.json()["error"]["code"] == "MS-130"
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_who_sends_slow_jobs_waits_for_them_alone(bench: Any) -> None:
    """One token has one planner from each address, and never the last one."""

    async def story() -> None:
        async with bench.master(limits=Limits(plan_timeout_s=30)) as client:
            lesser = auth_headers(derive(client.config.token, Level.SUBMIT))

            async def submit(name: str) -> int:
                job = {"name": name, "dag": {}}
                reply = await client.http.post("/api/v1/jobs", json=job, headers=lesser)
                return reply.status_code

            slow = [asyncio.create_task(submit("hang")) for _ in range(5)]
            behind = asyncio.create_task(submit("fine"))
            for _ in range(3):
                assert (await client.submit_json(name="fine")).status_code == 202
            assert not any(task.done() for task in (*slow, behind))
            for task in (*slow, behind):
                task.cancel()
            await asyncio.gather(*slow, behind, return_exceptions=True)

    asyncio.run(story())


def test_a_job_is_not_parsed_by_the_master(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of very many values holds up the planner and nobody else."""

    async def story() -> None:
        async with bench.master() as client:
            body = b'{"name": "fine", "dag": [' + b"[]," * 1_000_000 + b"[]]}"
            read = json.loads

            def refuse(text: Any, **given: Any) -> Any:
                assert len(text) < len(body)
                return read(text, **given)

            monkeypatch.setattr(json, "loads", refuse)
            reply = await client.http.post("/api/v1/jobs", content=body)
            assert reply.status_code == 202

    asyncio.run(story())


def test_a_job_of_very_many_bytes_is_refused(bench: Any) -> None:
    async def story() -> None:
        async with bench.master(limits=Limits(job_bytes=1_000)) as client:
            for body in (b" " * 1_001, [b" " * 600] * 2):
                content = body if isinstance(body, bytes) else _chunks(body)
                reply = await client.http.post("/api/v1/jobs", content=content)
                assert reply.status_code == 413
                assert reply.json()["error"]["code"] == "MS-604"

    asyncio.run(story())


async def _chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
