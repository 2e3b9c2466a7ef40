"""The live view: what a frame shows, events between snapshots, and a real terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from minispark.cli.top import ClusterSnapshot, events, frame, next_snapshot
from minispark.client import LocalCluster
from minispark.clock import monotonic_s
from minispark.engines.http import MasterClient
from minispark.observe.cluster import MasterFigures, SystemMetrics, Totals, WorkerFigures
from minispark.observe.views import JobView, StageProgress
from minispark.scheduler.commands import JobStatus

from .conftest import Minispark

DEADLINE_S = 60


def worker(name: str, status: str = "UP") -> WorkerFigures:
    return WorkerFigures.from_heartbeat({}, worker_id=name, status=status, slots=2, active_tasks=1)


def job(number: int, status: JobStatus, *stages: StageProgress) -> JobView:
    ended = status is not JobStatus.RUNNING
    return JobView(
        job_id=f"job-{number}",
        name="[bold]words[/bold]",
        status=status,
        progress=50.0,
        submitted_at=1_000.0 + number,
        finished_at=1_050.0 if ended else None,
        duration_s=50.0 - number if ended else None,
        stages=list(stages),
    )


def seen(*workers: WorkerFigures, jobs: tuple[JobView, ...] = ()) -> ClusterSnapshot:
    master = MasterFigures(
        epoch=1,
        uptime_s=1.0,
        cpu_percent=0.0,
        memory_bytes=0,
        journal_seq=0,
        journal_status="ok",
    )
    system = SystemMetrics(
        at=1_100.0,
        cluster_id="c",
        status="ok" if workers else "no_workers",
        master=master,
        workers_up=len(workers),
        workers_draining=0,
        workers_down=0,
        slots=2,
        active_tasks=1,
        cpu_percent=0.0,
        memory_bytes=0,
        jobs_running=len(jobs),
        jobs_waiting=0,
        totals=Totals(),
        workers=list(workers),
    )
    return ClusterSnapshot("http://m:1", system, jobs)


def drawn(look: ClusterSnapshot, *, height: int | None = None, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(frame(look, height=height, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_frame_shows_running_jobs_first_with_their_stages() -> None:
    stage = StageProgress(id="stage-0", name="scan", status="RUNNING", tasks=8, tasks_done=4)
    jobs = (job(2, JobStatus.SUCCEEDED), job(1, JobStatus.RUNNING, stage))
    text = drawn(seen(worker("w-1"), jobs=jobs))
    assert text.index("job-1") < text.index("stage-0") < text.index("job-2")
    assert "4/8" in text
    assert "w-1" in text
    # What users name things stays text.
    assert "[bold]words[/bold]" in text


def test_a_frame_fits_its_terminal() -> None:
    stages = [
        StageProgress(id=f"stage-{n}", name="s", status="RUNNING", tasks=1, tasks_done=0)
        for n in range(30)
    ]
    jobs = tuple(job(n, JobStatus.RUNNING, *stages) for n in range(12))
    workers = [worker(f"w-{n}") for n in range(200)]
    for height in (24, 50):
        lines = drawn(seen(*workers, jobs=jobs), height=height, width=80).splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= 80
    assert "and 192 more" in drawn(seen(*workers, jobs=jobs), height=24)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_ids_and_columns_stay_whole_in_a_narrow_terminal(width: int) -> None:
    """Ids of one cluster begin alike: their ends tell them apart."""
    jobs = tuple(
        job(number, JobStatus.RUNNING).model_copy(
            update={
                "job_id": f"job-065e949e-12-{number}",
                "waiting": "a very long reason " * 20,
                "stages": [
                    StageProgress(
                        id="stage-0",
                        name="scan" * 30,
                        status="RUNNING",
                        tasks=8_000,
                        tasks_done=7_000,
                    )
                ],
            }
        )
        for number in (1_001, 1_002)
    )
    workers = [worker(f"w-065e949e{number}") for number in range(3)]
    text = drawn(seen(*workers, jobs=jobs), height=40, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for view in jobs:
        (line,) = (line for line in lines if line.strip().startswith(view.job_id))
        for cell in ("RUNNING", "7000/8000", "a ve"):
            assert cell in line
    assert all(each.worker_id in text for each in seen(*workers).system.workers)
    # A long event leaves its time and its job.
    assert re.search(r"\d\d:\d\d:\d\d +job-065e949e-12-1001 waits: a very", text)


def test_without_anything_it_says_what_to_do() -> None:
    text = drawn(seen())
    assert "minispark worker" in text
    assert "minispark submit" in text


def test_changes_of_workers_and_of_the_master_are_events() -> None:
    class Client(MasterClient):
        url = "http://m:1"

        def __init__(self, look: ClusterSnapshot) -> None:
            self.look = look

        def get_json(self, path: str, **params: object) -> object:
            return self.look.system.model_dump(mode="json")

        def jobs(self, *, limit: int | None = None, after: str | None = None) -> list[JobView]:
            return list(self.look.jobs)

    first = seen(worker("w-1"), worker("w-2"), jobs=(job(1, JobStatus.SUCCEEDED),))
    then = seen(worker("w-1", "DOWN"), worker("w-2"), worker("w-3"))
    restarted = then.system.master.model_copy(update={"epoch": 2})
    then = replace(then, system=then.system.model_copy(update={"master": restarted}))
    now = next_snapshot(Client(then), first)
    assert {said for _, said in events(now)} == {
        "worker w-1 stopped sending heartbeats; it is DOWN",
        "worker w-3 is UP",
        "the master restarted",
    }
    assert next(said for _, said in events(first)) == "job-1 succeeded after 49.00 s"


@pytest.mark.process
def test_top_of_a_real_cluster(minispark: Minispark, small_cluster: LocalCluster) -> None:
    known = {"MINISPARK_MASTER": small_cluster.url, "MINISPARK_TOKEN": small_cluster.token}
    once = minispark("top", "--once", **known)
    assert once.returncode == 0, once.stderr
    assert "workers 1 up" in once.stdout
    assert "\x1b" not in once.stdout
    found = json.loads(minispark("top", "--json", **known).stdout)
    assert found["system"]["workers_up"] == 1
    control, terminal = pty.openpty()
    live = subprocess.Popen(
        [sys.executable, "-m", "minispark", "top", "--interval", "0.2"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | known | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(terminal)
    try:
        said = b""
        deadline = monotonic_s() + DEADLINE_S
        # A second frame begins where the cursor is sent home again.
        while said.count(b"Mini-Spark") < 2:
            assert monotonic_s() < deadline, said
            if select.select([control], [], [], 1.0)[0]:
                said += os.read(control, 65_536)
        os.write(control, b"q")
        while live.poll() is None:
            assert monotonic_s() < deadline
            if select.select([control], [], [], 0.2)[0]:
                try:
                    said += os.read(control, 65_536)
                except OSError:
                    break
        assert live.wait(DEADLINE_S) == 0
    finally:
        live.kill()
        live.wait()
        os.close(control)
    # The screen that was there before comes back.
    assert b"\x1b[?1049h" in said
    assert b"\x1b[?1049l" in said
