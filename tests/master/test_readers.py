"""Readers that raise lose no row, command or job; what they left half done is repaired.

Each is made to raise at random rows of a real master. Journal, answers and results are those of a
master whose readers do not raise.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from minispark.errors import ErrorInfo, TaskError, TimedOut
from minispark.master.control import service
from minispark.master.views import cluster_events
from minispark.master.views import job_reader as readers
from minispark.observe import projection
from minispark.observe.record import JobRecord
from minispark.plan.stages import SinkSpec

TIMES = ("at", "_at", "_s")
ROWS = "SELECT seq, job, kind, payload, commands FROM events ORDER BY seq"


def _plain(value: Any) -> Any:
    """What must be the same in every run: all but times, versions and rates."""
    if isinstance(value, dict):
        return {
            name: _plain(one)
            for name, one in value.items()
            if not name.endswith(TIMES) and name not in ("version", "skew", "cpu_percent")
        }
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _normal(text: str | None, job: str, name: str) -> Any:
    """A text of the journal without names that differ by chance, and times."""
    if text is None:
        return None
    text = text.replace(job.split("-")[1], "cluster").replace(f"/{name}-out", "/out")
    return _plain(json.loads(text)) if text.startswith(("{", "[")) else text


async def _story(bench: Any, name: str) -> dict[str, Any]:
    """Jobs that fail, are cancelled and succeed, over a lost worker and a restart."""
    state, out = bench.tmp_path / name, bench.tmp_path / f"{name}-out"
    async with bench.master(state_dir=state) as client:
        worker = await bench.worker(client)
        job = await client.submit(bench.two_stages(tasks=3, sink=SinkSpec("csv", str(out))))
        (first, second, _) = (await worker.poll()).tasks
        await worker.report(worker.fail(first, TimedOut(5.0)), worker.run(second))
        worker = await bench.worker(client)  # Its earlier life had the rest.
        other = await client.submit(bench.one_stage(), name="other")
        third_job = await client.submit(bench.one_stage(), name="cancelled")
        await client.http.delete(f"/api/v1/jobs/{third_job}")
        specs = {spec.key: spec for spec in (await worker.poll(wait_s=0)).tasks}
        for spec in specs.values():
            if spec.key.job == other:
                wrong = TaskError(ErrorInfo("MS-160", "bad row"))
                await worker.report(worker.fail(spec, wrong))
            elif spec.key.job == job:
                await worker.report(worker.run(spec))
        await client.ended(other)
    async with bench.master(state_dir=state) as client:
        worker.client = client
        polls = asyncio.create_task(worker.serve())
        assert (await client.ended(job))["status"] == "SUCCEEDED"
        polls.cancel()
        jobs = (job, other, third_job)
        answers = {
            f"{number}{rest}": _normal(
                (await client.get(f"/api/v1/jobs/{one}{rest}")).text, job, name
            )
            for number, one in enumerate(jobs)
            for rest in ("", "/stages", "/metrics", "/tasks", "/results")
        }
    with closing(sqlite3.connect(state / "journal.db")) as db:
        rows = [
            [
                seq,
                _normal(one, job, name),
                kind,
                _normal(payload, job, name),
                _normal(commands, job, name),
            ]
            for seq, one, kind, payload, commands in db.execute(ROWS)
        ]
    files = {path.name: path.read_text() for path in out.iterdir() if path.is_file()}
    return {"answers": answers, "rows": rows, "files": files}


def _raising(real: Callable[..., Any], seed: int, share: float) -> tuple[Any, list[int]]:
    """A reader that raises now and then: before it has done its work, or after."""
    chance, raised = Random(seed), [0]

    def call(*args: Any, **named: Any) -> Any:
        if chance.random() >= share:
            return real(*args, **named)
        raised[0] += 1
        if chance.random() < 0.5:
            real(*args, **named)
        raise KeyError("a reader raises")

    return call, raised


READERS = [
    (readers, "apply"),
    (service, "log_row"),
    (cluster_events.EventPublisher, "_lines"),
    (readers.JobReader, "apply"),
]


@pytest.mark.parametrize(("where", "name"), READERS)
def test_a_reader_that_raises_costs_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    quiet = asyncio.run(_story(bench, "quiet"))
    assert {row[2] for row in quiet["rows"]} >= {"task_failed", "job_committed", "job_submitted"}
    for seed in range(2):
        call, raised = _raising(getattr(where, name), seed, 0.4)
        with monkeypatch.context() as patched:
            patched.setattr(where, name, call)
            loud = asyncio.run(_story(bench, f"loud-{seed}"))
        assert raised[0] > 2
        assert loud["rows"] == quiet["rows"]
        assert loud["files"] == quiet["files"]
        assert loud["answers"] == quiet["answers"]


@pytest.mark.parametrize("name", ["view", "stage_rows", "metrics", "explain", "waits", "finished"])
def test_a_table_that_always_raises_is_left_out(
    bench: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The job ends as it does, also where nothing of it can be shown."""

    def raises(*_args: Any, **_named: Any) -> Any:
        raise KeyError(name)

    async def story() -> None:
        state = bench.tmp_path / "state"
        async with bench.master(state_dir=state) as client:
            worker = await bench.worker(client)
            good, bad = [await client.submit(bench.one_stage()) for _ in range(2)]
            with monkeypatch.context() as patched:
                patched.setattr(JobRecord, name, raises)
                for spec in (await worker.poll()).tasks:
                    failed = worker.fail(spec, TaskError(ErrorInfo("MS-160", "bad row")))
                    await worker.report(worker.run(spec) if spec.key.job == good else failed)
                await worker.heartbeat()
                await worker.report()  # Answered once all that was written is durable.
                path = "/api/v1/jobs"
                await _until(client, good, "SUCCEEDED")
                await _until(client, bad, "FAILED")
        async with bench.master(state_dir=state) as client:
            views = {one["job_id"]: one for one in (await client.get(path)).json()["jobs"]}
            assert views[good]["status"] == "SUCCEEDED"
            assert (views[bad]["status"], views[bad]["error"]["message"]) == ("FAILED", "bad row")
            csv = await client.get(f"{path}/{good}/results", format="csv")
            assert len(csv.text.splitlines()) == 4

    asyncio.run(story())


