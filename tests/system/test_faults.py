"""What a cluster owes its jobs when processes stop, crash and lie: one fault each, told exactly."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from polars import col
from polars.testing import assert_frame_equal

from minispark.client.local_cluster import ClusterProcess, LocalCluster
from minispark.engines.http import MasterClient
from minispark.observe.views import JobView
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import SinkSpec, StageGraph
from minispark.settings import PlanSettings

pytestmark = pytest.mark.process

DEADLINE_S = 60.0
DOWN_S = 1.0
PARTS = 6
HARMS = ("changed", "cut short", "deleted")
Rows = Callable[[pl.DataFrame], pl.DataFrame]


@contextmanager
def cluster_of(
    workers: int, folder: Path, *, master: Sequence[str] = (), maps: bool = False
) -> Iterator[LocalCluster]:
    """Workers of one slot that are missed soon, and whose blocks go with them."""
    with LocalCluster(
        workers,
        threads=1,
        directory=folder / "cluster",
        master_options=["--heartbeat-timeout", str(DOWN_S), *master],
        worker_options=["--heartbeat", "0.2", "--map-blocks" if maps else "--no-map-blocks"],
    ) as running:
        yield running


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        threading.Event().wait(0.01)


def status_of(client: MasterClient) -> dict[str, str]:
    return {worker["worker_id"]: worker["status"] for worker in client.workers()}


def name_of(worker: ClusterProcess) -> str:
    """Return the id under which a worker runs now, from its log."""
    started = [line for line in worker.log.read_text().splitlines() if "worker_started" in line]
    return started[-1].split('"worker": "')[1].split('"')[0]


def attempts(client: MasterClient, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get_json(f"/api/v1/jobs/{job_id}/tasks", limit=1000)[
        "tasks"
    ]
    return found


def plan(
    query: pl.LazyFrame, sink: SinkSpec | None = None, *, partitions: int = PARTS
) -> StageGraph:
    settings = PlanSettings(parallelism=partitions, single_task_bytes=0, broadcast_bytes=0)
    return plan_outputs([PlanOutput("out", query, sink)], settings=settings)


def first_is_held(folder: Path) -> Rows:
    """Return a function that keeps its first caller, and only that, until ``folder/gate`` is there.

    It leaves the ids of the executor and its worker in ``folder/held``.
    """
    gate, held, taken = (folder / name for name in ("gate", "held", "taken"))

    def wait(rows: pl.DataFrame) -> pl.DataFrame:
        try:
            os.close(os.open(taken, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return rows
        held.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
        held.with_suffix(".new").rename(held)
        end = time.monotonic() + DEADLINE_S
        while not gate.exists() and time.monotonic() < end:
            threading.Event().wait(0.005)
        return rows

    return wait


def holder(cluster: LocalCluster, folder: Path) -> ClusterProcess:
    """Return the worker whose executor is held."""
    until((folder / "held").exists, "a task was held")
    _, parent = (folder / "held").read_text().split()
    (found,) = [worker for worker in cluster.workers if worker.pid == int(parent)]
    return found


def test_a_zombies_result_is_never_taken_and_its_sink_never_lands(tmp_path: Path) -> None:
    out = tmp_path / "out"
    query = pl.LazyFrame({"a": range(10)}).map_batches(first_is_held(tmp_path))
    with cluster_of(2, tmp_path) as cluster:
        client = cluster.client
        job_id = client.submit_planned(
            plan(query, SinkSpec("csv", str(out)), partitions=1), name="zombie"
        )
        zombie = holder(cluster, tmp_path)
        name = name_of(zombie)
        old = {worker["worker_id"]: worker["epoch"] for worker in client.workers()}
        zombie.signal(signal.SIGSTOP)
        view = client.wait(job_id)
        assert view.status == "SUCCEEDED", view.error
        assert status_of(client)[name] == "DOWN"
        landed = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        assert set(landed) == {"part-00000.csv", "_SUCCESS"}
        # Now the zombie's task ends, is staged and reported: too late for all of it.
        (tmp_path / "gate").touch()
        zombie.signal(signal.SIGCONT)
        until(lambda: status_of(client)[name] == "UP", "the zombie came back")
        new = {worker["worker_id"]: worker["epoch"] for worker in client.workers()}
        assert new[name] > old[name]
        again = client.submit_planned(plan(pl.LazyFrame({"a": range(4)})), name="after")
        assert client.wait(again).status == "SUCCEEDED"
        won = [one for one in attempts(client, job_id) if one["status"] == "SUCCEEDED"]
        assert len(won) == 1
        assert won[0]["worker"] != name
        until(
            lambda: {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == landed,
            f"only the accepted files are left, but {sorted(out.rglob('*'))}",
        )
    assert pl.read_csv(out / "part-00000.csv")["a"].to_list() == list(range(10))


def test_executors_that_crash_cost_an_attempt_or_their_own_job(tmp_path: Path) -> None:
    def deadly(_: pl.DataFrame) -> pl.DataFrame:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    query = pl.LazyFrame({"a": range(10)}).map_batches(first_is_held(tmp_path))
    with cluster_of(2, tmp_path) as cluster:
        client = cluster.client
        job_id = client.submit_planned(plan(query, partitions=1), name="segfault")
        worker = holder(cluster, tmp_path)
        os.kill(int((tmp_path / "held").read_text().split()[0]), signal.SIGSEGV)
        assert client.wait(job_id).status == "SUCCEEDED"
        lost, won = attempts(client, job_id)
        assert (lost["status"], won["status"]) == ("FAILED", "SUCCEEDED")
        assert "SIGSEGV" in lost["error"]["message"] + str(lost["error"]["detail"])
        assert won["worker"] != lost["worker"]
        assert worker.alive
        assert client.result_frame(job_id)["a"].to_list() == list(range(10))

        always = pl.LazyFrame({"a": [1]}).map_batches(deadly, schema={"a": pl.Int64})
        view = client.wait(client.submit_planned(plan(always), name="deadly"))
        assert view.status == "FAILED"
        assert view.error is not None
        assert view.error.code == "MS-225"
        assert "3 times" in view.error.message
        well = client.submit_planned(plan(pl.LazyFrame({"a": [7]}).select(col("a") * 2)), name="x")
        assert client.wait(well).status == "SUCCEEDED"
        assert client.result_frame(well).item() == 14
        assert set(status_of(client).values()) == {"UP"}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Files whose map tasks all have something for every reduce task."""
    folder = tmp_path / "text"
    folder.mkdir()
    for part in range(PARTS):
        words = [f"w{number % 200}" for number in range(part, 6_000 + part)]
        pl.DataFrame({"key": words}).write_parquet(folder / f"{part}.parquet")
    return folder


