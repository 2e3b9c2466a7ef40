"""A user's job, run once without faults and once under faults, and the differences."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from minispark.engines.base import sinks_of
from minispark.engines.http import MasterClient
from minispark.jobs import plan_job
from minispark.plan.stages import Label, StageGraph
from minispark.testing.chaos.fault_run import FaultRun, InjectedFault, read_rows, run_under_faults
from minispark.testing.chaos.faults import draw
from minispark.testing.chaos.faulty_cluster import FaultyCluster

_READERS: Mapping[str, Callable[[str], pl.DataFrame]] = {
    "csv": lambda files: pl.read_csv(files, infer_schema=False),
    "jsonl": pl.read_ndjson,
    "parquet": pl.read_parquet,
}
_TASKS_PER_WORKER = 4
"""For a job without a number of partitions: enough tasks for faults to strike between them."""

Receipt = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The options of a trial."""

    seed: int
    workers: int = 3
    faults: int = 5


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """The result of a trial: ``differences`` is empty if both answers are equal."""

    quiet: FaultRun
    shaken: FaultRun
    rows: int
    differences: tuple[str, ...]
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of each result, and the rows and row checksums of its blocks."""

    frames: Mapping[str, pl.DataFrame]
    receipts: Mapping[str, tuple[Receipt, ...]]


def try_job(
    job: Mapping[str, Any],
    settings: TrialSettings,
    folder: Path,
    *,
    on_fault: Callable[[InjectedFault], None] = lambda _: None,
) -> TrialVerdict:
    """Run a JSON job twice and compare. Its files go to ``folder`` instead of its own paths.

    Raises
    ------
    MinisparkError
        The job is invalid, or fails.
    """
    job = dict(job)
    job.setdefault("parallelism", settings.workers * _TASKS_PER_WORKER)
    payloads = [_redirected(job, folder / "out" / name) for name in ("quiet", "shaken")]
    graphs = [plan_job(payload) for payload in payloads]
    spared = {result.stage for result in graphs[0].results}
    steps = draw(settings.seed, 0, faults=settings.faults)
    name = str(job.get("name", "job"))
    cluster = FaultyCluster(folder / "cluster", workers=settings.workers)
    with cluster:
        quiet = run_under_faults(cluster, payloads[0], (), name=name)
        expected = _answer(cluster, quiet, graphs[0])
        shaken = run_under_faults(
            cluster, payloads[1], steps, name=name, spared=spared, on_fault=on_fault
        )
        answer = _answer(cluster, shaken, graphs[1])
    return TrialVerdict(
        quiet,
        shaken,
        sum(frame.height for frame in expected.frames.values()),
        tuple(differences(graphs[0], expected, answer)),
        tuple(cluster.leftovers()),
    )


def _redirected(job: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return a copy of a job that writes to ``out``."""
    copied: dict[str, Any] = copy.deepcopy(dict(job))
    dag = copied.get("dag")
    nodes = dag.get("nodes") if isinstance(dag, dict) else None
    for number, node in enumerate(nodes if isinstance(nodes, list) else []):
        if isinstance(node, dict) and str(node.get("op", "")).startswith("write_"):
            node["path"] = str(out / str(number))
    return copied


def _answer(cluster: FaultyCluster, run: FaultRun, graph: StageGraph) -> Answer:
    sinks = sinks_of(graph)
    frames, receipts = {}, {}
    with MasterClient(cluster.url, token=cluster.token) as client:
        for result in graph.results:
            if result.node in sinks:
                stage = next(stage for stage in graph.stages if stage.id == result.stage)
                assert stage.output.sink is not None  # noqa: S101 - it is one of the sinks
                frames[result.node] = _read_parts(sinks[result.node], stage.output.sink.format)
                continue
            frames[result.node] = read_rows(cluster, run.job_id, node=result.node)
            blocks, _ = client.result_blocks(run.job_id, result.node)
            receipts[result.node] = tuple((b.meta.rows, b.meta.rows_checksum) for b in blocks)
    return Answer(frames, receipts)


def _read_parts(directory: str, form: str) -> pl.DataFrame:
    return _READERS[form](f"{directory}/part-*.{form}")


def differences(graph: StageGraph, expected: Answer, answer: Answer) -> list[str]:
    """Return where two answers differ more than the plan allows."""
    texts = []
    labels = {stage.id: stage.label for stage in graph.stages}
    for result in graph.results:
        node, label = result.node, labels[result.stage]
        if expected.receipts.get(node) != answer.receipts.get(node):
            texts.append(f"{node}: the blocks of the result have other rows or checksums")
        try:
            assert_frame_equal(
                answer.frames[node],
                expected.frames[node],
                check_row_order=label is Label.DETERMINATE,
            )
        except AssertionError as error:
            texts.append(f"{node}: {error}")
    if texts and Label.INDETERMINATE in labels.values():
        texts.append("the plan says that this job may give other rows each time it runs")
    return texts
