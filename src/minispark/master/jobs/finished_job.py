"""A finished job: everything that is shown of it, and where its results are.

The same model is kept in memory and in the journal, so a job looks the same before and after a
restart of the master.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from minispark.blocks.meta import BlockSource
from minispark.ids import TaskKey
from minispark.journal.commits import sink_stages
from minispark.journal.journal import StoredJob
from minispark.journal.rows import Registration, SinkOutput
from minispark.logs import logger
from minispark.observe.failures import error_of
from minispark.observe.projection import ReaderGuard
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import BlockRef, FinishJob, JobStatus
from minispark.wire.messages import NodeBlocks

_log = logger("master")


class ResultLocation(BaseModel):
    """The worker that has a block."""

    worker: str
    key: TaskKey


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a job, before what is shown of it is frozen."""

    command: FinishJob
    results: list[NodeBlocks] = field(default_factory=list)
    sinks: list[SinkOutput] = field(default_factory=list)
    placed: list[ResultLocation] = field(default_factory=list)


class FinishedJob(BaseModel):
    """A finished job."""

    view: JobView
    stages: list[StageRow]
    metrics: JobMetrics
    results: list[NodeBlocks] = []
    sinks: list[SinkOutput] = []
    placed: list[ResultLocation] = []
    missing: tuple[str, ...] = Field(default=(), exclude=True)
    """Fields that could not be read or made."""

    @classmethod
    def of(cls, record: JobRecord, ending: Ending, *, at: float, guard: ReaderGuard) -> FinishedJob:
        """Return what a job's record shows in the end; a table that raises is left empty."""
        end = ending.command
        view = _bare_view(record.job_id, record.name, end.status.value, record.submitted_at, at)
        if end.failure is not None and end.status is JobStatus.FAILED:
            view.error = error_of(end.failure)
        outcome = cls(
            view=view,
            stages=[],
            metrics=_bare_metrics(view),
            results=ending.results,
            sinks=ending.sinks,
            placed=ending.placed,
            missing=("view", "stages", "metrics"),
        )
        outcome.complete(record, guard)
        return outcome

    def complete(self, record: JobRecord, guard: ReaderGuard) -> None:
        """Make missing fields from the record of the job; a field that raises stays missing."""
        tables: dict[str, Callable[[], object]] = {
            "view": record.view,
            "stages": record.stage_rows,
            "metrics": record.metrics,
        }
        if record.status is self.view.status:
            for name in tables.keys() & set(self.missing):
                guard.run(name, partial(self._fill, name, tables[name]), job=record.job_id)

    def _fill(self, name: str, make: Callable[[], object]) -> None:
        setattr(self, name, make())
        self.missing = tuple(other for other in self.missing if other != name)

    @classmethod
    def read(cls, job: StoredJob) -> FinishedJob:
        """Return a finished job as the journal has it, without fields that cannot be read."""
        with contextlib.suppress(ValidationError):
            return cls.model_validate_json(job.outcome or "")
        at = job.submitted_at if job.finished_at is None else job.finished_at
        view = _bare_view(job.job, job.name, job.status, job.submitted_at, at)
        outcome = cls(view=view, stages=[], metrics=_bare_metrics(view))
        plain = from_json(job.outcome or "{}")
        for name, model in cls.model_fields.items():
            if name == "missing":
                continue
            annotation: Any = model.annotation
            try:
                setattr(outcome, name, TypeAdapter(annotation).validate_python(plain[name]))
            except (ValidationError, KeyError, TypeError):
                outcome.missing += (name,)
        _log.warning("finished_job_read_in_part", job=job.job, missing=outcome.missing)
        return outcome


def _bare_view(job: str, name: str, status: str, submitted_at: float, at: float) -> JobView:
    """Return what is known of a finished job without its record."""
    done = JobStatus(status) is JobStatus.SUCCEEDED
    return JobView(
        job_id=job,
        name=name,
        status=JobStatus(status),
        progress=100.0 if done else 0.0,
        submitted_at=submitted_at,
        finished_at=at,
        duration_s=max(0.0, at - submitted_at),
    )


def _bare_metrics(view: JobView) -> JobMetrics:
    return JobMetrics(
        job_id=view.job_id,
        name=view.name,
        status=view.status,
        total_time_s=view.duration_s or 0.0,
        throughput_input_records_s=0.0,
        throughput_all_records_s=0.0,
        input_records=0,
        all_records=0,
        records={},
        stages=0,
        tasks=0,
        tasks_done=0,
        retries=0,
        failures={},
        bytes_read=0,
        bytes_shuffled=0,
    )


def node_results(
    graph: StageGraph, refs: Iterable[BlockRef], sources: Mapping[BlockRef, BlockSource]
) -> list[NodeBlocks]:
    """Return where the rows of each result are, in partition order."""
    by_stage: dict[int, list[BlockSource]] = {}
    for ref in sorted(refs, key=lambda ref: (ref.key.stage, ref.key.partition, ref.partition)):
        by_stage.setdefault(ref.key.stage, []).append(sources[ref])
    return [
        NodeBlocks(
            node=result.node,
            columns=result.columns,
            rows=sum(source.meta.rows for source in by_stage.get(result.stage, [])),
            blocks=tuple(by_stage.get(result.stage, [])),
        )
        for result in graph.results
        if result.stage not in sink_stages(graph)
    ]


def moved_outcome(
    outcome: FinishedJob, keys: Collection[TaskKey], holder: Registration
) -> FinishedJob:
    """Return a finished job whose blocks ``keys`` are on another worker."""
    results = []
    for result in outcome.results:
        blocks = tuple(
            replace(block, host=holder.host, directory=holder.directory, url=holder.url)
            if block.key in keys
            else block
            for block in result.blocks
        )
        results.append(result.model_copy(update={"blocks": blocks}))
    placed = [
        ResultLocation(worker=holder.worker, key=location.key) if location.key in keys else location
        for location in outcome.placed
    ]
    return outcome.model_copy(update={"results": results, "placed": placed})
