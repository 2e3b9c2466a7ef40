"""Jobs with cached nodes on the embedded engine: found again, or made again; never wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from tests.runners.twice import TwiceRunner

from minispark.engines.base import JobOutcome
from minispark.engines.local import LocalRunner
from minispark.jobs import plan_job
from minispark.observe.views import JobMetrics
from minispark.settings import MIB, CacheSettings, PlanSettings

PARTS = 4
Counts = dict[str, int]
MakeDesk = Callable[..., "Desk"]


def job(cache_at: str = "low", **names: str) -> dict[str, Any]:
    """Count words, with a cached node above the one that is named."""
    steps: list[dict[str, Any]] = [
        {"id": "read", "op": "read_csv", "path": "words.csv"},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "low", "op": "map", "fn": "to_lower"},
        {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"},
    ]
    place = [step["id"] for step in steps].index(cache_at) + 1
    steps.insert(place, {"id": "kept", "op": "cache"})
    for step in steps:
        step["id"] = names.get(step["id"], step["id"])
    ids = [step["id"] for step in steps]
    return {"dag": {"nodes": steps, "edges": [list(edge) for edge in pairwise(ids)]}}


class Desk:
    """A runner, its folder, and what its jobs came to."""

    def __init__(self, kind: type[LocalRunner], root: Path, cache: CacheSettings) -> None:
        self.root = root
        (root / "blocks").mkdir()
        self.runner = kind(2, data_root=root, temp_dir=root / "blocks", cache=cache)

    def write(self, word: str) -> None:
        """Write other words: nothing of them is kept yet."""
        lines = [f"The {word}{n % 17} {word}{n % 5} END{n % 3}" for n in range(2_000)]
        (self.root / "words.csv").write_text("text\n" + "\n".join(lines) + "\n")
        self.before = set(self.kept)

    def run(self, body: dict[str, Any]) -> JobOutcome:
        settings = PlanSettings(parallelism=PARTS, single_task_bytes=0)
        return self.runner.run(plan_job(body, data_root=self.root, settings=settings), name="job")

    def count(self, body: dict[str, Any]) -> tuple[Counts, JobMetrics]:
        outcome = self.run(body)
        (node,) = outcome.nodes
        return dict(outcome.read(node).rows()), outcome.summary().metrics

    @property
    def expected(self) -> Counts:
        rows = pl.read_csv(self.root / "words.csv")
        words = rows.select(pl.col("text").str.to_lowercase().str.split(" ").explode())
        return dict(words.group_by("text").len().rows())

    @property
    def kept(self) -> list[Path]:
        return sorted(self.root.glob("blocks/**/cache-*.arrow"))

    @property
    def new(self) -> list[Path]:
        """What was kept since the words were written."""
        return [path for path in self.kept if path not in self.before]


KINDS: dict[str, tuple[type[LocalRunner], CacheSettings]] = {
    "memory": (LocalRunner, CacheSettings(memory_bytes=8 * MIB)),
    "disk": (LocalRunner, CacheSettings(memory_bytes=1)),
    "none": (LocalRunner, CacheSettings(memory_bytes=0)),
    "twice": (TwiceRunner, CacheSettings()),
}


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Desk]]:
    """One engine of each kind for all tests: its processes take a second to start."""
    made: dict[str, Desk] = {}

    def desk(kind: str) -> Desk:
        if kind not in made:
            runner, settings = KINDS[kind]
            made[kind] = Desk(runner, tmp_path_factory.mktemp(kind), settings)
        return made[kind]

    yield desk
    for found in made.values():
        found.runner.close()
        assert not list(found.root.glob("blocks/**/*.arrow"))


@pytest.fixture
def make(desks: Callable[[str], Desk], request: pytest.FixtureRequest) -> MakeDesk:
    def make(kind: str = "memory") -> Desk:
        desk = desks(kind)
        desk.write(f"{request.node.name}-"[-12:].replace("[", "").replace("]", ""))
        return desk

    return make


@pytest.mark.parametrize("place", ["read", "flat", "low", "agg"])
def test_a_second_job_runs_only_what_is_above_the_cached_node(make: MakeDesk, place: str) -> None:
    desk = make()
    first, before = desk.count(job(place))
    second, after = desk.count(job(place))
    assert first == second == desk.expected
    assert (before.cache_hits, before.cache_misses) == (0, PARTS)
    assert (after.cache_hits, after.cache_misses) == (PARTS, 0)
    assert after.bytes_read == 0
    # Nodes that were not run counted nothing; what was found is known.
    assert after.records["kept"] == before.records["kept"]
    assert "read" not in after.records
    assert after.tasks_done < before.tasks_done


def test_the_stage_table_says_what_was_found(make: MakeDesk) -> None:
    desk = make()
    desk.count(job())
    rows = {row.id: row for row in desk.run(job()).summary().stages}
    assert (rows["kept"].status, rows["kept"].cached) == ("SKIPPED", PARTS)
    assert (rows["flat"].status, rows["flat"].records_out) == ("SKIPPED", None)
    assert not rows["flat"].pushed_down
    assert rows["kept"].records_out == rows["agg"].records_in == 8_000
    assert (rows["agg"].status, rows["agg"].cached) == ("SUCCEEDED", 0)


def test_another_job_with_the_same_beginning_finds_it(make: MakeDesk) -> None:
    desk = make()
    desk.count(job())
    other = job(read="a", flat="b", low="c", kept="d", agg="e")
    other["dag"]["nodes"][-1]["fn"] = "count"
    found, metrics = desk.count(other)
    assert found == desk.expected
    assert metrics.cache_hits == PARTS


def test_two_readers_of_one_job_compute_it_once(make: MakeDesk) -> None:
    desk = make()
    body = job()
    body["dag"]["nodes"] += [{"id": "n", "op": "reduce", "fn": "count"}]
    body["dag"]["edges"] += [["kept", "n"]]
    outcome = desk.run(body)
    assert outcome.read("n").item() == 8_000
    metrics = outcome.summary().metrics
    assert (metrics.records["kept"], metrics.cache_misses) == (8_000, PARTS)


def test_a_file_that_has_changed_is_read_again(make: MakeDesk) -> None:
    desk = make()
    desk.count(job())
    file = desk.root / "words.csv"
    before = file.stat()
    # As many bytes as before, and other words in them.
    file.write_text(file.read_text().replace("END1", "FIN1"))
    assert file.stat().st_size == before.st_size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    found, metrics = desk.count(job())
    assert found == desk.expected
    assert "fin1" in found
    assert (metrics.cache_hits, metrics.cache_misses) == (0, PARTS)


def test_what_does_not_fit_into_memory_is_found_on_disk(make: MakeDesk) -> None:
    desk = make("disk")
    desk.count(job())
    assert all(path.is_file() and not path.is_symlink() for path in desk.new)
    assert len(desk.new) == PARTS
    found, metrics = desk.count(job())
    assert found == desk.expected
    assert metrics.cache_hits == PARTS


def test_what_fits_lies_in_memory_within_the_budget(make: MakeDesk) -> None:
    desk = make("memory")
    desk.count(job())
    assert [path.resolve().parts[:3] for path in desk.new] == [("/", "dev", "shm")] * PARTS


def test_without_memory_nothing_is_kept(make: MakeDesk) -> None:
    desk = make("none")
    desk.count(job())
    found, metrics = desk.count(job())
    assert found == desk.expected
    assert (metrics.cache_hits, metrics.cache_misses, desk.new) == (0, PARTS, [])


@pytest.mark.parametrize("harm", ["changed", "cut short", "deleted"])
def test_a_kept_block_that_is_broken_is_made_again(make: MakeDesk, harm: str) -> None:
    desk = make("disk")
    desk.count(job())
    for path in desk.new[:2]:
        match harm:
            case "changed":
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            case "cut short":
                path.write_bytes(path.read_bytes()[:100])
            case _:
                path.unlink()
    found, metrics = desk.count(job())
    assert found == desk.expected
    assert (metrics.cache_hits, metrics.cache_misses) == (PARTS - 2, 2)
    # It was dropped, and what was made instead is kept.
    assert desk.count(job())[1].cache_hits == PARTS


def test_what_is_kept_outlives_the_executors(make: MakeDesk) -> None:
    desk = make()
    desk.count(job())
    executors = [
        child
        for child in psutil.Process().children(recursive=True)
        if "minispark.worker.executor" in child.cmdline()
    ]
    assert executors
    for child in executors:
        child.kill()
    psutil.wait_procs(executors)
    found, metrics = desk.count(job())
    assert found == desk.expected
    assert metrics.cache_hits == PARTS


def test_runs_of_cached_tasks_agree(make: MakeDesk) -> None:
    desk = make("twice")
    assert desk.count(job())[0] == desk.count(job())[0] == desk.expected
    assert isinstance(desk.runner, TwiceRunner)
    assert desk.runner.disagreements == ()
