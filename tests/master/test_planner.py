"""The planner's child process: what it refuses, and what its end costs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from minispark.settings import Limits


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


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object"),
        (b'{"dag": {"nodes": [1, 2, 3, 4]}}', "at most 3"),
        (b'{"dag": {"nodes": [], "edges": [1, 2, 3]}}', "at most 2"),
        (b'{"dag": {"nodes": [{"id": "a", "where": "' + b"a+" * 80 + b'a"}]}}', "at most 100"),
        (b'{"dag": {"nodes": [{"id": "a", "x": [[[[[[1]]]]]]}]}}', "too deeply"),
    ],
)
def test_limits_come_before_the_planner(bench: Any, body: bytes, says: str) -> None:
    limits = Limits(nodes=3, edges=2, expression_chars=100, expression_depth=5)

    async def story() -> None:
        async with bench.master(limits=limits) as client:
            reply = await client.http.post("/api/v1/jobs", content=body)
            assert reply.status_code == 422
            assert says in reply.json()["error"]["message"]

    asyncio.run(story())