def _held_join(text: Path, folder: Path) -> pl.LazyFrame:
    """A join whose left side is exchanged while a task of its right side is held."""
    words = pl.scan_parquet(text / "*.parquet")
    held = pl.LazyFrame({"key": ["w1", "w5", "nowhere"]}).map_batches(first_is_held(folder))
    return words.join(held, on="key", how="full").group_by("key").agg(pl.len())


def _expected(text: Path) -> pl.DataFrame:
    words = pl.read_parquet(text / "*.parquet")
    side = pl.DataFrame({"key": ["w1", "w5", "nowhere"]})
    return words.join(side, on="key", how="full").group_by("key").agg(pl.len())


def _map_stage(client: MasterClient, job_id: str) -> dict[int, dict[str, Any]] | None:
    """Return the accepted attempts of the left side's stage, once all are there."""
    done: dict[str, dict[int, dict[str, Any]]] = {}
    for one in attempts(client, job_id):
        if one["status"] == "SUCCEEDED":
            done.setdefault(one["stage"], {})[one["partition"]] = one
    full = [tasks for tasks in done.values() if len(tasks) == PARTS]
    return full[0] if full else None


def _follow(client: MasterClient, job_id: str) -> JobView:
    view = client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    return view


def test_two_workers_lost_at_the_reduce_stage_cost_only_what_was_theirs(
    tmp_path: Path, text: Path
) -> None:
    with cluster_of(3, tmp_path) as cluster:
        client = cluster.client
        job_id = client.submit_planned(plan(_held_join(text, tmp_path)), name="two lost")
        survivor = holder(cluster, tmp_path)
        found: list[dict[int, dict[str, Any]]] = []

        def map_stage_ended() -> bool:
            tasks = _map_stage(client, job_id)
            found.extend([tasks] if tasks else [])
            return bool(found)

        until(map_stage_ended, "the map stage ended")
        victims = [worker for worker in cluster.workers if worker is not survivor]
        names = {name_of(worker) for worker in victims}
        for worker in victims:
            worker.kill()
        until(lambda: Counter(status_of(client).values())["DOWN"] == 2, "both are DOWN")
        (tmp_path / "gate").touch()
        _follow(client, job_id)
        assert_frame_equal(client.result_frame(job_id), _expected(text), check_row_order=False)
        first = found[0]
        stage = first[0]["stage"]
        theirs = {number for number, one in first.items() if one["worker"] in names}
        runs = [one for one in attempts(client, job_id) if one["stage"] == stage]
        made = Counter(one["partition"] for one in runs if one["status"] == "SUCCEEDED")
        assert theirs
        assert made == {number: 2 if number in theirs else 1 for number in range(PARTS)}
        # Between the two deaths one may have been given what the other had lost.
        assert {one["worker"] for one in runs if one["status"] != "SUCCEEDED"} <= names
        assert survivor.alive


