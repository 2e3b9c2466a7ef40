"""A master killed at every point of a job: it goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.master.lives import Lives, files
from tests.master.masters import Bench

from minispark.plan.stages import SinkSpec, StageGraph
from minispark.settings import JournalSettings
from minispark.task import sinks

MOST_WRITES = 60


def _lives(bench: Bench, name: str, **changes: Any) -> Lives:
    config = replace(bench.config, state_dir=bench.tmp_path / name, **changes)
    return Lives(config, bench.client_of(config))


async def _through(
    bench: Bench, lives: Lives, graph: StageGraph, *, limit: int, carried: bool
) -> bool:
    """Run a job over a master that dies at a write; return whether it did."""
    workers = [bench.worker_of(lives.client, f"{lives.config.state_dir.name}-w{n}") for n in (1, 2)]
    life = await lives.begin()
    for worker in workers:
        await worker.register()
    life.die_after(limit, carried=carried)
    async with lives.working(*workers):
        done = asyncio.create_task(_submit_and_wait(lives, graph))
        died = asyncio.create_task(life.dead.wait())
        await asyncio.wait((done, died), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert done.done() or died.done(), "neither ended nor crashed"
        crashed = not life.spare()
        if crashed:
            await lives.end(life)
            life = await lives.begin()
        died.cancel()
        job = await asyncio.wait_for(done, 20)
        listed = (await lives.client.get("/api/v1/jobs")).json()["jobs"]
        assert [view["job_id"] for view in listed] == [job]
        metrics = (await lives.client.get(f"/api/v1/jobs/{job}/metrics")).json()
        assert metrics["records"] == {"read": 6, "agg": 6}
        assert (metrics["retries"], metrics["failures"]) == (0, {})
        assert set(lives.launched.values()) == {1}, lives.launched
        stages = (await lives.client.get(f"/api/v1/jobs/{job}/stages")).json()["stages"]
        assert {row["status"] for row in stages} == {"SUCCEEDED"}
    await lives.end(life)
    return crashed


async def _submit_and_wait(lives: Lives, graph: StageGraph) -> str:
    """Be a client that does not notice."""
    job: str = await lives.insist(lambda: lives.client.submit(graph, key="k"))
    seen = -1
    while True:
        ask = partial(lives.client.get, f"/api/v1/jobs/{job}", wait_s=5, seen=seen)
        reply = await lives.insist(ask)
        view = reply.json()
        assert view["version"] != seen
        seen = view["version"]
        if view["status"] not in ("ACCEPTED", "RUNNING"):
            assert view["status"] == "SUCCEEDED", view
            return job


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("sink", [False, True])
def test_killed_at_any_write_the_job_ends_the_same(
    bench: Bench, tmp_path: Path, *, sink: bool, carried: bool
) -> None:
    """``carried``: the last write and all that followed from it was done, the next never came;
    else the last write is durable and nothing that followed from it was done."""

    async def story() -> None:
        for limit in range(1, MOST_WRITES):
            out = tmp_path / f"out-{limit}"
            spec = SinkSpec("csv", str(out)) if sink else None
            lives = _lives(bench, f"s{limit}")
            graph = bench.two_stages(sink=spec)
            if not await _through(bench, lives, graph, limit=limit, carried=carried):
                assert limit > 6
                return
            if sink:
                assert set(files(out)) == {"_SUCCESS", "part-00000.csv", "part-00001.csv"}
                assert [path.name for path in out.iterdir() if path.is_dir()] == []
        pytest.fail("a job never came to its end without a crash")

    asyncio.run(story())


class _Cut(BaseException):
    """The process is gone: no code handles this."""


def _cut_commit(
    monkeypatch: pytest.MonkeyPatch, steps: int, die: Callable[[], object]
) -> list[int]:
    """End the master at a step of a commit: before each rename, each sync, and after the last."""
    real, sync, taken = sinks.commit, sinks._sync, [0]

    def step() -> None:
        if taken[0] == steps:
            die()
            raise _Cut
        taken[0] += 1

    def synced(path: Path) -> None:
        step()
        sync(path)

    def renamed(old: Path, new: Path) -> None:
        step()
        old.replace(new)

    def committed(*given: Any, **named: Any) -> tuple[str, ...]:
        found = real(*given, rename=renamed, **named)
        step()
        return found

    monkeypatch.setattr(sinks, "_sync", synced)
    monkeypatch.setattr(sinks, "commit", committed)
    return taken


def test_killed_at_any_point_of_a_commit_the_output_is_whole_or_absent(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"_SUCCESS", "part-00000.csv", "part-00001.csv"}

    async def story(steps: int) -> bool:
        out = tmp_path / f"out-{steps}"
        lives = _lives(bench, f"s{steps}")
        worker = bench.worker_of(lives.client, f"w{steps}")
        life = await lives.begin()
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patched:
            _cut_commit(patched, steps, lambda: loop.call_soon_threadsafe(life.die))
            async with lives.working(worker):
                graph = bench.two_stages(sink=SinkSpec("csv", str(out)))
                done = asyncio.create_task(_submit_and_wait(lives, graph))
                died = asyncio.create_task(life.dead.wait())
                await asyncio.wait((done, died), return_when=asyncio.FIRST_COMPLETED, timeout=60)
                crashed = life.dead.is_set()
                await lives.end(life)
                found = set(files(out))
                assert "_SUCCESS" not in found or found == names, found
                patched.undo()
                if crashed:
                    life = await lives.begin()
                    job = await asyncio.wait_for(done, 20)
                    where = await lives.client.get(f"/api/v1/jobs/{job}/results")
                    assert where.json()["sinks"][0]["rows"] == 6
                    assert set(lives.launched.values()) == {1}
                    await lives.end(life)
                died.cancel()
        assert set(files(out)) == names
        assert [path.name for path in out.iterdir() if path.is_dir()] == []
        return crashed

    steps = 0
    while asyncio.run(story(steps)):
        steps += 1
    assert steps == 7  # two syncs, two renames, two syncs of the directory, and the end


def test_many_restarts_in_a_row_change_nothing(bench: Bench) -> None:
    """Snapshots of snapshots: a master that dies again and again, also while it starts."""

    async def story() -> None:
        lives = _lives(bench, "again", journal=JournalSettings(snapshot_steps=2))
        worker = bench.worker_of(lives.client, "w")
        life = await lives.begin()
        await worker.register()
        async with lives.working(worker):
            done = asyncio.create_task(_submit_and_wait(lives, bench.two_stages(tasks=12)))
            for lives_before in range(MOST_WRITES):
                # A few more each time: reports that were taken already come again and count too.
                life.die_after(2 + lives_before, carried=True)
                died = asyncio.create_task(life.dead.wait())
                await asyncio.wait((done, died), return_when=asyncio.FIRST_COMPLETED, timeout=60)
                died.cancel()
                if done.done():
                    break
                await lives.end(life)
                life = await lives.begin()
            job = done.result()
            if not life.spare():
                await lives.end(life)
                life = await lives.begin()
            assert set(lives.launched.values()) == {1}
            metrics = (await lives.client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 36, "agg": 6}
            assert life.service.components.identity.master_epoch > 5
        await lives.end(life)

    asyncio.run(story())
