"""What workers say to the master, and what it makes of silence."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest
from tests.master.masters import Bench

from minispark.ids import TaskKey
from minispark.plan.hashing import hash_vector
from minispark.settings import SchedulerSettings
from minispark.task.spec import TaskProgress
from minispark.wire.http import versions
from minispark.wire.messages import HeartbeatRequest, ReportReply, ReportRequest, WorkerFacts


def test_a_worker_is_listed_with_its_load(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await client.submit(bench.two_stages())
            await worker.heartbeat(cpu_percent=12.5, memory_bytes=1e9)
            (view,) = (await client.get("/api/v1/workers")).json()["workers"]
            assert (view["worker_id"], view["status"], view["slots"]) == ("w1", "UP", 4)
            assert (view["active_tasks"], view["cpu_percent"]) == (2, 12.5)
            assert view["memory_bytes"] == 1_000_000_000
            assert 0 <= view["heartbeat_age_s"] < 10

    asyncio.run(story())


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "-1", "1e308", "9" * 400])
def test_a_figure_that_is_no_sound_number_is_refused(bench: Bench, number: str) -> None:
    """The list of workers has them as JSON."""

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await worker.heartbeat(memory_bytes=7.0)
            message = HeartbeatRequest(member=worker.member, attempts=())
            body = message.model_dump(mode="json") | {"metrics": {"memory_bytes": "NUMBER"}}
            reply = await client.http.post(
                "/internal/v1/workers/w1/heartbeat",
                content=json.dumps(body).replace('"NUMBER"', number),
            )
            assert reply.status_code == 422
            assert reply.json()["error"]["code"] == "MS-112"
            for path in ("/api/v1/workers", "/metrics", "/api/v1/metrics/system"):
                assert (await client.get(path)).status_code == 200
            (view,) = (await client.get("/api/v1/workers")).json()["workers"]
            assert view["memory_bytes"] == 7

    asyncio.run(story())


def test_a_message_of_very_many_values_is_refused_before_it_is_read(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            body = b'{"member":[' + b"[]," * 1_000_001 + b"[]]}"
            reply = await client.http.post("/internal/v1/workers/w1/reports", content=body)
            assert reply.status_code == 413
            assert "values" in reply.json()["error"]["message"]
            named = {"a" * 50_000: "x"}
            reply = await client.http.post(
                "/internal/v1/workers/w1/reports", json={"member": named, "reports": []}
            )
            assert reply.status_code == 422
            assert len(reply.content) < 1_000
            assert (await worker.heartbeat())["register_again"] is False

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"versions": versions().model_copy(update={"polars": "1.0"})}, 409, "Polars 1.0"),
        ({"versions": versions().model_copy(update={"python": "3.9.1"})}, 409, "Python 3.9"),
        ({"versions": versions().model_copy(update={"plan": "00"})}, 409, "plans differ"),
        ({"hashes": (1, 2, 3)}, 409, "hashes keys differently"),
        ({"worker_id": "../w"}, 422, "worker id"),
        ({"url": "file:///etc"}, 422, "http://HOST:PORT"),
        ({"slots": 0}, 422, "RegisterRequest"),
        ({"slots": 10**9}, 422, "RegisterRequest"),
        ({"url": "http://" + "SECRET" * 8_000}, 422, "RegisterRequest"),
    ],
)
def test_a_worker_that_does_not_fit_is_refused(
    bench: Bench, changes: dict[str, Any], status: int, says: str
) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client, "right")
            reply = await worker.send("", worker.request(**changes))
            assert reply.status_code == status
            assert says in reply.json()["error"]["message"]
            same = await worker.send("", worker.request(hashes=hash_vector()))
            assert same.status_code == 200

    asyncio.run(story())


def test_an_old_life_of_a_worker_is_told_to_register(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            old = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            (spec,) = (await old.poll()).tasks
            new = await bench.worker(client)
            assert new.epoch > old.epoch
            assert (await old.poll()).register_again
            assert (await old.report(old.run(spec)))["register_again"]
            assert (await old.heartbeat())["register_again"]
            (again,) = (await new.poll()).tasks
            assert again.key.attempt == spec.key.attempt + 1
            await new.report(new.run(again))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["failures"] == {"worker_lost": 1}

    asyncio.run(story())


def test_a_worker_of_a_cluster_that_was_wiped_is_told_to_register(bench: Bench) -> None:
    """Though its epoch is just that of the worker which has its name now, who works on."""

    async def story() -> None:
        async with bench.master() as client:
            old = await bench.worker(client)
        shutil.rmtree(bench.config.state_dir)
        async with bench.master() as client:
            new = await bench.worker(client)
            assert new.epoch == old.epoch
            job = await client.submit(bench.one_stage())
            old.client = client
            assert (await old.poll()).register_again
            (spec,) = (await new.poll()).tasks
            assert (await old.report(new.run(spec)))["register_again"]
            assert (await old.heartbeat())["register_again"]
            assert (await old.drain()).register_again
            await old.leave()
            (view,) = (await client.get("/api/v1/workers")).json()["workers"]
            assert (view["status"], view["active_tasks"]) == ("UP", 1)
            await new.report(new.run(spec))
            assert (await client.ended(job))["status"] == "SUCCEEDED"

    asyncio.run(story())


def test_a_worker_that_starts_at_the_address_of_another_takes_its_place(bench: Bench) -> None:
    """It was restarted on the same port: what the old one ran starts again at once."""

    async def story() -> None:
        async with bench.master() as client:
            old = await bench.worker(client, "old")
            job = await client.submit(bench.one_stage())
            (spec,) = (await old.poll()).tasks
            new = await bench.worker(client, "new")
            new_url = {"url": f"{old.request().url}/"}
            assert (await new.send("", new.request(**new_url))).status_code == 200
            workers = (await client.get("/api/v1/workers")).json()["workers"]
            assert {w["worker_id"]: w["status"] for w in workers} == {"old": "DOWN", "new": "UP"}
            refused = await old.send("", old.request())
            assert refused.status_code == 409
            error = refused.json()["error"]
            assert error["code"] == "MS-157"
            assert "the worker new has taken the address http://old:1" in error["message"]
            assert "another --port" in error["hint"]
            assert (await old.report(old.run(spec)))["register_again"]
            elsewhere = await old.send("", old.request(url="http://old:2"))
            assert elsewhere.status_code == 200
            assert (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "RUNNING"

    asyncio.run(story())


def test_a_displaced_worker_may_come_back_once_the_other_is_gone(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            old = await bench.worker(client, "old")
            new = await bench.worker(client, "new")
            await new.register(url=old.request().url)
            assert (await old.send("", old.request())).status_code == 409
            await new.leave()
            assert (await old.send("", old.request())).status_code == 200

    asyncio.run(story())


def test_a_held_poll_gives_way_to_a_newer_one(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            held = asyncio.create_task(worker.poll(wait_s=20))
            newer = asyncio.create_task(worker.poll(wait_s=20))
            await asyncio.wait((held, newer), return_when=asyncio.FIRST_COMPLETED, timeout=10)
            assert held.done() != newer.done()
            await client.submit(bench.one_stage())
            answers = await asyncio.gather(held, newer)
            assert sorted(len(answer.tasks) for answer in answers) == [0, 1]

    asyncio.run(story())


def test_nothing_is_sent_to_a_poll_that_hung_up(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            held = asyncio.create_task(worker.poll(wait_s=20))
            second = asyncio.create_task(worker.poll(wait_s=20))
            await asyncio.wait((held, second), return_when=asyncio.FIRST_COMPLETED, timeout=10)
            for task in (held, second):
                task.cancel()
            await asyncio.gather(held, second, return_exceptions=True)
            await client.submit(bench.one_stage())
            assert len((await worker.poll()).tasks) == 1

    asyncio.run(story())


def test_a_silent_worker_loses_its_tasks(bench: Bench) -> None:
    settings = SchedulerSettings(heartbeat_timeout_s=0.3)

    async def story() -> None:
        async with bench.master(scheduler=settings) as client:
            silent = await bench.worker(client, "silent")
            job = await client.submit(bench.one_stage())
            (spec,) = (await silent.poll()).tasks
            view = await client.until(job, lambda view: view["workers_waiting"])
            assert view["status"] == "RUNNING"
            workers = (await client.get("/api/v1/workers")).json()["workers"]
            assert [w["status"] for w in workers] == ["DOWN"]
            assert (await silent.poll()).register_again
            other = await bench.worker(client, "other")
            (again,) = (await other.poll()).tasks
            assert again.key != spec.key
            await other.report(other.run(again))
            assert (await client.ended(job))["status"] == "SUCCEEDED"

    asyncio.run(story())


def test_a_worker_that_leaves_is_down_at_once(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            reply = await worker.leave()
            assert reply.status_code == 200
            (view,) = (await client.get("/api/v1/workers")).json()["workers"]
            assert (view["status"], view["active_tasks"]) == ("DOWN", 0)

    asyncio.run(story())


def test_reports_about_nothing_change_nothing(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            (spec,) = (await worker.poll()).tasks
            good = worker.run(spec)
            for key in (
                TaskKey("job-x", 0, 0, 0, 0),
                TaskKey(job, 9, 0, 0, 0),
                TaskKey(job, 0, 0, 99, 0),
                TaskKey(job, 0, 0, 0, 5),
            ):
                stray = worker.run(
                    type(spec)(key, spec.fragment, spec.scans, spec.inputs, spec.output)
                )
                await worker.report(stray)
            assert (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "RUNNING"
            await worker.report(good, good)
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 3}

    asyncio.run(story())


def test_a_block_that_does_not_fit_its_stage_is_a_failure(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages(tasks=1))
            (spec,) = (await worker.poll()).tasks
            whole = worker.run(spec)
            part = type(whole.block)(whole.block.partitions[:1])
            await worker.report(type(whole)(spec.key, part))
            view = await client.ended(job)
            assert (view["status"], view["error"]["code"]) == ("FAILED", "MS-217")

    asyncio.run(story())


def test_an_answer_to_reports_brings_what_a_poll_would(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            await client.submit(bench.two_stages(tasks=1))
            (first,) = (await worker.poll()).tasks
            held = asyncio.create_task(worker.poll())
            message = ReportRequest(member=worker.member, reports=(worker.run(first),), more=True)
            answer = await worker.send(f"/{worker.name}/reports", message)
            reply = ReportReply.model_validate_json(answer.content)
            assert [spec.key.stage for spec in reply.tasks] == [1, 1]
            again = await worker.send(f"/{worker.name}/reports", message)
            assert ReportReply.model_validate_json(again.content).tasks == ()
            await client.submit(bench.one_stage(), name="another")
            # It may have brought something else by then, such as a cancel.
            tasks = (await held).tasks or (await worker.poll()).tasks
            assert [spec.key.stage for spec in tasks] == [0]

    asyncio.run(story())


def test_heartbeats_show_what_running_attempts_have_read(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages())
            tasks = (await worker.poll()).tasks
            before = (await client.get(f"/api/v1/jobs/{job}")).json()
            assert (before["tasks_running"], before["left_s"]) == (0, None)
            rows = len((await client.get(f"/api/v1/jobs/{job}/events")).json()["events"])
            waiting = asyncio.create_task(
                client.get(f"/api/v1/jobs/{job}", wait_s=20, seen=before["version"])
            )
            first, other = (task.key for task in tasks)
            said = TaskProgress(first, ran_s=30.0, bytes_read=900, share=0.5)
            await worker.heartbeat_progress(said)
            # Who waits for a change hears of it.
            view = (await waiting).json()
            assert view["version"] > before["version"]
            assert (view["tasks_running"], view["left_sure"]) == (1, "about")
            assert 0 < view["progress"] < 100
            assert view["stages"][0]["progress"] == 25.0
            path = f"/api/v1/jobs/{job}/tasks"
            shown = {task["task"]: task for task in (await client.get(path)).json()["tasks"]}
            running = shown[first.block_id]
            assert (running["progress"], running["bytes_so_far"]) == (50.0, 900)
            assert running["ran_s"] >= 30.0
            assert running["duration_s"] is None
            queued = shown[other.block_id]
            assert (queued["ran_s"], queued["progress"]) == (None, None)
            # It is not in the journal.
            now = (await client.get(f"/api/v1/jobs/{job}/events")).json()["events"]
            assert len(now) == rows
            await worker.report(*map(worker.run, tasks))
            await worker.work(polls=1)
            end = await client.ended(job)
            assert (end["progress"], end["tasks_running"], end["left_s"]) == (100.0, 0, None)

    asyncio.run(story())


def test_the_machine_of_a_worker_is_listed_and_outlives_the_master(bench: Bench) -> None:
    facts = WorkerFacts(host="<b>here", cores=3, machine_memory_bytes=8 * 10**9, disk_bytes=10**12)

    async def story() -> None:
        async with bench.master() as client:
            await bench.worker_of(client, "w1").register(facts=facts)
            await bench.worker(client, "w2")  # Of an earlier release: it does not say.
            first, second = (await client.get("/api/v1/workers")).json()["workers"]
            assert first["facts"] == facts.model_dump()
            assert first["versions"] == versions().model_dump()
            assert second["facts"] is None
            page = (await client.http.get("/workers", headers={"Accept": "text/html"})).text
            assert "&lt;b&gt;here" in page
            assert "do not report this" in page
            assert f"Python {versions().python}" in page
        async with bench.master() as client:
            again, _ = (await client.get("/api/v1/workers")).json()["workers"]
            assert again["facts"] == facts.model_dump()

    asyncio.run(story())


def test_the_load_and_the_tasks_of_all_jobs_are_shown(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            ended = await client.submit(bench.one_stage(), name="<b>ended")
            await worker.work(polls=1)
            await client.ended(ended)
            running = await client.submit(bench.two_stages(), name="goes on")
            await worker.poll()
            page = (await client.http.get("/load", headers={"Accept": "text/html"})).text
            for job in (ended, running):
                assert f"/jobs/{job}#task-{job}.0.0." in page
            assert "&lt;b&gt;ended, stage 0 task 0: succeeded" in page
            assert "goes on, stage 0 task " in page
            minutes: list[Any] = []
            async with asyncio.timeout(20):
                while not minutes:
                    minutes = (await client.get("/api/v1/metrics/load")).json()["minutes"]
            assert minutes[-1]["at"] % 60 == 0
            assert minutes[-1]["slots"] >= 0

    asyncio.run(story())
