"""Whose job is planned next."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minispark.master.jobs.planner import PlannedBody, Planner
from minispark.master.jobs.planner_pool import PlannerPool
from minispark.master.settings import MasterConfig
from minispark.plan.stages import StageGraph
from minispark.settings import Limits
from minispark.tokens import Level
from minispark.wire.guard import Caller
from minispark.wire.http import RefusedError

ROOT = Caller(Level.ROOT, "127.0.0.1")
HERE = Caller(Level.SUBMIT, "127.0.0.1")
THERE = Caller(Level.SUBMIT, "10.0.0.1")
PLAN = PlannedBody("n", 1.0, StageGraph((), ()))


class Bench:
    """Planners that end when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, **limits: int) -> None:
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: list[asyncio.Task[PlannedBody]] = []

        async def plan(_planner: Planner, body: bytes) -> PlannedBody:
            self.begun.append(body.decode())
            await self.ends[body.decode()].wait()
            return PLAN

        monkeypatch.setattr(Planner, "plan", plan)
        config = MasterConfig(path, "a-token", limits=Limits(**limits))
        self.planners = PlannerPool(config)

    async def send(self, name: str, who: Caller) -> asyncio.Task[PlannedBody]:
        self.ends[name] = asyncio.Event()
        task = asyncio.create_task(self.planners.plan(name.encode(), who))
        self.tasks.append(task)
        await self.settle()
        return task

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def test_callers_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(monkeypatch, tmp_path, planners=2)
        for name in ("a1", "a2", "a3"):
            await bench.send(name, HERE)
        await bench.send("b1", THERE)
        assert bench.begun == ["a1"]
        await bench.send("r1", ROOT)
        await bench.send("r2", ROOT)
        assert bench.begun == ["a1", "r1"]
        await bench.end("a1")
        assert bench.begun[2:] == ["b1"]
        await bench.end("b1")
        assert bench.begun[3:] == ["a2"]
        await bench.end("r1")
        assert bench.begun[4:] == ["r2"]

    asyncio.run(story())


def test_a_caller_has_one_planner_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def story() -> None:
        bench = Bench(monkeypatch, tmp_path, planners=3)
        for name, who in (("a1", HERE), ("a2", HERE), ("b1", THERE), ("r1", ROOT), ("r2", ROOT)):
            await bench.send(name, who)
        assert bench.begun == ["a1", "b1", "r1"]

    asyncio.run(story())


def test_one_planner_serves_everyone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(monkeypatch, tmp_path, planners=1)
        await bench.send("a1", HERE)
        await bench.send("r1", ROOT)
        await bench.end("a1")
        assert bench.begun == ["a1", "r1"]

    asyncio.run(story())


def test_who_leaves_gives_its_place_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(monkeypatch, tmp_path, planners=2)
        first = await bench.send("a1", HERE)
        second = await bench.send("a2", HERE)
        await bench.send("a3", HERE)
        second.cancel()
        first.cancel()
        await bench.settle()
        assert bench.begun == ["a1", "a3"]
        # Its turn has come, and it leaves before it hears of that.
        last = await bench.send("a4", HERE)
        bench.ends["a3"].set()
        while not bench.tasks[2].done():
            await asyncio.sleep(0)
        last.cancel()
        await bench.settle()
        await bench.send("b1", THERE)
        assert bench.begun[-1] == "b1"

    asyncio.run(story())


def test_a_line_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(monkeypatch, tmp_path, planners=2, waiting_plans=2)
        for name in ("a1", "a2", "a3"):
            await bench.send(name, HERE)
        refused = await bench.send("a4", HERE)
        with pytest.raises(RefusedError) as caught:
            await refused
        assert (caught.value.status, caught.value.info.code) == (429, "MS-149")
        await bench.send("b1", THERE)
        await bench.end("a1")
        assert bench.begun == ["a1", "b1"]

    asyncio.run(story())