async def _until(client: Any, job: str, status: str) -> None:
    async with asyncio.timeout(30):
        while True:
            reply = await client.get(f"/api/v1/jobs/{job}", wait_s=1)
            if reply.status_code == 200 and reply.json()["status"] == status:
                return
            await asyncio.sleep(0)


def test_rows_that_never_can_be_read_end_no_job(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_args: Any) -> None:
        raise KeyError("row")

    monkeypatch.setattr(readers, "apply", raises)
    monkeypatch.setattr(projection, "apply", raises)

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            await worker.work(polls=1)
            await _until(client, job, "SUCCEEDED")
            csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert len(csv.text.splitlines()) == 4

    asyncio.run(story())


@pytest.mark.parametrize(
    "spoil",
    [
        "json_remove(outcome, '$.view.progress')",
        "json_remove(outcome, '$.metrics.tasks', '$.stages[0].tasks')",
        "json_remove(outcome, '$.stages')",
        "json_set(outcome, '$.view.status', 'UNHEARD_OF')",
    ],
)
def test_a_finished_job_of_another_release_is_shown_as_far_as_it_is_understood(
    bench: Any, tmp_path: Path, spoil: str
) -> None:
    async def story() -> None:
        state = tmp_path / "state"
        async with bench.master(state_dir=state) as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage(), name="old")
            await worker.work(polls=1)
            await client.ended(job)
        with closing(sqlite3.connect(state / "journal.db")) as db:
            db.execute(f"UPDATE jobs SET outcome = {spoil}")  # noqa: S608
            db.commit()
        async with bench.master(state_dir=state) as client:
            (view,) = (await client.get("/api/v1/jobs")).json()["jobs"]
            assert (view["job_id"], view["name"], view["status"]) == (job, "old", "SUCCEEDED")
            csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert len(csv.text.splitlines()) == 4
            for rest in ("/tasks", "/events", "/results"):
                assert (await client.get(f"/api/v1/jobs/{job}{rest}")).status_code == 200
            async with asyncio.timeout(30):  # What is missing is folded from the journal.
                while True:
                    rows = (await client.get(f"/api/v1/jobs/{job}/stages")).json()["stages"]
                    metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
                    if rows and metrics["tasks"] == 1:
                        break
                    await asyncio.sleep(0)
            assert (await client.http.get(f"/jobs/{job}")).status_code == 200

    asyncio.run(story())
