"""What a master that is started again makes of its journal."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.master.masters import Bench, Client, FakeWorker

from minispark.blocks.host import disk_identity
from minispark.discovery import find_discovery
from minispark.errors import MinisparkError, UsageError
from minispark.journal.journal import Journal
from minispark.master import running
from minispark.master.recovery.restore import identify
from minispark.plan.stages import SinkSpec
from minispark.settings import JournalSettings, Limits, SchedulerSettings
from minispark.task.spec import TaskSpec
from minispark.wire.http import auth_headers
from minispark.wire.messages import ReportRequest


async def _killed(bench: Bench, story: Callable[[Client], Awaitable[None]], tmp_path: Path) -> Path:
    """Run a story and keep the state as a killed master would leave it."""
    left = tmp_path / "left"
    async with bench.master() as client:
        await story(client)
        shutil.copytree(bench.config.state_dir, left)
    left.chmod(0o700)
    return left


def test_finished_jobs_are_as_they_were_and_ids_go_on(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client, bench.working(client):
            job = await client.submit(bench.two_stages(), name="words", key="k")
            await client.ended(job)
            paths = [
                f"/api/v1/jobs/{job}{rest}" for rest in ("", "/stages", "/metrics", "/results")
            ]
            before = [(await client.get(path)).json() for path in paths]
        async with bench.master() as client:
            assert [(await client.get(path)).json() for path in paths] == before
            csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert len(csv.text.splitlines()) == 7
            assert await client.submit(bench.one_stage(), key="k") == job
            other = await client.submit(bench.one_stage())
            cluster, epoch, _ = job.removeprefix("job-").split("-")
            assert other.startswith(f"job-{cluster}-{int(epoch) + 1}-")

    asyncio.run(story())


def test_a_job_that_was_running_goes_on(bench: Bench, tmp_path: Path) -> None:
    """Under the same epoch of its worker; what was done is not done again.

    What was decided under other settings is no other decision.
    """
    others = SchedulerSettings(max_load_diff=0, policy="fifo", max_attempts=1)
    found: dict[str, Any] = {}

    async def before(client: Client) -> None:
        worker = found["worker"] = await bench.worker(client)
        found["job"] = await client.submit(bench.two_stages(tasks=3), key="k")
        await worker.work(polls=1)
        (found["spec"], *_) = (await worker.poll()).tasks
        found["seen"] = (await client.get(f"/api/v1/jobs/{found['job']}")).json()["version"]

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        async with bench.master(state_dir=left, scheduler=others) as client:
            worker, job = found["worker"], found["job"]
            worker.client = client
            # A client that waited sees that something changed.
            view = (await client.get(f"/api/v1/jobs/{job}", wait_s=5, seen=found["seen"])).json()
            assert view["version"] > found["seen"]
            assert (view["status"], view["progress"]) == ("RUNNING", 60.0)
            (listed,) = (await client.get("/api/v1/workers")).json()["workers"]
            assert (listed["epoch"], listed["active_tasks"]) == (worker.epoch, 2)
            assert await client.submit(bench.one_stage(), key="k") == job
            answer = await worker.poll()
            assert {spec.key for spec in answer.tasks} >= {found["spec"].key}
            assert {spec.key.stage for spec in answer.tasks} == {1}
            assert answer.tasks[0].inputs == found["spec"].inputs
            await worker.report(*(worker.run(spec) for spec in answer.tasks))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 9, "agg": 6}
            assert (metrics["retries"], metrics["failures"]) == (0, {})
            csv = await client.get(f"/api/v1/jobs/{job}/results", format="csv")
            assert len(csv.text.splitlines()) == 7

    asyncio.run(story())


def test_what_an_earlier_life_of_a_worker_says_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Zombies stay zombies over a restart of the master."""
    workers: list[FakeWorker] = []
    jobs: list[str] = []
    specs: list[TaskSpec] = []

    async def before(client: Client) -> None:
        workers.append(await bench.worker(client, "w", slots=1))
        jobs.append(await client.submit(bench.one_stage()))
        specs.extend((await workers[0].poll()).tasks)
        workers.append(await bench.worker(client, "w", slots=1))

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        async with bench.master(state_dir=left) as client:
            (zombie, worker), (job,), (spec,) = workers, jobs, specs
            zombie.client = worker.client = client
            assert (await zombie.report(zombie.run(spec)))["register_again"]
            assert (await zombie.poll()).register_again
            assert (await client.get(f"/api/v1/jobs/{job}")).json()["status"] == "RUNNING"
            (again,) = (await worker.poll()).tasks
            assert again.key.attempt == 1
            await worker.report(worker.run(spec), worker.run(again))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            tasks = (await client.get(f"/api/v1/jobs/{job}/tasks")).json()["tasks"]
            assert [task["status"] for task in tasks] == ["FAILED", "SUCCEEDED"]

    asyncio.run(story())


