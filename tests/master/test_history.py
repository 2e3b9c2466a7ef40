"""What the master says of state, attempts and events, while a job runs and long after."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from tests.master.masters import Bench, Client, FakeWorker

from minispark.errors import ErrorInfo, Failure, OutOfMemory, TaskError, TimedOut
from minispark.master.views import explanations as stories
from minispark.settings import SchedulerSettings
from minispark.task.spec import TaskFailure
from minispark.ui import step_pager as plot


async def _failed_once(bench: Bench, client: Client) -> tuple[str, FakeWorker]:
    """A job of two stages whose first task failed once, with something printed."""
    worker = await bench.worker(client)
    job = await client.submit(bench.two_stages())
    (first, other) = (await worker.poll()).tasks
    failure = TaskError(ErrorInfo("MS-214", "no room", detail="Traceback ..."), transient=True)
    await worker.report(
        TaskFailure(first.key, failure, log=("reading", "half way")), worker.run(other)
    )
    return job, worker


def test_attempts_are_listed_with_their_errors(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            job, worker = await _failed_once(bench, client)
            path = f"/api/v1/jobs/{job}/tasks"
            running = (await client.get(path)).json()
            assert [(t["partition"], t["attempt"], t["status"]) for t in running["tasks"]] == [
                (0, 0, "FAILED"),
                (1, 0, "SUCCEEDED"),
                (0, 1, "RUNNING"),
            ]
            first = running["tasks"][0]
            assert first["task"] == f"{job}.0.0.0.0"
            assert (first["stage"], first["worker"], running["after"]) == ("stage-0", "w1", None)
            # It ran for no time (the fake worker says so), however long it was queued.
            assert first["duration_s"] == 0
            assert first["queued_s"] > 0
            assert running["tasks"][2]["duration_s"] is None
            assert running["tasks"][1]["bytes_written"] > 0
            assert first["error"]["message"] == "no room"
            assert first["error"]["log"] == ["reading", "half way"]
            assert first["error"]["stage"] == "stage-0"
            (again,) = (await worker.poll()).tasks
            await worker.report(worker.run(again))
            await worker.work(polls=1)
            await client.ended(job)
            whole = (await client.get(path)).json()["tasks"]
            assert len(whole) == 5
            assert whole[0]["error"] == first["error"]
            page = (await client.get(path, limit=2)).json()
            rest = (await client.get(path, limit=9, after=page["after"])).json()
            assert page["tasks"] + rest["tasks"] == whole
            assert rest["after"] is None
            assert (await client.get(path, after="nonsense")).json()["tasks"] == []
            assert (await client.get("/api/v1/jobs/job-x/tasks")).status_code == 404
        async with bench.master() as client:
            assert (await client.get(path)).json()["tasks"] == whole

    asyncio.run(story())


def test_events_are_the_journal_of_the_job(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            job, _ = await _failed_once(bench, client)
            other = await client.submit(bench.one_stage())
            path = f"/api/v1/jobs/{job}/events"
            rows = (await client.get(path)).json()["events"]
            assert [row["kind"] for row in rows] == [
                "job_submitted",
                "task_failed",
                "task_succeeded",
            ]
            verdicts = [row["decisions"][0] for row in rows[1:]]
            assert verdicts == [["report_accepted"], ["report_accepted"]]
            launches = [d for row in rows for d in row["decisions"] if d[0] == "launch_task"]
            assert launches == [
                ["launch_task", "w1", f"{job}.0.0.0.0", ["first"]],
                ["launch_task", "w1", f"{job}.0.0.1.0", ["first"]],
                ["launch_task", "w1", f"{job}.0.0.0.1", ["failed", "w1", f"{job}.0.0.0.0"]],
            ]
            assert rows[1]["payload"]["report"]["log"] == ["reading", "half way"]
            page = (await client.get(path, limit=2)).json()
            assert page["events"] == rows[:2]
            rest = (await client.get(path, after=page["after"])).json()
            assert (rest["events"], rest["after"]) == (rows[2:], None)
            assert (await client.get("/api/v1/jobs/job-x/events")).status_code == 404
            assert (await client.get(f"/api/v1/jobs/{other}/events")).status_code == 200
            assert (await client.get(path, after=-1)).status_code == 422

    asyncio.run(story())


async def _stream(
    client: Client, path: str, **headers: str
) -> list[tuple[int, str, dict[str, Any]]]:
    """Read a stream of events to its end."""
    found = []
    async with client.http.stream(
        "GET", path, headers={"Accept": "text/event-stream", **headers}
    ) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        text = "".join([chunk async for chunk in reply.aiter_text()])
    for block in text.strip().split("\n\n"):
        if not block.startswith(":"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_events_are_followed_to_the_end_of_the_job(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages())
            path = f"/api/v1/jobs/{job}/events"
            following = asyncio.create_task(_stream(client, path))
            await worker.work(polls=2)
            found = await asyncio.wait_for(following, 20)
            listed = (await client.get(path)).json()["events"]
            assert [data for _, _, data in found] == listed
            assert [kind for _, kind, _ in found] == ["job_submitted", *["task_succeeded"] * 4]
            assert ["finish_job", job, "SUCCEEDED"] in [
                said[:3] for said in found[-1][2]["decisions"]
            ]
            later = await _stream(client, path, **{"Last-Event-ID": str(found[2][0])})
            assert later == found[3:]
            missing = await client.http.get(
                "/api/v1/jobs/job-x/events", headers={"Accept": "text/event-stream"}
            )
            assert missing.status_code == 404

    asyncio.run(story())


def test_the_state_is_whole_for_those_with_a_token_only(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages(), name="secret name")
            await worker.work(polls=1)
            state = (await client.get("/api/v1/state")).json()
            assert state["cluster_id"] in job
            assert state["master_epoch"] == 1
            assert state["journal"] == {
                "seq": state["journal"]["seq"],
                "status": "ok",
                "trouble": None,
            }
            (one,) = state["jobs"]
            assert (one["job_id"], one["status"], one["name"]) == (job, "RUNNING", "secret name")
            assert one["stages"] == [
                {
                    "id": "stage-0",
                    "label": "unordered",
                    "generation": 0,
                    "tasks": 2,
                    "tasks_done": 2,
                },
                {
                    "id": "stage-1",
                    "label": "determinate",
                    "generation": 0,
                    "tasks": 2,
                    "tasks_done": 0,
                },
            ]
            (seen,) = state["workers"]
            assert (seen["worker_id"], seen["status"], seen["active_tasks"]) == ("w1", "UP", 2)
            assert seen["url"] == "http://w1:1"
            async with httpx2.AsyncClient(base_url=client.url, trust_env=False) as stranger:
                reduced = await stranger.get("/api/v1/state")
                assert reduced.status_code == 200
                assert "secret name" not in reduced.text
                assert "http://w1" not in reduced.text
                assert reduced.json()["jobs"][0]["status"] == "RUNNING"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (OutOfMemory(256 << 20, 300 << 20), "memory limit of 256 MB; it used 300 MB"),
        (TimedOut(30.0), "timed out after 30 s"),
    ],
)
def test_a_job_that_hit_a_limit_names_it(bench: Bench, failure: Failure, says: str) -> None:
    """Limit, size, stage and partition; and what the last attempt had printed."""

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            for attempt in range(9):
                tasks = (await worker.poll()).tasks
                if not tasks:
                    break
                (spec,) = tasks
                log = (f"attempt {attempt}",)
                await worker.report(TaskFailure(spec.key, failure, log=log))
                if (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "FAILED":
                    break
            view = await client.ended(job)
            assert view["status"] == "FAILED"
            error = view["error"]
            assert says in error["message"]
            assert "(stage 0, all, partition 0)" in error["message"]
            assert (error["stage"], error["partition"]) == ("stage-0", 0)
            assert error["log"] == [f"attempt {attempt}"]

    asyncio.run(story())


def test_a_job_says_that_all_workers_are_full(bench: Bench) -> None:
    """One of which nothing runs; the other goes on as long as something of it does."""
    settings = SchedulerSettings(max_prefetch=0, policy="fifo")

    async def story() -> None:
        async with bench.master(scheduler=settings) as client:
            worker = await bench.worker(client, slots=2)
            busy = await client.submit(bench.two_stages(tasks=2))
            idle = await client.submit(bench.one_stage())

            async def waiting(job: str) -> str | None:
                view = (await client.get(f"/api/v1/jobs/{job}")).json()
                assert not view["workers_waiting"]
                found: str | None = view["waiting"]
                return found

            assert [await waiting(job) for job in (busy, idle)] == [None, None]
            await worker.heartbeat_full("disk")
            full = "the workers accept no more tasks: their disk is full"
            assert [await waiting(job) for job in (busy, idle)] == [None, full]
            await worker.heartbeat_full(None)
            assert [await waiting(job) for job in (busy, idle)] == [None, None]

    asyncio.run(story())


def test_the_weight_of_a_job_reaches_the_scheduler(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            reply = await client.submit_json(weight=2.5)
            assert reply.status_code == 202
            path = f"/api/v1/jobs/{reply.json()['job_id']}/events"
            (row,) = (await client.get(path)).json()["events"]
            assert row["payload"]["job"]["weight"] == 2.5

    asyncio.run(story())


def test_a_story_is_read_page_by_page_while_it_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (plot, stories):
        monkeypatch.setattr(module, "STEPS_PER_PAGE", 3)

    async def story() -> None:
        async with bench.master() as client:
            job, worker = await _failed_once(bench, client)
            path = f"/api/v1/jobs/{job}/story"
            begun = (await client.get(path, step=99)).json()
            assert begun["first"] == 1
            assert begun["total"] == len(begun["steps"]) == 3
            (again,) = (await worker.poll()).tasks
            await worker.report(worker.run(again))
            await worker.work(polls=1)
            await client.ended(job)
            lines = (await client.get(f"/api/v1/jobs/{job}/events")).json()["events"]
            seen, number = [], 1
            while True:
                page = (await client.get(path, step=number)).json()
                assert (page["first"], page["total"]) == (number, len(lines))
                seen += [step["seq"] for step in page["steps"]]
                number += len(page["steps"])
                if number > page["total"]:
                    break
            assert seen == [line["seq"] for line in lines]
            last = (await client.get(path, seq=seen[-1])).json()
            assert last == page
            assert (await client.get(path, seq=10**9)).json() == page
            assert (await client.get(path, step=0)).status_code == 422
            assert (await client.get("/api/v1/jobs/job-x/story")).status_code == 404

    asyncio.run(story())
