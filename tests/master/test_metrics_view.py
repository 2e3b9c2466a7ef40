"""The figures of the cluster, while it works, over restarts, and without a token."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from tests.master.masters import Bench, Client

from minispark.errors import ErrorInfo, OutOfMemory, TaskError, TimedOut
from minispark.settings import Limits
from minispark.task.spec import TaskFailure

SECRET = "payroll-2026"  # noqa: S105


Figures = dict[str, Any]


async def _two_jobs(bench: Bench, client: Client) -> tuple[str, str]:
    """One job that ends well after one failure, and one that runs out of memory."""
    worker = await bench.worker(client)
    good = await client.submit(bench.two_stages(), name=SECRET)
    (first, other) = (await worker.poll()).tasks
    await worker.report(TaskFailure(first.key, TimedOut(5.0)), worker.run(other))
    (again,) = (await worker.poll()).tasks
    await worker.report(worker.run(again))
    await worker.work(polls=1)
    await client.ended(good)
    bad = await client.submit(bench.one_stage(), name=SECRET)
    (task,) = (await worker.poll()).tasks
    error = TaskError(ErrorInfo("MS-160", f"bad row in /data/{SECRET}", file=SECRET))
    await worker.report(worker.fail(task, error))
    await client.ended(bad)
    return good, bad


def test_figures_of_the_cluster_outlive_the_master(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            good, bad = await _two_jobs(bench, client)
            before = await _all(client)
        system, jobs, failures = before
        totals = system["totals"]
        assert totals["jobs"] == {"SUCCEEDED": 1, "FAILED": 1}
        assert totals["failures"] == {"task_error": 1, "timed_out": 1}
        assert (totals["tasks_done"], totals["retries"]) == (4, 1)
        assert totals["all_records"] == 12
        assert failures["by_kind"] == {
            "fetch_failed": 0,
            "out_of_memory": 0,
            "task_error": 1,
            "timed_out": 1,
            "worker_lost": 0,
        }
        assert (failures["total"], failures["jobs_failed"]) == (2, 1)
        assert failures["by_code"] == {"MS-160": 1}
        assert failures["by_worker"] == {"w1": 2}
        assert [(row["job_id"], row["code"]) for row in failures["jobs"]] == [
            (bad, "MS-160"),
            (good, None),
        ]
        assert [row["job_id"] for row in jobs["jobs"]] == [bad, good]
        assert jobs["jobs"][1]["retries"] == jobs["jobs"][1]["failures"] == 1
        async with bench.master() as client:
            after = await _all(client)
            assert after[0]["totals"] == totals
            assert after[1:] == (jobs, failures)
            assert after[0]["master"]["epoch"] == 2
            page = (await client.get("/api/v1/metrics/jobs", limit=1)).json()
            rest = (await client.get("/api/v1/metrics/jobs", after=page["after"])).json()
            assert [row["job_id"] for row in page["jobs"] + rest["jobs"]] == [bad, good]

    asyncio.run(story())


def test_totals_keep_what_jobs_came_to_that_are_forgotten(bench: Bench) -> None:
    async def story() -> None:
        limits = Limits(retained_jobs=1)
        async with bench.master(limits=limits) as client:
            good, _ = await _two_jobs(bench, client)
            totals = (await client.get("/api/v1/metrics/system")).json()["totals"]
            assert (await client.get(f"/api/v1/jobs/{good}")).status_code == 404
            assert totals["jobs"] == {"SUCCEEDED": 1, "FAILED": 1}
            assert totals["failures"] == {"timed_out": 1, "task_error": 1}
        async with bench.master(limits=limits) as client:
            found = (await client.get("/api/v1/metrics/system")).json()
            assert found["totals"] == totals
            assert found["status"] == "no_workers" or found["workers_up"] == 1

    asyncio.run(story())


def test_a_job_at_work_counts_and_its_failures_are_retold(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages())
            (first, other) = (await worker.poll()).tasks
            failure = OutOfMemory(1 << 20)
            await worker.report(TaskFailure(first.key, failure), worker.run(other))
            before = (await client.get("/api/v1/metrics/failures")).json()
            assert before["by_kind"]["out_of_memory"] == 1
            system = (await client.get("/api/v1/metrics/system")).json()
            assert (system["jobs_running"], system["active_tasks"]) == (1, 1)
        async with bench.master() as client:
            after = (await client.get("/api/v1/metrics/failures")).json()
            assert after["by_kind"] == before["by_kind"]
            assert after["jobs"][0]["job_id"] == job

    asyncio.run(story())


def test_a_code_that_a_worker_made_up_is_not_shown(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage())
            (task,) = (await worker.poll()).tasks
            await worker.report(worker.fail(task, TaskError(ErrorInfo(SECRET, "no"))))
            await client.ended(job)
            for path in ("/metrics", "/api/v1/metrics/failures", "/api/v1/metrics/system"):
                text = (await client.get(path)).text
                assert SECRET not in text
                assert "MS-201" in text

    asyncio.run(story())


def test_workers_are_shown_with_what_they_said(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            silent = (await client.get("/api/v1/workers")).json()["workers"][0]
            assert (silent["cpu_percent"], silent["latency"]) == (None, None)
            latencies = {
                f"latency_{name}_s": n / 10 for n, name in enumerate(("mean", "p50", "p95"))
            }
            await worker.heartbeat(
                cpu_percent=150.0, memory_bytes=1e6, **latencies, latency_p99_s=0.9
            )
            await worker.heartbeat(
                cpu_percent=150.0,
                memory_bytes=1e6,
                retries=3.0,
                blocks_served=7.0,
                bytes_served=700.0,
                cache_hits=2.0,
                **latencies,
                latency_p99_s=0.9,
            )
            seen = (await client.get("/api/v1/workers")).json()["workers"][0]
            system = (await client.get("/api/v1/metrics/system")).json()
            assert seen["latency"] == {"mean_s": 0.0, "p50_s": 0.1, "p95_s": 0.2, "p99_s": 0.9}
            assert (seen["retries"], seen["blocks_served"], seen["bytes_served"]) == (3, 7, 700)
            assert (seen["cache_hits"], seen["load"], seen["url"]) == (2, 0.0, worker.request().url)
            assert (system["cpu_percent"], system["memory_bytes"]) == (150.0, 1_000_000)
            (shown,) = system["workers"]
            # Where a worker is stays for those with a token.
            assert {"url", "metrics"} <= set(seen) - set(shown)
            assert system["slots"] == 4
            await worker.leave()
            gone = (await client.get("/api/v1/workers")).json()["workers"][0]
            assert (gone["status"], gone["cpu_percent"], gone["retries"]) == ("DOWN", None, 3)

    asyncio.run(story())


def test_without_a_token_figures_name_nothing(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            good, bad = await _two_jobs(bench, client)
            paths = [f"/api/v1/metrics/{name}" for name in ("system", "jobs", "failures")]
            paths += [f"/api/v1/jobs/{job}/metrics" for job in (good, bad)]
            async with httpx2.AsyncClient(base_url=client.url, trust_env=False) as stranger:
                for path in paths:
                    answer = await stranger.get(path)
                    assert answer.status_code == 200
                    assert SECRET not in answer.text, path
            assert (await client.get(paths[-1])).json()["name"] == SECRET
        async with (
            bench.master(auth="all") as client,
            httpx2.AsyncClient(base_url=client.url, trust_env=False) as stranger,
        ):
            assert {(await stranger.get(path)).status_code for path in paths} == {401}

    asyncio.run(story())


async def _all(client: Client) -> tuple[Figures, Figures, Figures]:
    names = ("system", "jobs", "failures")
    found = [(await client.get(f"/api/v1/metrics/{name}")).json() for name in names]
    return found[0], found[1], found[2]