@pytest.mark.parametrize("maps", [True, False], ids=["mapped", "fetched"])
def test_blocks_that_are_not_what_was_promised_are_made_again(
    tmp_path: Path, text: Path, maps: bool
) -> None:
    with cluster_of(2, tmp_path, maps=maps) as cluster:
        client = cluster.client
        job_id = client.submit_planned(plan(_held_join(text, tmp_path)), name="harm")
        holder(cluster, tmp_path)
        until(lambda: _map_stage(client, job_id), "the map stage ended")
        done = _map_stage(client, job_id) or {}
        for number, harm in enumerate(HARMS):
            (path,) = (cluster.directory / "work").glob(f"*/blocks/{done[number]['task']}.arrow")
            _harm(path, harm)
        (tmp_path / "gate").touch()
        _follow(client, job_id)
        assert_frame_equal(client.result_frame(job_id), _expected(text), check_row_order=False)
        stage = done[0]["stage"]
        tries = Counter(o["partition"] for o in attempts(client, job_id) if o["stage"] == stage)
        assert tries == {number: 2 if number < len(HARMS) else 1 for number in range(PARTS)}


def _harm(path: Path, harm: str) -> None:
    match harm:
        case "changed":
            data = bytearray(path.read_bytes())
            for place in range(0, len(data), 97):
                data[place] ^= 0x55
            path.write_bytes(data)
        case "cut short":
            path.write_bytes(path.read_bytes()[:100])
        case _:
            path.unlink()


def test_what_a_worker_has_of_an_ended_job_besides_its_result_goes(
    tmp_path: Path, text: Path
) -> None:
    """Blocks of attempts that ended while nobody heard of it are in no ledger."""
    with cluster_of(1, tmp_path) as cluster:
        client = cluster.client
        query = pl.scan_parquet(text / "*.parquet").group_by("key").agg(pl.len())
        job_id = client.submit_planned(plan(query), name="ended")
        _follow(client, job_id)
        (blocks,) = (cluster.directory / "work").glob("*/blocks")
        strays = [blocks / f"{job_id}.0.0.0.77{suffix}" for suffix in (".arrow", ".arrow.tmp")]
        for path in strays:
            path.write_bytes(b"late")
        # The master has said what to keep: a new life of it says so again.
        cluster.restart_master()
        until(lambda: not any(path.exists() for path in strays), "the strays went")
        names = {path.name.partition(".")[0] for path in blocks.iterdir()}
        assert names == {job_id}
        assert client.result_frame(job_id).height == query.collect().height


