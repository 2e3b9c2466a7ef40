"""JSON jobs on this machine: planned, and run in this process or in executor processes.

A job that reads little and asks for no number of partitions is one Polars query in this process:
starting others would take longer than the query. Its stage table then has one task, in which
every node ran, and what it writes is one part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import polars as pl

from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.clock import monotonic_s, wall_s
from minispark.engines.in_process import WHOLE_BYTES, collect_whole
from minispark.ids import TaskKey, job_id
from minispark.jobs import JsonJob, compile_job, parse_job, plan_job
from minispark.jobs.operators import Read
from minispark.jobs.paths import find_inputs
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, StageRow
from minispark.plan.counters import counting
from minispark.plan.stages import Branch, Label, Output, OutputKind, SinkSpec, Stage, StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.task.sinks import abort, commit, prepare, sink_directory, write_part
from minispark.task.spec import TaskReport


@dataclass(frozen=True, slots=True)
class LocalRun:
    """How a job went. ``frame`` is None where its rows were written as files."""

    frame: pl.DataFrame | None
    rows: tuple[StageRow, ...]
    metrics: JobMetrics
    where: str


def run_local(job: Mapping[str, Any]) -> LocalRun:
    """Run a JSON job of one result."""
    parsed = parse_job(job)
    if parsed.parallelism is None and _reads_little(parsed):
        return _in_process(parsed)
    from minispark.engines.local import LocalRunner

    with LocalRunner() as runner:
        outcome = runner.run(plan_job(job), name=parsed.name)
        figures = outcome.figures()
        return LocalRun(
            frame=outcome.frame() if outcome.nodes else None,
            rows=figures.stages,
            metrics=figures.metrics,
            where=f"ran in {runner.slots} processes of this machine",
        )


def _reads_little(job: JsonJob) -> bool:
    files = [
        file
        for node in job.nodes
        if isinstance(node, Read)
        for file in find_inputs(node, None).files
    ]
    return sum(Path(file).stat().st_size for file in files) < WHOLE_BYTES


def _in_process(job: JsonJob) -> LocalRun:
    compiled = compile_job(job)
    (result,) = compiled.outputs
    stage = Stage(
        id=0,
        name="query",
        branches=(Branch(b"", 1),),
        output=Output(OutputKind.SINGLE),
        label=Label.DETERMINATE,
        nodes=tuple(compiled.flow),
    )
    record = JobRecord("local", job.name, StageGraph((stage,), (), flow=compiled.flow), wall_s())
    key = TaskKey(job_id(token_hex(4), 0, 0), 0, 0, 0, 0)
    record.launched(key, "this process", wall_s())
    start = monotonic_s()
    if result.sink is not None:
        prepare(sink_directory(result.sink, None), overwrite=result.sink.overwrite)
    with counting() as counts:
        frame = collect_whole(result.frame)
    if result.sink is not None:
        _write(frame, result.sink, key)
    report = TaskReport(
        key,
        BlockMeta((PartitionMeta(0, 0, frame.height, 0),)),
        nodes=dict(counts),
        duration_s=monotonic_s() - start,
    )
    record.succeeded(report, "this process", wall_s())
    record.finished(JobStatus.SUCCEEDED, None, wall_s())
    shown = frame if result.sink is None else None
    return LocalRun(shown, tuple(record.stage_rows()), record.metrics(), "ran in this process")


def _write(frame: pl.DataFrame, sink: SinkSpec, key: TaskKey) -> None:
    """Publish rows as the one part of a sink, as whole or absent as any job's."""
    directory = sink_directory(sink, None)
    try:
        file = write_part(frame, sink, key=key, data_root=None)
        files = [] if file is None else [file]
        commit(files, directory=directory, job=key.job, overwrite=sink.overwrite)
    finally:
        abort(directory, key.job)
