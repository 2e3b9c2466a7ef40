"""A state directory of the first release, as a killed master left it, under this version."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.master.masters import Bench

from minispark.task.spec import TaskSpec

KEPT = json.loads(
    gzip.decompress((Path(__file__).parent / "states" / "first-release.json.gz").read_bytes())
)
"""Its journal as SQL, and what it answered just before."""
RUNNING = "job-c0ffee00-1-5"
ENDED = {
    "job-c0ffee00-1-1": ("words", "SUCCEEDED"),
    "job-c0ffee00-1-2": ("files", "SUCCEEDED"),
    "job-c0ffee00-1-3": ("bad", "FAILED"),
    "job-c0ffee00-1-4": ("gone", "CANCELLED"),
}

_CANCELLED = "the job was cancelled (stage"


def _state(tmp_path: Path) -> Path:
    state = tmp_path / "first"
    state.mkdir(mode=0o700)
    with closing(sqlite3.connect(state / "journal.db")) as db:
        db.executescript(KEPT["sql"])
    return state


def _same(answer: Any, kept: Any, where: str) -> None:
    """Every field of the first release is there with its value; others may have been added."""
    if isinstance(kept, dict):
        for name, value in kept.items():
            if name == "duration_s" and "attempt" in kept:
                # It was the time since the launch. It is the time that the attempt ran, if known.
                assert answer[name] is None or answer[name] <= value + 0.1, where
                continue
            if name == "message" and value.startswith(_CANCELLED):
                # It spoke of the job also if only this attempt had been cancelled.
                assert "attempt was cancelled" in answer[name], where
                continue
            _same(answer[name], value, f"{where}.{name}")
    elif isinstance(kept, list):
        assert len(answer) == len(kept), where
        for number, value in enumerate(kept):
            _same(answer[number], value, f"{where}[{number}]")
    elif isinstance(kept, float):  # Times were those of the command, and are those of its row.
        assert answer == pytest.approx(kept, abs=0.1), where
    else:
        assert answer == kept, where


def test_finished_jobs_are_shown_as_they_were(bench: Bench, tmp_path: Path) -> None:
    async def story() -> None:
        async with bench.master(state_dir=_state(tmp_path)) as client:
            listed = (await client.get("/api/v1/jobs")).json()["jobs"]
            shown = {one["job_id"]: (one["name"], one["status"]) for one in listed}
            assert shown == {**ENDED, RUNNING: ("running", "RUNNING")}
            for job in ENDED:
                for rest in ("", "/stages", "/metrics", "/tasks"):
                    answer = (await client.get(f"/api/v1/jobs/{job}{rest}")).json()
                    _same(answer, KEPT["answers"][f"{job}{rest}"], f"{job}{rest}")
                assert (await client.http.get(f"/jobs/{job}")).status_code == 200
                events = (await client.get(f"/api/v1/jobs/{job}/events")).json()["events"]
                assert events[0]["kind"] == "job_submitted"
                steps = (await client.get(f"/api/v1/jobs/{job}/story")).json()["steps"]
                assert len(steps) == len(events)

    asyncio.run(story())


def test_a_running_job_is_carried_on(bench: Bench, tmp_path: Path) -> None:
    async def story() -> None:
        async with bench.master(state_dir=_state(tmp_path)) as client:
            before = KEPT["answers"][f"{RUNNING}/tasks"]["tasks"]
            now = (await client.get(f"/api/v1/jobs/{RUNNING}/tasks")).json()["tasks"]
            _same(now, before, "tasks")
            (known,) = (await client.get("/api/v1/workers")).json()["workers"]
            worker = bench.worker_of(client, "w1")
            worker.directory.mkdir()
            worker.member = worker.member.model_copy(
                update={"cluster_id": "c0ffee00", "epoch": known["epoch"]}
            )
            ran: list[TaskSpec] = []
            while (await client.get(f"/api/v1/jobs/{RUNNING}")).json()["status"] == "RUNNING":
                tasks = (await worker.poll()).tasks
                ran += tasks
                await worker.report(*map(worker.run, tasks))
            view = (await client.get(f"/api/v1/jobs/{RUNNING}")).json()
            assert (view["status"], view["error"]) == ("SUCCEEDED", None)
            # What the first release had accepted was not run again.
            assert sorted(spec.key[1:4] for spec in ran) == [
                (0, 0, 1),
                (0, 0, 2),
                (1, 0, 0),
                (1, 0, 1),
            ]
            metrics = (await client.get(f"/api/v1/jobs/{RUNNING}/metrics")).json()
            assert metrics["records"] == {"read": 9, "agg": 6}
            assert metrics["failures"] == {"out_of_memory": 1}

    asyncio.run(story())