def test_the_journal_forgets_with_the_jobs(bench: Bench) -> None:
    """Rows of jobs beyond the retention go, also those that other jobs and workers caused."""
    sizes = []

    async def life() -> None:
        async with bench.master(limits=Limits(retained_jobs=2)) as client:
            worker = await bench.worker(client)
            for _ in range(10):
                job = await client.submit(bench.two_stages())
                await worker.work(polls=2)
                await client.ended(job)

    for _ in range(5):
        asyncio.run(life())
        db = sqlite3.connect(bench.config.state_dir / "journal.db")
        counts = [
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("jobs", "events", "mentions", "snapshots")
        ]
        db.close()
        sizes.append(counts)
    assert sizes[-1] == sizes[-2] == sizes[-3]
    jobs, events, mentions, snapshots = sizes[-1]
    assert (jobs, snapshots) == (2, 2)
    assert events < 100
    assert mentions < 10


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("UPDATE snapshots SET version = 0", "version 0 of the scheduler wrote its journal"),
        ("UPDATE snapshots SET state = '{}'", "snapshot cannot be read"),
        ("UPDATE events SET payload = '{}' WHERE kind = 'task_succeeded'", "cannot be replayed"),
        ("UPDATE events SET commands = '[]' WHERE kind = 'job_submitted'", "decided differently"),
    ],
)
def test_where_it_cannot_go_on_a_running_job_has_failed(
    bench: Bench, tmp_path: Path, spoil: str, says: str
) -> None:
    out = tmp_path / "out"
    jobs: list[str] = []
    workers: list[FakeWorker] = []

    async def before(client: Client) -> None:
        workers.append(await bench.worker(client))
        jobs.append(await client.submit(bench.one_stage()))
        await workers[0].work(polls=1)
        await client.ended(jobs[0])
        jobs.append(await client.submit(bench.two_stages(sink=SinkSpec("csv", str(out)))))
        await workers[0].work(polls=1)
        (first, _) = (await workers[0].poll()).tasks
        await workers[0].report(workers[0].run(first))
        assert list(out.iterdir())

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        db = sqlite3.connect(left / "journal.db")
        db.execute(spoil)
        db.commit()
        db.close()
        async with bench.master(state_dir=left) as client:
            view = (await client.get(f"/api/v1/jobs/{jobs[1]}")).json()
            assert view["status"] == "FAILED"
            assert view["error"]["code"] == "MS-218"
            assert says in view["error"]["message"]
            assert view["error"]["hint"] == "Submit it again."
            assert (await client.get(f"/api/v1/jobs/{jobs[0]}")).json()["status"] == "SUCCEEDED"
            # The worker registers again; the blocks of results are not taken from it.
            workers[0].client = client
            assert (await workers[0].poll()).register_again
            await workers[0].register()
            await workers[0].heartbeat()
            csv = await client.get(f"/api/v1/jobs/{jobs[0]}/results", format="csv")
            assert len(csv.text.splitlines()) == 4
        async with bench.master(state_dir=left) as client:
            assert (await client.get(f"/api/v1/jobs/{jobs[1]}")).json() == view

    asyncio.run(story())
    assert list(out.iterdir()) == []


