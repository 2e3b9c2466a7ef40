"""Jobs through a real master, with a worker that a test drives."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.master.masters import Bench

from minispark.errors import ErrorInfo, FetchFailed, TaskError
from minispark.plan.stages import SinkSpec
from minispark.settings import Limits

Read = Callable[[io.BytesIO], pl.DataFrame]
FORMATS: list[tuple[str, Read]] = [
    ("csv", pl.read_csv),
    ("jsonl", pl.read_ndjson),
    ("parquet", pl.read_parquet),
    ("arrow", pl.read_ipc_stream),
]


def test_a_job_goes_from_post_to_result(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            reply = await client.submit_json(name="words")
            assert reply.status_code == 202, reply.text
            job = reply.json()["job_id"]
            assert reply.json()["status"] == "ACCEPTED"

            first = await worker.poll()
            assert {spec.key.stage for spec in first.tasks} == {0}
            assert first.fragments[0].data == b"\x00map\xff"
            await worker.report(*(worker.run(spec) for spec in first.tasks))
            second = await worker.poll()
            assert [len(spec.inputs[0].blocks) for spec in second.tasks] == [2, 2]
            assert {b.partition for s in second.tasks for b in s.inputs[0].blocks} == {0, 1}
            half = (await client.get(f"/api/v1/jobs/{job}")).json()
            assert (half["status"], half["progress"]) == ("RUNNING", 50.0)
            assert (await client.get(f"/api/v1/jobs/{job}/results")).status_code == 409
            await worker.report(*(worker.run(spec) for spec in second.tasks))

            done = await client.ended(job)
            assert (done["status"], done["progress"]) == ("SUCCEEDED", 100.0)
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 6, "agg": 6}
            assert (metrics["tasks"], metrics["retries"]) == (4, 0)
            rows = (await client.get(f"/api/v1/jobs/{job}/stages")).json()["stages"]
            assert [row["id"] for row in rows] == ["read", "agg", "stage-0", "stage-1"]
            assert {row["status"] for row in rows} == {"SUCCEEDED"}
            where = (await client.get(f"/api/v1/jobs/{job}/results")).json()
            assert where["nodes"][0]["rows"] == 6
            blocks = (await client.get(f"/internal/v1/jobs/{job}/blocks")).json()
            assert len(blocks["nodes"][0]["blocks"]) == 2

    asyncio.run(story())


@pytest.mark.parametrize(("format_", "read"), FORMATS)
def test_results_stream_in_partition_order(bench: Bench, format_: str, read: Read) -> None:
    async def story() -> None:
        async with bench.master() as client, bench.working(client):
            job = await client.submit(bench.two_stages())
            await client.ended(job)
            reply = await client.get(f"/api/v1/jobs/{job}/results", format=format_, node="agg")
            assert reply.status_code == 200, reply.text
            frame = read(io.BytesIO(reply.content))
            assert frame["token"].to_list() == [f"t{p}-{n}" for p in range(2) for n in range(3)]
            assert f"{job}.{format_}" in reply.headers["content-disposition"]

    asyncio.run(story())


def test_an_empty_result_has_its_columns(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            (spec,) = (await worker.poll()).tasks
            await worker.report(worker.run(spec, rows=0))
            await client.ended(job)
            csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert csv.text == "token,count\n"
            arrow = await client.get(f"/api/v1/jobs/{job}/results", format="arrow")
            assert pl.read_ipc_stream(io.BytesIO(arrow.content)).columns == ["token", "count"]

    asyncio.run(story())


def test_results_that_are_gone_say_so(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client, bench.working(client) as worker:
            job = await client.submit(bench.one_stage())
            await client.ended(job)
            for path in worker.directory.iterdir():
                path.unlink()
            reply = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert reply.status_code == 410
            assert reply.json()["error"]["code"] == "MS-144"
            other = await client.get(f"/api/v1/jobs/{job}/results", format="csv", node="nope")
            assert other.status_code == 404

    asyncio.run(story())


def test_a_lost_block_is_made_again(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages())
            first = await worker.poll()
            await worker.report(*(worker.run(spec) for spec in first.tasks))
            readers = (await worker.poll()).tasks
            lost = readers[0].inputs[0].blocks[0].key
            gone = FetchFailed(
                lost.job, lost.stage, lost.generation, lost.partition, lost.attempt, "404"
            )
            await worker.report(worker.fail(readers[0], gone), worker.run(readers[1]))
            again = (await worker.poll()).tasks
            assert [(s.key.stage, s.key.partition) for s in again] == [(0, lost.partition)]
            assert again[0].key.attempt > lost.attempt
            await worker.report(worker.run(again[0]))
            last = (await worker.poll()).tasks
            assert [s.key.partition for s in last] == [readers[0].key.partition]
            assert again[0].key in {block.key for block in last[0].inputs[0].blocks}
            await worker.report(worker.run(last[0]))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["failures"] == {"fetch_failed": 1}
            assert metrics["records"] == {"read": 6, "agg": 6}
            assert metrics["retries"] == 2

    asyncio.run(story())


def test_a_task_that_cannot_pass_ends_the_job_with_its_error(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            (spec,) = (await worker.poll()).tasks
            error = ErrorInfo("MS-201", "bad number", node="read", file="in.csv", row=7)
            await worker.report(worker.fail(spec, TaskError(error)))
            view = await client.ended(job)
            assert view["status"] == "FAILED"
            assert view["error"]["message"] == "bad number"
            assert view["error"]["row"] == 7
            assert (await client.get(f"/api/v1/jobs/{job}/results")).status_code == 409

    asyncio.run(story())


def test_cancel_takes_back_what_was_sent_and_what_was_not(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client, slots=1)
            sent = await client.submit(bench.one_stage())
            (spec,) = (await worker.poll()).tasks
            waiting = await client.submit(bench.one_stage())
            for job in (sent, waiting):
                reply = await client.http.delete(f"/api/v1/jobs/{job}")
                assert reply.json()["status"] == "CANCELLED"
            answer = await worker.poll()
            assert answer.cancel == (spec.key,)
            assert answer.tasks == ()
            again = await client.http.delete(f"/api/v1/jobs/{sent}")
            assert (again.status_code, again.json()["status"]) == (200, "CANCELLED")
            assert (await client.http.delete("/api/v1/jobs/job-x")).status_code == 404

    asyncio.run(story())


def test_the_same_key_is_the_same_job(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            headers = {"Idempotency-Key": "once"}
            body = {"name": "words", "dag": {}}
            replies = await asyncio.gather(
                *(client.http.post("/api/v1/jobs", json=body, headers=headers) for _ in range(4))
            )
            jobs = {reply.json()["job_id"] for reply in replies}
            assert len(jobs) == 1
            assert await client.submit(bench.one_stage(), key="once") in jobs
            assert await client.submit(bench.one_stage(), key="other") not in jobs

    asyncio.run(story())


def test_jobs_are_listed_newest_first_in_pages(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            jobs = [await client.submit(bench.one_stage()) for _ in range(5)]
            page = (await client.get("/api/v1/jobs", limit=3)).json()
            assert [view["job_id"] for view in page["jobs"]] == jobs[:1:-1]
            rest = (await client.get("/api/v1/jobs", limit=3, after=page["after"])).json()
            assert [view["job_id"] for view in rest["jobs"]] == jobs[1::-1]
            assert rest["after"] is None
            assert (await client.get("/api/v1/jobs", after="job-x")).status_code == 404
            assert (await client.get("/api/v1/jobs", limit=0)).status_code == 422

    asyncio.run(story())


def test_a_job_without_workers_says_that_it_waits(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            job = await client.submit(bench.one_stage())
            view = (await client.get(f"/api/v1/jobs/{job}")).json()
            assert view["workers_waiting"]
            async with bench.working(client):
                done = await client.ended(job)
            assert not done["workers_waiting"]

    asyncio.run(story())


def test_a_long_poll_for_the_end_answers_once(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            job = await client.submit(bench.two_stages())
            waiting = asyncio.create_task(
                client.get(f"/api/v1/jobs/{job}", wait_s=10, seen=1_000_000)
            )
            async with bench.working(client):
                assert (await waiting).json()["status"] == "SUCCEEDED"
            soon = await client.get(f"/api/v1/jobs/{job}", wait_s=10)
            assert soon.json()["status"] == "SUCCEEDED"
            assert (await client.get("/api/v1/jobs/job-x", wait_s=1)).status_code == 404

    asyncio.run(story())


def test_files_appear_at_the_commit(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages(sink=SinkSpec("csv", str(out))))
            await worker.work(polls=1)
            (first, second) = (await worker.poll()).tasks
            await worker.report(worker.run(first))
            assert not list(out.glob("part-*"))
            await worker.report(worker.run(second))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            assert sorted(path.name for path in out.iterdir()) == [
                "_SUCCESS",
                "part-00000.csv",
                "part-00001.csv",
            ]
            where = (await client.get(f"/api/v1/jobs/{job}/results")).json()
            assert where["sinks"][0]["files"] == ["part-00000.csv", "part-00001.csv"]
            assert where["sinks"][0]["rows"] == 6
            assert where["sinks"][0]["node"] == "agg"
            assert where["nodes"] == []
            for format_, read in FORMATS:
                reply = await client.get(f"/api/v1/jobs/{job}/results", format=format_)
                assert reply.status_code == 200, reply.text
                frame = read(io.BytesIO(reply.content))
                assert frame.rows() == [(f"t{p}-{n}", n) for p in range(2) for n in range(3)]
            (out / "part-00001.csv").unlink()
            reply = await client.get(f"/api/v1/jobs/{job}/results", format="parquet")
            assert reply.status_code == 410

    asyncio.run(story())


def test_a_commit_that_fails_fails_the_job(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"

    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages(sink=SinkSpec("csv", str(out))))
            await worker.work(polls=1)
            reports = [worker.run(spec) for spec in (await worker.poll()).tasks]
            (out / "part-00001.csv").write_text("another user's")
            await worker.report(*reports)
            view = await client.ended(job)
            assert view["status"] == "FAILED"
            assert "appeared while the job ran" in view["error"]["message"]
            assert (out / "part-00001.csv").read_text() == "another user's"

    asyncio.run(story())


def test_one_job_at_a_time_writes_to_a_place(bench: Bench, tmp_path: Path) -> None:
    async def story() -> None:
        graph = bench.two_stages(sink=SinkSpec("csv", str(tmp_path / "out")))
        async with bench.master(planner_command=bench.planner_of(graph)) as client:
            replies = await asyncio.gather(*(client.submit_json() for _ in range(3)))
            assert sorted(reply.status_code for reply in replies) == [202, 409, 409]
            (job,) = [r.json()["job_id"] for r in replies if r.status_code == 202]
            await client.http.delete(f"/api/v1/jobs/{job}")
            assert (await client.submit_json()).status_code == 202

    asyncio.run(story())


def test_an_output_outside_the_data_root_is_refused(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    graph = bench.two_stages(sink=SinkSpec("csv", "link/out"))

    async def story() -> None:
        async with bench.master(data_root=root, planner_command=bench.planner_of(graph)) as client:
            reply = await client.submit_json()
            assert reply.status_code == 422
            assert "data root" in reply.json()["error"]["message"]

    asyncio.run(story())
    assert not (tmp_path / "out").exists()


def test_finished_jobs_beyond_the_limit_are_forgotten(bench: Bench) -> None:
    async def story() -> None:
        async with (
            bench.master(limits=Limits(retained_jobs=2)) as client,
            bench.working(client) as worker,
        ):
            jobs = []
            for _ in range(4):
                jobs.append(await client.submit(bench.one_stage()))
                await client.ended(jobs[-1])
            assert (await client.get(f"/api/v1/jobs/{jobs[0]}/results")).status_code == 404
            assert (await client.get(f"/api/v1/jobs/{jobs[-1]}/results")).status_code == 200
            listed = (await client.get("/api/v1/jobs")).json()["jobs"]
            assert [view["job_id"] for view in listed] == jobs[:1:-1]
            async with asyncio.timeout(60):
                while not set(jobs[:2]) <= set(worker.released_jobs):
                    await client.ended(await client.submit(bench.one_stage()))

    asyncio.run(story())
