"""Each control route with its request lost, its answer lost, said twice, and far too late.

Afterwards all is as if it had been said once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import product

import httpx2
import pytest
from tests.master.lives import Lives
from tests.master.masters import Bench

from minispark.plan.stages import StageGraph
from minispark.settings import SchedulerSettings

HASTY = SchedulerSettings(heartbeat_timeout_s=0.4, lost_task_grace_s=0.2)
ROUTES = {
    "register": ("POST", r"/internal/v1/workers"),
    "poll": ("POST", r"/internal/v1/workers/w1/poll"),
    "reports": ("POST", r"/internal/v1/workers/w1/reports"),
    "heartbeat": ("POST", r"/internal/v1/workers/w1/heartbeat"),
    "drain": ("POST", r"/internal/v1/workers/w1/drain"),
    "leave": ("DELETE", r"/internal/v1/workers/w1"),
    "submit": ("POST", r"/internal/v1/jobs"),
    "cancel": ("DELETE", r"/api/v1/jobs/[^/]+"),
}
Send = Callable[[], Awaitable[httpx2.Response]]


class Fault:
    """Strikes one request to a route: the ``nth``."""

    def __init__(self, lives: Lives, route: str, kind: str, nth: int) -> None:
        self.struck = 0
        self._lives = lives
        self._method, pattern = ROUTES[route]
        self._path = re.compile(pattern)
        self._kind = kind
        self._left = nth
        if route == "heartbeat":
            lives.gate.clear()  # Nothing ends before it has struck.
        lives.line.wrap = self._handle

    async def _handle(self, request: httpx2.Request, send: Send) -> httpx2.Response:
        if request.method != self._method or not self._path.fullmatch(request.url.path):
            return await send()
        self._left -= 1
        if self._left != 0:
            return await send()
        self.struck += 1
        self._lives.gate.set()
        match self._kind:
            case "request lost":
                raise httpx2.ConnectError("lost on the way")
            case "answer lost":
                await send()
                raise httpx2.ReadError("lost on the way back")
            case "twice":
                first = await send()
                second = await send()
                assert second.status_code == first.status_code
                return second
            case _:
                return await self._late(send)

    async def _late(self, send: Send) -> httpx2.Response:
        """Deliver it once the master has given w1 up."""
        line = self._lives.line
        line.held.add("w1")
        async with asyncio.timeout(60):
            while await self._status() == "UP":
                await asyncio.sleep(0.02)
        line.held.clear()
        return await send()

    async def _status(self) -> str | None:
        found = (await self._lives.client.get("/api/v1/workers")).json()["workers"]
        return next((w["status"] for w in found if w["worker_id"] == "w1"), None)


async def _job(lives: Lives, graph: StageGraph) -> str:
    """Submit a job and follow it to its end; lost requests are sent again."""
    client = lives.client
    job: str = await lives.insist(lambda: client.submit(graph, key="k"))
    async with asyncio.timeout(60):
        seen = -1
        while True:
            ask = partial(client.get, f"/api/v1/jobs/{job}", wait_s=5, seen=seen)
            reply = await lives.insist(ask)
            view = reply.json()
            if view["status"] not in ("ACCEPTED", "RUNNING"):
                assert view["status"] in ("SUCCEEDED", "CANCELLED"), view
                return job
            seen = view["version"]


async def _nothing_is_left(lives: Lives, job: str) -> None:
    state = (await lives.client.get("/api/v1/state")).json()
    assert [(one["job_id"], one["stages"]) for one in state["jobs"]] == [(job, [])]
    assert {worker["active_tasks"] for worker in state["workers"]} == {0}


@pytest.mark.parametrize(
    ("route", "kind", "nth"),
    [
        *product(("register", "submit"), ("request lost", "answer lost", "twice"), (1,)),
        *product(
            ("poll", "reports", "heartbeat"),
            ("request lost", "answer lost", "twice", "late"),
            (1, 2),
        ),
    ],
)
def test_a_job_ends_as_if_nothing_had_been_lost(
    bench: Bench, route: str, kind: str, nth: int
) -> None:
    async def story() -> None:
        config = replace(bench.config, scheduler=HASTY)
        lives = Lives(config, bench.client_of(config))
        workers = [bench.worker_of(lives.client, name) for name in ("w1", "w2")]
        life = await lives.begin()
        fault = Fault(lives, route, kind, nth)
        async with lives.working(*workers, beat_s=0.05):
            job = await _job(lives, bench.two_stages(tasks=6))
            metrics = (await lives.client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 18, "agg": 6}
            csv = await lives.client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert len(csv.text.splitlines()) == 7
            await _nothing_is_left(lives, job)
        assert fault.struck
        await lives.end(life)

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["request lost", "answer lost", "twice", "late"])
@pytest.mark.parametrize("route", ["leave", "cancel", "drain"])
def test_what_ends_something_ends_it_once(bench: Bench, route: str, kind: str) -> None:
    async def story() -> None:
        config = replace(bench.config, scheduler=HASTY)
        lives = Lives(config, bench.client_of(config))
        client, w1, w2 = lives.client, *(bench.worker_of(lives.client, n) for n in ("w1", "w2"))
        life = await lives.begin()
        await w1.register()
        job = await client.submit(bench.two_stages(tasks=4), key="k")
        assert (await w1.poll()).tasks
        fault = Fault(lives, route, kind, 1)
        if route == "leave":
            await lives.insist(w1.leave)
        elif route == "drain":
            await lives.insist(w1.drain)
        else:
            reply = await lives.insist(lambda: client.http.delete(f"/api/v1/jobs/{job}"))
            assert reply.json()["status"] == "CANCELLED"
        assert fault.struck
        lives.line.held.add("w1")
        async with lives.working(w2, beat_s=0.05):
            assert await _job(lives, bench.two_stages(tasks=4)) == job
            statuses = {
                worker["worker_id"]: worker["status"]
                for worker in (await client.get("/api/v1/workers")).json()["workers"]
            }
            assert statuses["w2"] == "UP"
            async with asyncio.timeout(60):
                while (await client.get("/api/v1/workers")).json()["workers"][0]["status"] == "UP":
                    await asyncio.sleep(0.02)
            if route != "drain":
                await _nothing_is_left(lives, job)
        await lives.end(life)

    asyncio.run(story())