def test_a_journal_of_the_first_release_keeps_what_had_ended(bench: Bench, tmp_path: Path) -> None:
    jobs: list[str] = []

    async def before(client: Client) -> None:
        worker = await bench.worker(client)
        for _ in range(2):
            jobs.append(await client.submit(bench.one_stage()))
        (spec, other) = (await worker.poll()).tasks
        assert (spec.key.job, other.key.job) == tuple(jobs)
        await worker.report(worker.run(spec))
        await client.ended(jobs[0])
        await worker.report()  # Answered once the end of the job is written too.

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        db = sqlite3.connect(left / "journal.db")
        db.executescript(
            "DROP TABLE snapshots; DROP TABLE mentions; DROP TABLE news; "
            "ALTER TABLE jobs DROP COLUMN staging; ALTER TABLE jobs DROP COLUMN origin; "
            "ALTER TABLE jobs DROP COLUMN source; "
            "ALTER TABLE events DROP COLUMN now; ALTER TABLE events DROP COLUMN commands; "
            "PRAGMA user_version = 1"
        )
        db.close()
        async with bench.master(state_dir=left) as client:
            assert (await client.get(f"/api/v1/jobs/{jobs[0]}")).json()["status"] == "SUCCEEDED"
            view = (await client.get(f"/api/v1/jobs/{jobs[1]}")).json()
            assert (view["status"], view["error"]["code"]) == ("FAILED", "MS-218")
            assert "earlier version" in view["error"]["message"]

    asyncio.run(story())


def test_attempts_are_numbered_anew_where_the_last_may_be_missing(tmp_path: Path) -> None:
    def life(state: Path) -> int:
        journal = Journal(state / "journal.db")
        try:
            found = identify(journal, new_cluster_id="c", disk=disk_identity(state))
        finally:
            journal.close()
        return found.attempts

    state, copy = tmp_path / "state", tmp_path / "copy"
    state.mkdir()
    assert [life(state), life(state)] == [0, 0]
    shutil.copytree(state, copy)
    assert [life(copy), life(copy), life(state)] == [3000, 3000, 0]
    shutil.move(copy / "journal.db", state / "journal.db")
    assert life(state) == 5000