def test_without_a_worker_a_job_says_so_and_ends_after_the_grace(tmp_path: Path) -> None:
    query = pl.LazyFrame({"a": [1]}).map_batches(first_is_held(tmp_path))
    with cluster_of(1, tmp_path, master=["--worker-grace", "1.5"]) as cluster:
        client = cluster.client
        job_id = client.submit_planned(plan(query), name="alone")
        holder(cluster, tmp_path)
        cluster.workers[0].kill()
        until(lambda: client.job(job_id).workers_waiting, "the job said that it waits")
        started = time.monotonic()
        view = client.wait(job_id)
        assert time.monotonic() - started < 20
        assert view.status == "FAILED"
        assert view.error is not None
        assert "worker" in view.error.message
        assert view.error.hint


def test_a_task_that_ends_every_worker_ends_its_job_within_a_bound(tmp_path: Path) -> None:
    """Workers come back each time; the tenth that goes is one too many."""

    def deadly(_: pl.DataFrame) -> pl.DataFrame:
        os.kill(os.getppid(), signal.SIGKILL)
        raise AssertionError

    killed: set[int] = set()
    with cluster_of(2, tmp_path) as cluster:
        client = cluster.client
        query = pl.LazyFrame({"a": [1]}).map_batches(deadly, schema={"a": pl.Int64})
        job_id = client.submit_planned(plan(query), name="deadly")

        def ended() -> bool:
            for worker in list(cluster.workers):
                if not worker.alive:
                    killed.add(worker.pid)
                    cluster.restart_worker(worker)
            return client.job(job_id).status in ("FAILED", "SUCCEEDED")

        until(ended, "the job ended")
        view = client.job(job_id)
        assert view.status == "FAILED"
        assert view.error is not None
        assert view.error.code == "MS-224"
        assert "10 times" in view.error.message
        assert 9 <= len(killed) <= 11
        cluster.wait_for_workers(2)
    assert not any(psutil.pid_exists(pid) for pid in killed)


def test_a_worker_that_is_asked_to_leave_hands_over_and_goes(tmp_path: Path, text: Path) -> None:
    """Nothing is made twice: its blocks and results are at others when it is gone."""
    with cluster_of(2, tmp_path) as cluster:
        client = cluster.client
        first = client.submit_planned(plan(pl.scan_parquet(text / "*.parquet")), name="kept")
        _follow(client, first)
        job_id = client.submit_planned(plan(_held_join(text, tmp_path)), name="drained")
        leaver = holder(cluster, tmp_path)
        until(lambda: _map_stage(client, job_id), "the map stage ended")
        leaver.signal(signal.SIGTERM)
        name = name_of(leaver)
        until(lambda: status_of(client)[name] == "DRAINING", "it drains")
        assert leaver.alive, "what runs may end"
        (tmp_path / "gate").touch()
        _follow(client, job_id)
        assert leaver.process.wait(DEADLINE_S) == 0
        assert status_of(client)[name] == "DOWN"
        assert_frame_equal(client.result_frame(job_id), _expected(text), check_row_order=False)
        tries = Counter((one["stage"], one["partition"]) for one in attempts(client, job_id))
        taken_back = [one for one in attempts(client, job_id) if one["status"] == "CANCELLED"]
        assert sum(tries.values()) - len(tries) == len(taken_back)
        for job in (first, job_id):
            assert {
                block["url"]
                for node in client.get_json(f"/internal/v1/jobs/{job}/blocks")["nodes"]
                for block in node["blocks"]
            } == {worker["url"] for worker in client.workers() if worker["status"] == "UP"}
        assert client.result_frame(first).height == PARTS * 6_000


def test_a_worker_that_is_asked_twice_leaves_at_once(tmp_path: Path) -> None:
    query = pl.LazyFrame({"a": range(10)}).map_batches(first_is_held(tmp_path))
    with cluster_of(2, tmp_path) as cluster:
        client = cluster.client
        job_id = client.submit_planned(plan(query), name="twice")
        leaver = holder(cluster, tmp_path)
        leaver.signal(signal.SIGTERM)
        until(lambda: status_of(client)[name_of(leaver)] == "DRAINING", "it drains")
        leaver.signal(signal.SIGTERM)
        # Sooner than the task that it runs would let it go.
        assert leaver.process.wait(DEADLINE_S / 2) == 0
        assert _follow(client, job_id).status == "SUCCEEDED"
