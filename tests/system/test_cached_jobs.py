"""Cached nodes on a real cluster: what is kept is found, and what is lost is made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from tests.system.test_faults import until

from minispark.blocks.cache import memory_home
from minispark.client.local_cluster import ClusterProcess, LocalCluster
from minispark.observe.views import JobMetrics

pytestmark = pytest.mark.process

PARTS = 6


def job(name: str = "agg") -> dict[str, Any]:
    nodes = [
        {"id": "read", "op": "read_csv", "path": "words.csv"},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "kept", "op": "cache"},
        {"id": name, "op": "reduce_by_key", "key": "token", "fn": "sum"},
    ]
    edges = [["read", "flat"], ["flat", "kept"], ["kept", name]]
    return {"dag": {"nodes": nodes, "edges": edges}, "parallelism": PARTS}


class Shop:
    """A cluster, and the file that its jobs read."""

    def __init__(self, cluster: LocalCluster, root: Path) -> None:
        self.cluster, self.file = cluster, root / "words.csv"

    def write(self, word: str) -> None:
        """Write other words: nothing of them is kept yet."""
        lines = (f"the {word}{n % 41} {word}{n % 7}" for n in range(30_000))
        self.file.write_text("text\n" + "\n".join(lines) + "\n")

    def count(self, **given: str) -> JobMetrics:
        """Count the words, and compare with what Polars finds."""
        client = self.cluster.client
        body = job(**given)
        found = client.submit_json(body)
        view = client.wait(found)
        assert view.status == "SUCCEEDED", view.error
        words = pl.read_csv(self.file).select(pl.col("text").str.split(" ").explode())
        expected = words.group_by("text").len().rows()
        rows = client.result_frame(found, node=body["dag"]["nodes"][-1]["id"]).rows()
        assert sorted(rows) == sorted(expected)
        return client.metrics(found)

    def figures(self, name: str) -> list[int]:
        workers = self.cluster.client.get_json("/api/v1/metrics/system")["workers"]
        return [int(worker[name]) for worker in workers if worker["status"] == "UP"]

    def kept_files(self) -> list[Path]:
        folder = self.cluster.directory / "work"
        return sorted(folder.glob("*/blocks/cache-*.arrow"))


def executors_of(worker: ClusterProcess) -> list[psutil.Process]:
    children = psutil.Process(worker.pid).children()
    return [child for child in children if "minispark.worker.executor" in child.cmdline()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    with LocalCluster(
        2,
        data_root=root,
        master_options=["--heartbeat-timeout", "4"],
        worker_options=["--heartbeat", "0.2", "--cache-max-mb", "8"],
    ) as cluster:
        yield Shop(cluster, root)
        names = {worker["worker_id"] for worker in cluster.client.workers()}
    # Nothing is left in memory of workers that ended, were they killed or not.
    assert not names & {path.name for path in memory_home().glob("*")}


def test_a_second_job_finds_what_the_first_has_kept(shop: Shop) -> None:
    shop.write("a")
    before = shop.count()
    assert (before.cache_hits, before.cache_misses) == (0, PARTS)
    after = shop.count(name="another")
    assert (after.cache_hits, after.cache_misses) == (PARTS, 0)
    assert after.bytes_read == 0
    until(lambda: sum(shop.figures("cache_hits")) == PARTS, "hits of workers")
    assert sum(shop.figures("cache_misses")) == PARTS
    assert all(0 < used <= 8 << 20 for used in shop.figures("cache_bytes"))


def test_a_file_that_was_touched_is_read_again(shop: Shop) -> None:
    shop.write("b")
    shop.count()
    os.utime(shop.file, ns=(1, 1))
    assert shop.count().cache_hits == 0


def test_it_is_found_after_executors_were_killed(shop: Shop) -> None:
    shop.write("c")
    shop.count()
    killed = [child for worker in shop.cluster.workers for child in executors_of(worker)]
    assert len(killed) == 2
    for child in killed:
        child.kill()
    psutil.wait_procs(killed)
    assert shop.count().cache_hits == PARTS


def test_broken_files_are_made_again_and_dropped(shop: Shop) -> None:
    shop.write("d")
    before = set(shop.kept_files())
    shop.count()
    new = [path for path in shop.kept_files() if path not in before]
    assert len(new) == PARTS
    for path in new[:3]:
        place = path.resolve()
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 1
        place.write_bytes(data)
    after = shop.count()
    assert (after.cache_hits, after.cache_misses) == (PARTS - 3, 3)
    assert after.failures.keys() == {"fetch_failed"}
    again = shop.count()
    assert (again.cache_hits, again.failures) == (PARTS, {})


def test_a_new_master_hears_of_what_is_kept(shop: Shop) -> None:
    shop.write("e")
    shop.count()
    shop.cluster.restart_master()
    shop.cluster.wait_for_workers(2)
    until(lambda: shop.count().cache_hits == PARTS, "hits after a restart of the master")


def test_what_a_killed_worker_had_is_made_again(shop: Shop) -> None:
    shop.write("f")
    shop.count()
    victim = shop.cluster.workers[0]
    victim.kill()
    # The master still takes it for present, and sends for its blocks.
    shop.count()
    until(lambda: len(shop.figures("cache_hits")) == 1, "the worker is DOWN")
    shop.count()
    assert shop.count().cache_hits == PARTS
    shop.cluster.restart_worker(victim)
    shop.cluster.wait_for_workers(2)
    assert shop.count().cache_hits == PARTS


def test_what_a_worker_kept_goes_with_it(shop: Shop) -> None:
    shop.write("g")
    shop.count()
    leaver = shop.cluster.workers[1]
    leaver.stop()
    after = shop.count()
    assert after.cache_misses > 0
    assert after.failures == {}
