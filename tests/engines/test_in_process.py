"""A small job runs in this process, and everything else about it is as on any runner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from minispark.engines.in_process import InProcessRunner
from minispark.engines.whole import fits_whole
from minispark.errors import JobFailedError
from minispark.jobs import plan_job
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

_LIMIT = 1 << 28
TEXT = "text\n" + "to be or not to be\n" * 50


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.csv"
    path.write_text(TEXT)
    return path


@pytest.fixture
def runner() -> Iterator[InProcessRunner]:
    runner = InProcessRunner()
    yield runner
    runner.close()


def word_count(text: Path, *last: dict[str, Any]) -> StageGraph:
    nodes = [
        {"id": "read", "op": "read_csv", "path": str(text)},
        {"id": "split", "op": "flat_map", "fn": "split_words"},
        {"id": "count", "op": "reduce_by_key", "key": "token", "fn": "sum"},
        *last,
    ]
    ids = [node["id"] for node in nodes]
    job = {"dag": {"nodes": nodes, "edges": list(map(list, pairwise(ids)))}}
    return plan_job(job, settings=PlanSettings(single_task_bytes=_LIMIT))


def test_a_small_json_job_is_one_task_of_this_process(text: Path, runner: InProcessRunner) -> None:
    graph = word_count(text)
    assert [stage.partitions for stage in graph.stages] == [1]
    assert fits_whole(graph, limit_bytes=_LIMIT)
    outcome = runner.run(graph, name="words")
    counts = dict(outcome.frame().rows())
    assert counts == {"to": 100, "be": 100, "or": 50, "not": 50}
    summary = outcome.summary()
    records = {row.id: row.records_out for row in summary.stages if row.kind == "node"}
    assert records == {"read": 50, "split": 300, "count": 4}
    assert summary.metrics.bytes_read == len(TEXT)


def test_tasks_have_the_process_of_their_caller(runner: InProcessRunner) -> None:
    def pids(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pid=pl.lit(os.getpid()))

    frame = pl.LazyFrame({"n": [1, 2]}).map_batches(pids, schema={"n": pl.Int64, "pid": pl.Int32})
    graph = plan_outputs([PlanOutput("out", frame)])
    assert runner.run(graph, name="pids").frame()["pid"].unique().to_list() == [os.getpid()]


def test_python_functions_of_several_tasks_are_worth_processes(text: Path) -> None:
    query = pl.scan_csv(text).map_batches(lambda rows: rows)
    for partitions in (1, 2):
        settings = PlanSettings(parallelism=partitions, single_task_bytes=0)
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        assert fits_whole(graph, limit_bytes=_LIMIT) == (partitions == 1)


def test_stages_of_a_job_take_turns(text: Path, runner: InProcessRunner) -> None:
    words = pl.scan_csv(text).select(pl.col("text").str.split(" ").alias("w")).explode("w")
    query = words.group_by("w").len()
    settings = PlanSettings(parallelism=4, single_task_bytes=0)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    assert len(graph.stages) > 1
    found = runner.run(graph, name="words").frame()
    assert dict(found.rows()) == {"to": 100, "be": 100, "or": 50, "not": 50}


def test_files_are_published_as_by_any_engine(
    text: Path, tmp_path: Path, runner: InProcessRunner
) -> None:
    out = tmp_path / "out"
    outcome = runner.run(
        word_count(text, {"id": "write", "op": "write_csv", "path": str(out)}), name="words"
    )
    assert outcome.nodes == ()
    assert sorted(path.name.partition(".")[0] for path in out.iterdir()) == [
        "_SUCCESS",
        "part-00000",
    ]


def test_a_task_that_fails_ends_its_job(text: Path, runner: InProcessRunner) -> None:
    graph = word_count(text)
    text.unlink()
    with pytest.raises(JobFailedError, match=text.name):
        runner.run(graph, name="words")
    text.write_text(TEXT)
    assert runner.run(word_count(text), name="words").frame().height == 4
