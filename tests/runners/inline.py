"""Runs a StageGraph in this process, one task after another: the simplest engine there is.

It shares the task runner and the block format with the real engines, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.meta import BlockSource
from minispark.blocks.port import BlockFiles
from minispark.ids import TaskKey
from minispark.plan.stages import ReadMode, Stage, StageGraph, StageInput
from minispark.task.run import run_task
from minispark.task.spec import TaskInput, TaskReport, TaskSpec, scan_task


@dataclass(slots=True)
class InlineRun:
    """Results by node, rows counted by node, and the report of every task."""

    results: dict[str, pl.DataFrame] = field(default_factory=dict)
    nodes: Counter[str] = field(default_factory=Counter)
    reports: dict[tuple[int, int], TaskReport] = field(default_factory=dict)


def run_inline(
    graph: StageGraph,
    directory: Path,
    *,
    data_root: Path | None = None,
    job: str = "job-inline-0-0",
    run_one: Callable[[TaskSpec], TaskReport] | None = None,
) -> InlineRun:
    """Run every task of ``graph`` in topological order; blocks go to ``directory``.

    ``run_one`` replaces `run_task`.

    Raises
    ------
    Exception
        All exceptions of `run_task`.
    """
    run = InlineRun()
    files = BlockFiles(directory, FetchSettings())
    for stage in graph.stages:
        for partition in range(stage.partitions):
            spec = _spec(graph, stage, partition, run, directory, data_root, job)
            report = run_one(spec) if run_one else run_task(spec, port=files)
            run.reports[stage.id, partition] = report
            run.nodes.update(report.nodes)
    for result in graph.results:
        run.results[result.node] = _result(graph, result.stage, run, directory)
    return run


def _spec(
    graph: StageGraph,
    stage: Stage,
    partition: int,
    run: InlineRun,
    directory: Path,
    data_root: Path | None,
    job: str,
) -> TaskSpec:
    branch, number = stage.branch_of(partition)
    inputs = tuple(
        TaskInput(
            entry.leaf,
            entry.stage,
            0,
            _sources(graph, entry, number, run, directory),
            entry.take,
        )
        for entry in branch.inputs
    )
    return TaskSpec(
        key=TaskKey(job, stage.id, 0, partition, 0),
        fragment=branch.fragment,
        scans=tuple(scan_task(scan, number) for scan in branch.scans),
        inputs=inputs,
        output=stage.output,
        optimizations=stage.optimizations,
        block_directory=str(directory),
        data_root=None if data_root is None else str(data_root),
    )


def _sources(
    graph: StageGraph, entry: StageInput, number: int, run: InlineRun, directory: Path
) -> tuple[BlockSource, ...]:
    count = graph.stages[entry.stage].partitions
    tasks = [number] if entry.mode is ReadMode.FORWARD else range(count)
    return tuple(
        _source(run.reports[entry.stage, task], part, directory)
        for part in entry.parts(number)
        for task in tasks
    )


def _source(report: TaskReport, part: int, directory: Path) -> BlockSource:
    host = FetchSettings().host
    return BlockSource(report.key, part, report.block.partitions[part], host, str(directory))


def _result(graph: StageGraph, stage: int, run: InlineRun, directory: Path) -> pl.DataFrame:
    reports = [run.reports[stage, task] for task in range(graph.stages[stage].partitions)]
    if any(report.sink is not None for report in reports):
        return pl.DataFrame()
    frames = [
        read_block(_source(report, 0, directory), settings=FetchSettings()) for report in reports
    ]
    filled = [frame for frame in frames if frame.height] or frames[:1]
    return pl.concat(filled, how="vertical")
