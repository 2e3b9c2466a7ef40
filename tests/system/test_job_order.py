"""Whose task is next and what takes too long, on real processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

pytestmark = pytest.mark.process

DEADLINE_S = 60.0
TASKS = 8


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        threading.Event().wait(0.01)


def attempts(client: MasterClient, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get_json(f"/api/v1/jobs/{job_id}/tasks", limit=1000)[
        "tasks"
    ]
    return found


def files(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pl.DataFrame({"number": [number]}).write_parquet(folder / f"{number}.parquet")
    return folder


def plan(query: pl.LazyFrame, tasks: int) -> StageGraph:
    settings = PlanSettings(parallelism=tasks, split_bytes=1, single_task_bytes=0)
    return plan_outputs([PlanOutput("out", query)], settings=settings)


def test_a_straggler_does_not_hold_its_job_up(tmp_path: Path) -> None:
    """One worker stands still with a task, not for so long as to be DOWN: another does it too."""
    graph = plan(pl.scan_parquet(files(tmp_path / "in", TASKS)), TASKS)
    assert graph.stages[0].partitions == TASKS
    patient = ["--heartbeat-timeout", str(DEADLINE_S)]
    with LocalCluster(2, directory=tmp_path / "cluster", master_options=patient) as cluster:
        client = cluster.client
        # Both have started and run a task before one of them is stopped.
        client.wait(client.submit_planned(graph, name="warm"))
        still = cluster.workers[1]
        still.signal(signal.SIGSTOP)
        try:
            job = client.submit_planned(graph, name="held up")
            view = client.wait(job)
            workers = {worker["worker_id"]: worker["status"] for worker in client.workers()}
        finally:
            still.signal(signal.SIGCONT)
        assert view.error is None
        assert set(workers.values()) == {"UP"}
        found = attempts(client, job)
        second = next(o for o in found if o["speculative"] and o["status"] == "SUCCEEDED")
        (first,) = [
            one for one in found
            if one["partition"] == second["partition"] and one["worker"] != second["worker"]
        ]  # fmt: skip
        assert first["status"] == "CANCELLED"
        rows = client.result_frame(job).sort("number")
        assert rows["number"].to_list() == list(range(TASKS))


def needs_a_pass(folder: Path) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return a function of which each call waits for a file of its own, and takes it."""
    passes, deadline_s = str(folder), DEADLINE_S

    def wait(rows: pl.DataFrame) -> pl.DataFrame:
        import pathlib
        import time

        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            for found in pathlib.Path(passes).iterdir():
                try:
                    found.unlink()
                except FileNotFoundError:
                    continue
                return rows
            time.sleep(0.01)
        raise TimeoutError(passes)

    return wait


def test_a_short_job_does_not_wait_behind_a_long_one(tmp_path: Path) -> None:
    """On a single slot, with all of the long job there first."""
    passes = tmp_path / "passes"
    passes.mkdir()
    source = files(tmp_path / "in", TASKS)
    wait = needs_a_pass(passes)
    parts = [pl.scan_parquet(source / f"{n}.parquet").map_batches(wait) for n in range(TASKS)]
    long = plan(pl.concat(parts), TASKS)
    short = plan(pl.scan_parquet(source / "0.parquet"), 1)
    with LocalCluster(1, threads=1, directory=tmp_path / "cluster") as cluster:
        client = cluster.client
        long_id = client.submit_planned(long, name="long")
        last = f"stage-{long.stages[-1].id}"
        until(lambda: only_runs(client, long_id, last), "an attempt of the long job in line")
        short_id = client.submit_planned(short, name="short")
        # One task of the long job ends; then it is the short one's turn.
        (passes / "0").touch()
        assert client.wait(short_id).error is None
        assert client.job(long_id).status == "RUNNING"
        assert running(client, long_id, last)
        for number in range(1, TASKS):
            (passes / str(number)).touch()
        assert client.wait(long_id).error is None
        rows = client.result_frame(long_id).sort("number")
        assert rows["number"].to_list() == list(range(TASKS))


def only_runs(client: MasterClient, job_id: str, stage: str) -> bool:
    """Whether the master knows all else to be over: what it takes to be in line has not begun."""
    at_work = [one["stage"] for one in attempts(client, job_id) if one["status"] == "RUNNING"]
    return len(at_work) > 1 and set(at_work) == {stage}


def running(client: MasterClient, job_id: str, stage: str) -> int:
    found = (
        one["stage"] == stage and one["status"] == "RUNNING" for one in attempts(client, job_id)
    )
    return sum(found)
