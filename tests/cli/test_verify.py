"""``minispark verify``: jobs that give the same again, and jobs that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.client.local_cluster import LocalCluster
from minispark.ids import TaskKey
from minispark.journal.rows import Row, SuccessRow
from minispark.observe.receipts import compare, receipts_of
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import Branch, Label, Output, OutputKind, SinkSpec, Stage, StageGraph
from minispark.settings import PlanSettings
from minispark.task.spec import TaskReport

from .conftest import Minispark, Ran


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(2, threads=1, directory=tmp_path_factory.mktemp("cluster")) as running:
        yield running


def plan(query: pl.LazyFrame, sink: SinkSpec | None = None) -> StageGraph:
    settings = PlanSettings(parallelism=3, single_task_bytes=0, broadcast_bytes=0)
    return plan_outputs([PlanOutput("out", query, sink)], settings=settings)


def declared(graph: StageGraph, label: Label) -> StageGraph:
    return replace(graph, stages=tuple(replace(stage, label=label) for stage in graph.stages))


def verified(minispark: Minispark, cluster: LocalCluster, *arguments: str) -> Ran:
    own = {"MINISPARK_MASTER": cluster.url, "MINISPARK_TOKEN": cluster.token}
    return minispark("verify", *arguments, **own)


def run(cluster: LocalCluster, graph: StageGraph) -> str:
    job_id = cluster.client.submit_planned(graph, name="first")
    view = cluster.client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    return job_id


@pytest.fixture
def words(tmp_path: Path) -> Path:
    folder = tmp_path / "words"
    folder.mkdir()
    for part in range(3):
        pl.DataFrame({"w": [f"w{n % 20}" for n in range(100)], "x": range(100)}).write_csv(
            folder / f"{part}.csv"
        )
    return folder


@pytest.mark.process
def test_what_gives_the_same_again_is_said_and_nothing_is_published(
    minispark: Minispark, cluster: LocalCluster, words: Path, tmp_path: Path
) -> None:
    query = pl.scan_csv(words / "*.csv").group_by("w").agg(pl.sum("x"), pl.mean("x").alias("m"))
    out = tmp_path / "out"
    job_id = run(cluster, plan(query, SinkSpec("csv", str(out))))
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    # The plan and the receipts are in the journal: another master knows them too.
    cluster.restart_master()
    done = verified(minispark, cluster, job_id)
    assert done.returncode == 0, done.stderr
    assert "gave the same result again" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    found = json.loads(verified(minispark, cluster, job_id, "--json").stdout)
    assert found["equal"]
    assert {stage["status"] for stage in found["stages"]} == {"equal"}
    assert sum(stage["tasks"] for stage in found["stages"]) >= 6
    # What was written counts, not only what was exchanged.
    assert found["stages"][-1]["rows"] == 20


def _remembering(memory: Path) -> pl.LazyFrame:
    """A query that gives another row once ``memory`` is there."""

    def other(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(w=pl.lit("late")) if memory.exists() else rows

    return pl.LazyFrame({"w": ["soon"], "x": [1.5]}).map_batches(other)


@pytest.mark.process
@pytest.mark.parametrize("written", ["rows", "csv"])
def test_what_does_not_is_named_row_by_row(
    minispark: Minispark, cluster: LocalCluster, tmp_path: Path, written: str
) -> None:
    memory = tmp_path / "memory"
    sink = None if written == "rows" else SinkSpec(written, str(tmp_path / "out"))
    graph = plan(_remembering(memory), sink)
    lying = run(cluster, declared(graph, Label.UNORDERED))
    honest = run(cluster, declared(graph, Label.INDETERMINATE)) if sink is None else None
    memory.touch()
    done = verified(minispark, cluster, lying)
    assert done.returncode == 1
    assert "out: only in the first run: soon" in done.stdout
    assert "out: only in the second run: late" in done.stdout
    assert "did NOT give the same result" in done.stdout
    found = json.loads(verified(minispark, cluster, lying, "--json").stdout)
    assert not found["equal"]
    assert found["stages"][-1]["differing"] == [0]
    if honest is not None:
        said = verified(minispark, cluster, honest)
        assert said.returncode == 0
        assert "may differ" in said.stdout


@pytest.mark.process
def test_what_cannot_be_verified_says_why(
    minispark: Minispark, cluster: LocalCluster, words: Path
) -> None:
    job_id = run(cluster, plan(pl.scan_csv(words / "*.csv").group_by("w").len()))
    pl.DataFrame({"w": ["new"], "x": [1]}).write_csv(words / "0.csv")
    done = verified(minispark, cluster, job_id)
    assert done.returncode == 1
    assert "changed" in done.stderr
    failed = cluster.client.jobs()[0]
    assert failed.name == "verify first"
    done = verified(minispark, cluster, failed.job_id)
    assert done.returncode == 1
    assert "FAILED" in done.stderr
    assert verified(minispark, cluster, "job-nowhere-1-1").returncode == 1


def test_receipts_are_compared_as_the_labels_promise() -> None:
    def rows_of(*parts: tuple[int, int | None]) -> list[Row]:
        given = BlockMeta(tuple(PartitionMeta(0, 0, rows, 0, checksum) for rows, checksum in parts))
        report = TaskReport(TaskKey("j", 0, 0, 0, 0), given)
        late = SuccessRow(worker="w", report=replace(report, block=BlockMeta(())), counted=False)
        first = SuccessRow(worker="w", report=report)
        return [Row(number, 1.0, "j", one) for number, one in enumerate((first, late))]

    def status(label: Label, *parts: tuple[int, int | None]) -> tuple[str, str]:
        output = Output(OutputKind.HASH, partitions=2)
        graph = StageGraph((Stage(0, "map", (Branch(b"", 1),), output, label),), ())
        first, second = (receipts_of(graph, rows_of(*given)) for given in (START, parts))
        (found,) = compare(graph, first, second)
        return found.status, found.what

    assert status(Label.UNORDERED, *START) == ("equal", "")
    assert status(Label.UNORDERED, (3, 7), (1, None)) == ("equal", "")
    assert status(Label.DETERMINATE, (3, 8), (1, 9))[0] == "differs"
    assert "gave 4 rows and then 5" in status(Label.UNORDERED, (3, 7), (2, 9))[1]
    assert "distributed" in status(Label.UNORDERED, (2, 7), (2, 9))[1]
    assert status(Label.INDETERMINATE, (9, 9), (9, 9)) == ("may differ", "")


START = ((3, 7), (1, 9))
