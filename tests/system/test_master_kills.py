"""A master process, really killed: workers and clients go on, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import minispark as ms
from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient
from minispark.observe.views import JobView

pytestmark = pytest.mark.process

DEADLINE_S = 60.0
WORDS = 30_000
PARTITIONS = 24


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.csv"
    lines = (f"w{n % 97} w{n % 31} w{n % 7}" for n in range(WORDS // 3))
    path.write_text("text\n" + "\n".join(lines) + "\n")
    return path


def _word_count(path: Path, out: Path | None) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {"id": "read", "op": "read_csv", "path": str(path)},
        {"id": "flat", "op": "flat_map", "fn": "split_words"},
        {"id": "one", "op": "map", "fn": "pair_with_one"},
        {"id": "sum", "op": "reduce_by_key", "fn": "sum"},
    ]
    if out is not None:
        nodes.append({"id": "write", "op": "write_csv", "path": str(out)})
    edges = [[above["id"], below["id"]] for above, below in pairwise(nodes)]
    return {"name": "words", "dag": {"nodes": nodes, "edges": edges}, "parallelism": PARTITIONS}


def _counts(path: Path) -> pl.DataFrame:
    tokens = pl.scan_csv(path).select(pl.col("text").str.split(" ").alias("key")).explode("key")
    return tokens.group_by("key").agg(pl.len().cast(pl.Int64).alias("value")).collect()


def _watch(client: MasterClient, job_id: str, progress: float) -> JobView:
    seen: int | None = None
    end = time.monotonic() + DEADLINE_S
    while True:
        view = client.job(job_id, wait_s=5, seen=seen)
        if view.progress >= progress:
            return view
        assert time.monotonic() < end, view
        seen = view.version


def _restart(cluster: LocalCluster) -> None:
    """Kill the master and start it again where it was."""
    assert cluster.master is not None
    port = int(cluster.url.rsplit(":", 1)[1])
    os.kill(cluster.master.pid, signal.SIGKILL)
    cluster.master.process.wait()
    cluster.start_master(port=port)


def _check_attempts(client: MasterClient, job_id: str) -> None:
    """Every task ended well exactly once, and was never begun again after that."""
    attempts: list[dict[str, Any]] = []
    after = None
    while True:
        page = client.get_json(f"/api/v1/jobs/{job_id}/tasks", limit=50, after=after)
        attempts += page["tasks"]
        after = page["after"]
        if after is None:
            break

    def task(one: dict[str, Any]) -> tuple[str, int]:
        return one["stage"], one["partition"]

    for key, group in groupby(sorted(attempts, key=task), key=task):
        tries = list(group)
        (good,) = [one for one in tries if one["status"] == "SUCCEEDED"]
        assert {one["status"] for one in tries} <= {"SUCCEEDED", "CANCELLED"}, (key, tries)
        assert all(one["started_at"] <= good["finished_at"] for one in tries), (key, tries)


@pytest.mark.parametrize("written", [False, True])
def test_a_master_killed_in_the_middle_goes_on(
    tmp_path: Path, text: Path, *, written: bool
) -> None:
    out = tmp_path / "out" if written else None
    with LocalCluster(workers=2, threads=1, directory=tmp_path / "cluster") as cluster:
        workers = [worker.pid for worker in cluster.workers]
        waiting = MasterClient(cluster.url, token=cluster.token)
        with ThreadPoolExecutor(1) as thread, waiting:
            job_id = cluster.client.submit_json(_word_count(text, out))
            answer = thread.submit(waiting.wait, job_id)
            for progress in (5.0, 50.0):
                before = _watch(cluster.client, job_id, progress)
                _restart(cluster)
                after = cluster.client.job(job_id)
                assert after.progress >= before.progress
            view = answer.result(DEADLINE_S)
        assert view.status == "SUCCEEDED", view.error
        _check_attempts(cluster.client, job_id)
        if out is None:
            found = cluster.client.result_frame(job_id)
        else:
            assert (out / "_SUCCESS").exists()
            found = pl.read_csv(out / "*.csv")
        assert_frame_equal(found, _counts(text), check_row_order=False)
        metrics = cluster.client.metrics(job_id)
        assert metrics.failures == {}
        assert metrics.records["flat"] == WORDS
        state = cluster.client.get_json("/api/v1/state")
        assert state["master_epoch"] == 3
        assert [worker.pid for worker in cluster.workers if worker.alive] == workers
        assert {w["status"] for w in state["workers"]} == {"UP"}
        assert len(state["workers"]) == 2


def test_an_engine_that_collects_does_not_notice(tmp_path: Path, text: Path) -> None:
    gate, running = tmp_path / "gate", tmp_path / "running"

    def held(rows: pl.DataFrame) -> pl.DataFrame:
        running.touch()
        end = time.monotonic() + DEADLINE_S
        while not gate.exists() and time.monotonic() < end:
            time.sleep(0.005)
        return rows

    query = pl.scan_csv(text).map_batches(held).select(pl.len())
    with LocalCluster(workers=1, threads=1, directory=tmp_path / "cluster") as cluster:
        engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(query.collect, engine=engine)
            end = time.monotonic() + DEADLINE_S
            while not running.exists():
                assert time.monotonic() < end, "the task never began"
                time.sleep(0.005)
            _restart(cluster)
            gate.touch()
            assert answer.result(DEADLINE_S).item() == WORDS // 3
        (job,) = cluster.client.jobs()
        _check_attempts(cluster.client, job.job_id)
