"""The planner's child process: what it refuses, and what its end costs."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.master.masters import Bench

from minispark.master import MasterConfig
from minispark.settings import Limits
from minispark.tokens import Level, derive
from minispark.wire.http import auth_headers

TOKEN = "secret-of-the-tests-0123456789"  # noqa: S105


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("wrong", "MS-110", "no column x"),
        ("crash", "MS-130", "SIGABRT"),
        ("garbage", "MS-130", "the planner process ended"),
        ("hang", "MS-131", "timed out after 0.5 s"),
        ("killed", "MS-169", "because memory ran out, while the compressed file 'x.gz' (node 'r')"),
        ("no memory", "MS-169", "than its limit of 4,096 MB, while the compressed file 'x.gz'"),
        ("slow file", "MS-131", "timed out after 0.5 s, while the compressed file 'x.gz'"),
    ],
)
def test_a_job_that_cannot_be_planned_is_refused(
    bench: Bench, name: str, code: str, says: str
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


@pytest.mark.process
def test_a_small_file_that_unpacks_to_gigabytes_is_named(bench: Bench, tmp_path: Path) -> None:
    """One line of 4 GB: Polars ends its process when it cannot get memory for it."""
    zeros = gzip.compress(b"0" * (64 << 20))
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a,b\n") + 64 * zeros)
    dag = {"nodes": [{"id": "read", "op": "read_csv", "path": "bomb.csv.gz"}], "edges": []}
    changes = {
        "planner_command": MasterConfig(state_dir=tmp_path, token=TOKEN).planner_command,
        "data_root": tmp_path,
        "limits": Limits(plan_memory_bytes=3 << 29),
    }

    async def story() -> None:
        async with bench.master(**changes) as client:
            reply = await client.submit_json(dag=dag)
            assert reply.status_code == 422
            error = reply.json()["error"]
            assert error["code"] == "MS-169"
            assert "1,536 MB, while the compressed file 'bomb.csv.gz'" in error["message"]
            assert (error["node"], error["file"]) == ("read", "bomb.csv.gz")

    asyncio.run(story())


def test_the_node_and_field_at_fault_are_named(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            error = (await client.submit_json(name="wrong")).json()["error"]
            assert (error["node"], error["field"]) == ("map1", "expr")

    asyncio.run(story())


def test_the_child_is_kept_and_replaced_after_its_share(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master(limits=Limits(jobs_per_planner=3)) as client:
            said = [
                (await client.submit_json(name="pid")).json()["error"]["message"].split()
                for _ in range(4)
            ]
            assert [count for _, count in said] == ["1", "2", "3", "1"]
            assert said[0][0] == said[2][0] != said[3][0]

    asyncio.run(story())


def test_the_child_that_follows_is_started_before_it_is_needed(bench: Bench) -> None:
    def planners() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    async def story() -> None:
        before = planners()
        async with bench.master(limits=Limits(jobs_per_planner=3)) as client:
            reply = await client.submit_json(name="pid")
            first = int(reply.json()["error"]["message"].split()[0])
            (following,) = planners() - before - {first}
            for _ in range(2):
                await client.submit_json(name="pid")
            reply = await client.submit_json(name="pid")
            assert int(reply.json()["error"]["message"].split()[0]) == following
        assert planners() <= before

    asyncio.run(story())


def test_the_child_is_replaced_after_a_panic_of_polars(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            pids = []
            for name in ("pid", "panic", "pid"):
                reply = await client.submit_json(name=name)
                assert reply.status_code == 422
                pids.append(reply.json()["error"]["message"].split()[0])
            assert pids[0] == pids[1] != pids[2]

    asyncio.run(story())


def test_jobs_sent_at_once_get_their_own_answers(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            names = ["fine", "wrong", "crash", "fine", "wrong"]
            replies = await asyncio.gather(*(client.submit_json(name=n) for n in names))
            assert [reply.status_code for reply in replies] == [202, 422, 422, 202, 422]

    asyncio.run(story())


def test_a_planner_that_cannot_start_is_an_error_not_a_hang(bench: Bench) -> None:
    async def story() -> None:
        command = (sys.executable, "-c", "raise SystemExit(3)")
        async with bench.master(planner_command=command) as client:
            reply = await client.submit_json()
            assert reply.status_code == 422
            assert reply.json()["error"]["code"] == "MS-130"
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_who_sends_slow_jobs_waits_for_them_alone(bench: Bench) -> None:
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


def test_a_job_is_not_parsed_by_the_master(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of very many values delays the planner only."""

    async def story() -> None:
        async with bench.master() as client:
            body = b'{"name": "fine", "dag": [' + b"[]," * 1_000_000 + b"[]]}"
            read = json.loads

            def refuse(text: str | bytes, **given: Any) -> object:
                assert len(text) < len(body)
                return read(text, **given)

            monkeypatch.setattr(json, "loads", refuse)
            reply = await client.http.post("/api/v1/jobs", content=body)
            assert reply.status_code == 202

    asyncio.run(story())


def test_a_job_of_very_many_bytes_is_refused(bench: Bench) -> None:
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