def test_a_second_master_on_the_state_is_refused(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            with pytest.raises(UsageError, match=f"another master .process {os.getpid()}."):
                async with running(client.config):
                    pass
        async with bench.master() as client:
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_a_taken_port_is_a_clear_error(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            port = int(client.url.rsplit(":", 1)[1])
            with pytest.raises(UsageError, match="cannot listen"):
                async with bench.master(port=port, state_dir=bench.tmp_path / "other"):
                    pass

    asyncio.run(story())


def test_a_master_whose_journal_is_broken_stops(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            db = sqlite3.connect(bench.config.state_dir / "journal.db")
            db.execute("DROP TABLE jobs")
            db.close()
            body = {"name": "test", "dag": {}}
            reply = await client.http.post("/api/v1/jobs", json=body)
            assert reply.status_code == 503
            assert "journal" in reply.json()["error"]["message"]

    with pytest.raises(MinisparkError, match="journal cannot be written"):
        asyncio.run(story())


def test_a_master_whose_journal_is_locked_waits(bench: Bench) -> None:
    """It says so, takes nothing in, and goes on by itself; what it was doing is not lost."""
    journal = JournalSettings(busy_s=0.01, retry_first_s=0.01, retry_last_s=0.05)

    async def story() -> None:
        async with bench.master(journal=journal) as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.two_stages())
            first = (await worker.poll()).tasks
            other = sqlite3.connect(bench.config.state_dir / "journal.db", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            message = ReportRequest(
                member=worker.member, reports=tuple(worker.run(spec) for spec in first)
            )
            for path, body in (
                ("/internal/v1/workers/w1/reports", message.model_dump_json()),
                ("/internal/v1/workers/w1/reports", message.model_dump_json()),
                ("/internal/v1/workers", worker.request(worker_id="w2").model_dump_json()),
                ("/api/v1/jobs", '{"name": "test", "dag": {}}'),
            ):
                reply = await client.http.post(path, content=body)
                assert (reply.status_code, reply.json()["error"]["code"]) == (503, "MS-114")
            refused = await client.http.delete(f"/api/v1/jobs/{job}")
            assert refused.status_code == 503
            assert not (await worker.heartbeat(*(spec.key for spec in first)))["register_again"]
            health = await client.get("/healthz")
            assert health.status_code == 200
            assert health.json()["status"] == "degraded"
            view = (await client.get(f"/api/v1/jobs/{job}")).json()
            assert "cannot write its journal: database is locked" in view["waiting"]
            other.execute("ROLLBACK")
            other.close()
            second = (await worker.poll()).tasks
            assert {spec.key.stage for spec in second} == {1}
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            await worker.report(*(worker.run(spec) for spec in first))
            await worker.report(*(worker.run(spec) for spec in second))
            assert (await client.ended(job))["status"] == "SUCCEEDED"
            metrics = (await client.get(f"/api/v1/jobs/{job}/metrics")).json()
            assert metrics["records"] == {"read": 6, "agg": 6}

    asyncio.run(story())


SERVE = """
import json, sys
from pathlib import Path
from minispark.master import MasterConfig, serve
given = json.loads(sys.argv[1])
given["state_dir"] = Path(given["state_dir"])
given["planner_command"] = tuple(given["planner_command"])
serve(MasterConfig(**given), on_ready=lambda url, link: print(url, flush=True))
"""


@pytest.mark.process
def test_a_master_process_starts_and_stops_cleanly(bench: Bench) -> None:
    state = bench.config.state_dir
    given = {
        name: value
        for name, value in asdict(bench.config).items()
        if name in ("token", "port", "planner_command")
    }
    command = [sys.executable, "-c", SERVE, json.dumps({**given, "state_dir": str(state)})]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        found = find_discovery(state)
        assert found is not None
        assert (found.url, found.pid) == (url, process.pid)
        assert stat.S_IMODE((state / "journal.db").stat().st_mode) == 0o600
        held = httpx2.get(f"{url}/healthz", trust_env=False)
        assert held.json() == {"status": "ok"}
        listed = httpx2.get(
            f"{url}/api/v1/jobs", headers=auth_headers(bench.config.token), trust_env=False
        )
        assert listed.json() == {"jobs": [], "after": None, "total": 0}
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        assert find_discovery(state) is None
        lines = [json.loads(line) for line in log.splitlines()]
        assert [line["event"] for line in lines] == ["master_started", "master_stopped"]
        assert bench.config.token not in log
    finally:
        process.kill()
        process.communicate()


def test_a_journal_of_no_length_is_said_and_kept(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs: list[str] = []

    async def before(client: Client) -> None:
        async with bench.working(client):
            jobs.append(await client.submit(bench.one_stage()))
            await client.ended(jobs[0])

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        (left / "journal.db").write_bytes(b"")
        capfd.readouterr()
        async with bench.master(state_dir=left) as client:
            said = "".join(capfd.readouterr())
            assert "journal_damaged" in said
            assert jobs[0] in said
            events = (await client.get("/api/v1/events", about="master")).json()["events"]
            assert "journal_damaged" in [line["kind"] for line in events]
            assert jobs[0] in str(events)
        (kept,) = left.glob("damaged-*")
        assert (kept / "journal.db-wal").stat().st_size > 0
        async with bench.master(state_dir=left) as client:
            assert "journal_damaged" not in "".join(capfd.readouterr())

    asyncio.run(story())


@pytest.mark.parametrize("table", ["jobs", "meta", "snapshots", "events"])
def test_a_malformed_journal_is_refused_with_a_code(
    bench: Bench, tmp_path: Path, table: str
) -> None:
    async def before(client: Client) -> None:
        async with bench.working(client):
            await client.ended(await client.submit(bench.one_stage()))

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        path = left / "journal.db"
        Journal(path).close()  # Brings all from the log into the file.
        db = sqlite3.connect(path)
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = db.execute(query, (table,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.close()
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        with pytest.raises(MinisparkError, match="is damaged: ") as caught:
            async with bench.master(state_dir=left):
                pass
        assert caught.value.info.code == "MS-118"

    asyncio.run(story())


def test_a_life_that_was_lost_is_not_lived_again(tmp_path: Path) -> None:
    """Workers refuse a master of an epoch that they have met in a later life."""
    path = tmp_path / "journal.db"

    def life() -> int:
        journal = Journal(path)
        try:
            return identify(journal, new_cluster_id="c", disk="one").master_epoch
        finally:
            journal.close()

    assert [life(), life()] == [1, 2]
    earlier = path.read_bytes()
    assert [life(), life()] == [3, 4]
    path.write_bytes(earlier)
    assert [life(), life()] == [5, 6]
