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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minispark.config import find_discovery
from minispark.errors import MinisparkError, UsageError
from minispark.master import running
from minispark.plan.stages import SinkSpec
from minispark.wire.http import auth_headers


async def _killed(bench: Any, story: Any, tmp_path: Path) -> Path:
    """Run a story and keep the state as a killed master would leave it."""
    left = tmp_path / "left"
    async with bench.master() as client:
        await story(client)
        shutil.copytree(bench.config.state_dir, left)
    left.chmod(0o700)
    return left


def test_finished_jobs_are_as_they_were_and_ids_go_on(bench: Any) -> None:
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


def test_a_job_that_was_running_has_failed_and_says_why(bench: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs: list[str] = []

    async def before(client: Any) -> None:
        worker = await bench.worker(client)
        jobs.append(await client.submit(bench.two_stages(sink=SinkSpec("csv", str(out)))))
        await worker.work(polls=1)
        (first, _) = (await worker.poll()).tasks
        await worker.report(worker.run(first))
        assert list(out.iterdir())

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        async with bench.master(state_dir=left) as client:
            view = (await client.get(f"/api/v1/jobs/{jobs[0]}")).json()
            assert view["status"] == "FAILED"
            assert "restarted" in view["error"]["message"]
            assert view["error"]["hint"] == "Submit it again."
            metrics = (await client.get(f"/api/v1/jobs/{jobs[0]}/metrics")).json()
            assert metrics["records"] == {"read": 6, "agg": 3}
        async with bench.master(state_dir=left) as client:
            assert (await client.get(f"/api/v1/jobs/{jobs[0]}")).json() == view

    asyncio.run(story())
    assert list(out.iterdir()) == []


def test_a_commit_that_had_begun_is_brought_to_its_end(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    jobs: list[str] = []

    async def before(client: Any) -> None:
        reached = asyncio.Event()

        async def never(_live: Any, _manifests: Any) -> None:
            reached.set()

        monkeypatch.setattr("minispark.master.hands.Hands._publish", lambda _self, *a: never(*a))
        worker = await bench.worker(client)
        jobs.append(await client.submit(bench.two_stages(sink=SinkSpec("csv", str(out)))))
        await worker.work(polls=2)
        await asyncio.wait_for(reached.wait(), 10)

    async def story() -> None:
        left = await _killed(bench, before, tmp_path)
        assert not (out / "_SUCCESS").exists()
        async with bench.master(state_dir=left) as client:
            view = (await client.get(f"/api/v1/jobs/{jobs[0]}")).json()
            assert view["status"] == "SUCCEEDED"
            where = (await client.get(f"/api/v1/jobs/{jobs[0]}/results")).json()
            assert where["sinks"][0]["rows"] == 6

    asyncio.run(story())
    assert {path.name for path in out.iterdir()} == {
        "_SUCCESS",
        "part-00000.csv",
        "part-00001.csv",
    }


def test_a_second_master_on_the_state_is_refused(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            with pytest.raises(UsageError, match=f"another master .process {os.getpid()}."):
                async with running(client.config):
                    pass
        async with bench.master() as client:
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(story())


def test_a_taken_port_is_a_clear_error(bench: Any) -> None:
    async def story() -> None:
        async with bench.master() as client:
            port = int(client.url.rsplit(":", 1)[1])
            with pytest.raises(UsageError, match="cannot listen"):
                async with bench.master(port=port, state_dir=bench.tmp_path / "other"):
                    pass

    asyncio.run(story())


def test_a_master_that_cannot_write_its_journal_stops(bench: Any) -> None:
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


SERVE = """
import json, sys
from pathlib import Path
from minispark.master import MasterConfig, serve
given = json.loads(sys.argv[1])
given["state_dir"] = Path(given["state_dir"])
given["planner_command"] = tuple(given["planner_command"])
serve(MasterConfig(**given), on_ready=lambda url: print(url, flush=True))
"""


@pytest.mark.process
def test_a_master_process_starts_and_stops_cleanly(bench: Any) -> None:
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
        assert listed.json() == {"jobs": [], "after": None}
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0, log
        assert find_discovery(state) is None
        lines = [json.loads(line) for line in log.splitlines()]
        assert [line["event"] for line in lines] == ["master_started", "master_stopped"]
        assert bench.config.token not in log
    finally:
        process.kill()
        process.communicate()
