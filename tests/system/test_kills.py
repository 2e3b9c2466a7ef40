"""Real processes, really killed: the job goes on and the answer is the same."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal

import minispark as ms
from minispark.client.local_cluster import LocalCluster
from minispark.observe.views import JobView

pytestmark = pytest.mark.process

DEADLINE_S = 60.0
LINES = 200_000


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of some megabytes with words of uneven frequency."""
    dice = random.Random(3)
    words = [f"w{number}" for number in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    path = tmp_path_factory.mktemp("kills") / "text.csv"
    drawn = dice.choices(words, weights, k=LINES * 10)
    lines = (" ".join(drawn[n : n + 10]) for n in range(0, len(drawn), 10))
    path.write_text("text\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    missed = ["--heartbeat-timeout", "3"]
    with LocalCluster(
        workers=2, threads=1, directory=tmp_path / "cluster", master_options=missed
    ) as running:
        yield running


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, f"never {what}"
        time.sleep(0.005)


def _watch(cluster: LocalCluster, job_id: str, holds: Callable[[JobView], bool]) -> JobView:
    """Follow a job until its view is as wanted."""
    seen: int | None = None
    end = time.monotonic() + DEADLINE_S
    while True:
        view = cluster.client.job(job_id, wait_s=5, seen=seen)
        if holds(view):
            return view
        assert view.status not in ("FAILED", "SUCCEEDED", "CANCELLED"), view
        assert time.monotonic() < end, view
        seen = view.version


def _word_count(path: Path, partitions: int) -> dict[str, object]:
    nodes = [
        {"id": "read", "op": "read_csv", "path": str(path)},
        {"id": "flat", "op": "flat_map", "fn": "split_words"},
        {"id": "one", "op": "map", "fn": "pair_with_one"},
        {"id": "sum", "op": "reduce_by_key", "fn": "sum"},
    ]
    edges = [["read", "flat"], ["flat", "one"], ["one", "sum"]]
    return {"name": "words", "dag": {"nodes": nodes, "edges": edges}, "parallelism": partitions}


def _counts(path: Path) -> pl.DataFrame:
    tokens = pl.scan_csv(path).select(col("text").str.split(" ").alias("key")).explode("key")
    return tokens.group_by("key").agg(pl.len().cast(pl.Int64).alias("value")).collect()


def test_a_worker_killed_in_the_middle(cluster: LocalCluster, text: Path) -> None:
    client = cluster.client
    job_id = client.submit_json(_word_count(text, 40))
    _watch(cluster, job_id, lambda view: view.progress > 10)
    cluster.workers[0].kill()
    view = client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    assert_frame_equal(client.result_frame(job_id), _counts(text), check_row_order=False)
    rows = {row.id: row for row in client.stages(job_id)}
    assert rows["read"].records_out == LINES
    assert rows["sum"].records_in == LINES * 10
    _until(
        lambda: sorted(worker["status"] for worker in client.workers()) == ["DOWN", "UP"],
        "saw the worker down",
    )


def test_an_executor_killed_in_the_middle(cluster: LocalCluster, text: Path) -> None:
    client = cluster.client
    job_id = client.submit_json(_word_count(text, 40))
    _watch(cluster, job_id, lambda view: view.progress > 10)
    for pid in _executors_of(cluster.workers[0].pid):
        os.kill(pid, signal.SIGKILL)
    view = client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    assert_frame_equal(client.result_frame(job_id), _counts(text), check_row_order=False)


def _executors_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found, "the worker has no executor"
    return [int(child) for child in found]


def _held_until(gate: Path, running: Path) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return a function that holds its task up until a file is there."""

    def wait(rows: pl.DataFrame) -> pl.DataFrame:
        running.write_text(str(os.getppid()))
        end = time.monotonic() + DEADLINE_S
        while not gate.exists() and time.monotonic() < end:
            time.sleep(0.005)
        return rows

    return wait


def test_a_worker_killed_after_the_map_stage(
    cluster: LocalCluster, tmp_path: Path, text: Path
) -> None:
    """Blocks that nobody has read yet go with their worker; the map tasks run again."""
    gate, running = tmp_path / "gate", tmp_path / "running"
    words = pl.scan_csv(text).select(col("text").str.split(" ").alias("key")).explode("key")
    side = pl.LazyFrame({"key": ["w1", "w5", "nowhere"]})
    expected = words.join(side, on="key", how="full").group_by("key").agg(pl.len()).collect()
    held = side.map_batches(_held_until(gate, running))
    query = words.join(held, on="key", how="full").group_by("key").agg(pl.len())
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=6)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(query.collect, engine=engine)
        _until(running.exists, "did the held stage start")
        (job,) = cluster.client.jobs()
        _watch(cluster, job.job_id, _map_stage_done)
        holder = int(running.read_text())
        (victim,) = [worker for worker in cluster.workers if worker.pid != holder]
        said = victim.log.read_text()
        victim.kill()
        for folder in (cluster.directory / "work").iterdir():
            if folder.name in said:
                shutil.rmtree(folder)
        gate.write_text("")
        found = answer.result(DEADLINE_S)
    assert_frame_equal(found, expected, check_row_order=False)
    assert cluster.client.metrics(job.job_id).failures.get("fetch_failed", 0) > 0


def _map_stage_done(view: JobView) -> bool:
    stages = [stage for stage in view.stages if stage.name == "join input"]
    return any(stage.tasks_done == stage.tasks for stage in stages)
