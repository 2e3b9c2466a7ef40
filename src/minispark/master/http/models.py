"""Answers of the public routes that are not in `minispark.observe`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from minispark.errors import ErrorInfo
from minispark.journal.cluster_event import About, StoredEvent
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import SinkOutput
from minispark.master.control.registry import WorkerSession
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.views.metrics import worker_figures
from minispark.observe.cluster import WorkerFigures
from minispark.observe.live_progress import RunningAttempt
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import Attempt
from minispark.observe.stage_totals import rows_out
from minispark.observe.views import JobView, StageRow
from minispark.scheduler.commands import JobStatus
from minispark.ui import OutputRows
from minispark.wire.messages import NodeBlocks, Versions, WorkerFacts


class ErrorAnswer(BaseModel):
    """An error."""

    error: ErrorInfo


_ERROR = {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
"""A reference: as a model, each route would build the schema four times."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"content": {"application/json": _ERROR}} for status in (401, 403, 404, 422)
}
"""Errors of every route, for the OpenAPI document."""


class Health(BaseModel):
    """The master lives."""

    status: str = "ok"


class Degraded(Health):
    """The master lives, but cannot take jobs at the moment."""

    status: str = "degraded"
    reason: str


class JobList(BaseModel):
    """Jobs, newest first; ``after`` asks for the next page, None on the last."""

    jobs: list[JobView]
    after: str | None = None
    total: int = 0
    """Jobs on all pages."""


class StageTable(BaseModel):
    """One row per node of the DAG, then one per physical stage."""

    job_id: str
    stages: list[StageRow]


class TaskView(BaseModel):
    """One attempt of one task."""

    task: str
    """Key of the attempt: the name of the block that it writes."""
    stage: str
    """``id`` of the stage in the stage table."""
    generation: int
    partition: int
    attempt: int
    """Counted from 0, as in ``task``; pages, messages and logs count from 1."""
    speculative: bool
    """Whether it is a second attempt beside a slow one."""
    worker: str
    status: str
    started_at: float
    finished_at: float | None
    duration_s: float | None
    """Time that it ran; None before its end, and if it was lost with its worker."""
    error: ErrorInfo | None
    queued_s: float | None = None
    """Time between its launch and its start."""
    cpu_s: float | None = None
    """CPU time of all its threads. None where it is not measured, as the next two."""
    peak_memory_bytes: int | None = None
    """Highest resident memory of its process; mapped blocks count."""
    bytes_spilled: int | None = None
    """Bytes that Polars moved to disk for lack of memory."""
    rows_in: int | None = None
    """Rows of blocks, as the next four: of an attempt that succeeded."""
    rows_out: int | None = None
    bytes_read: int | None = None
    """Bytes of input files."""
    block_bytes_read: int | None = None
    """Bytes of blocks of earlier stages."""
    bytes_written: int | None = None
    """Bytes of its block or output file."""
    ran_s: float | None = None
    """Of an attempt that runs now: how long it has run. None while it is queued."""
    progress: float | None = None
    """Percent of its input that a running attempt has read, None if that is not known."""
    rows_so_far: int | None = None
    """Records that a running attempt has read of input files."""
    bytes_so_far: int | None = None
    """Bytes that a running attempt has read of files and blocks."""

    @classmethod
    def of(
        cls, attempt: Attempt, record: JobRecord, running: RunningAttempt | None = None
    ) -> TaskView:
        """Return the view of an attempt; its error has the last lines that it printed."""
        key, failure, usage = attempt.key, attempt.failure, attempt.usage
        report = record.stages[key.stage].reports.get(key.partition)
        if report is not None and report.key != key:
            report = None
        return cls(
            task=key.block_id,
            stage=f"stage-{key.stage}",
            generation=key.generation,
            partition=key.partition,
            attempt=key.attempt,
            speculative=attempt.speculative,
            worker=attempt.worker,
            status=attempt.status,
            started_at=attempt.started_at,
            finished_at=attempt.finished_at,
            duration_s=attempt.took_s,
            error=None if failure is None else record.explain(failure, key),
            queued_s=attempt.queued_s,
            cpu_s=None if usage is None else usage.cpu_s,
            peak_memory_bytes=None if usage is None else usage.peak_memory_bytes,
            bytes_spilled=None if usage is None else usage.bytes_spilled,
            rows_in=None if report is None else report.rows_in,
            rows_out=None if report is None else rows_out(report),
            bytes_read=None if report is None else report.bytes_read,
            block_bytes_read=None if report is None else report.block_bytes_read,
            bytes_written=None if report is None else report.bytes_written,
            **({} if running is None else _so_far(running)),
        )


def _so_far(running: RunningAttempt) -> dict[str, Any]:
    return {
        "ran_s": running.ran_s,
        "progress": None if running.share is None else round(100.0 * running.share, 1),
        "rows_so_far": running.rows_read,
        "bytes_so_far": running.bytes_read,
    }


class TaskList(BaseModel):
    """Attempts in launch order; ``after`` asks for the next page, None on the last."""

    job_id: str
    tasks: list[TaskView]
    after: str | None = None
    total: int = 0
    """Attempts on all pages."""


class EventView(BaseModel):
    """One row of the journal."""

    seq: int
    kind: str
    at: float
    payload: Any
    """What happened; its fields depend on ``kind``."""
    decisions: list[Any]
    """Commands of the scheduler: lists, the command's kind first."""

    @classmethod
    def of(cls, row: JournalEvent) -> EventView:
        """Return the view of a row."""
        decisions = json.loads(row.commands) if row.commands else []
        payload = json.loads(row.payload)
        return cls(seq=row.seq, kind=row.kind, at=row.at, payload=payload, decisions=decisions)


class EventList(BaseModel):
    """Events of a job, oldest first; ``after`` asks for the next page, None on the last."""

    job_id: str
    events: list[EventView]
    after: int | None = None


class NewsView(BaseModel):
    """Something that happened in the cluster."""

    id: int
    at: float
    about: About
    kind: str
    """One word: `down`, `submitted`, `failed`, `restarted`, ..."""
    said: str
    """A sentence about the worker, the job, the attempt or the master."""
    worker: str | None
    job_id: str | None
    job_name: str | None
    task: str | None
    """The attempt, as named in the task list."""
    kept: bool
    """Whether the master still has the job."""

    @classmethod
    def of(cls, line: StoredEvent, *, kept: bool) -> NewsView:
        """Return the view of a stored event."""
        news = line.news
        return cls(
            id=line.number,
            at=line.at,
            about=news.about,
            kind=news.kind,
            said=news.said,
            worker=news.worker,
            job_id=news.job,
            job_name=news.name,
            task=news.task,
            kept=kept,
        )


class NewsList(BaseModel):
    """Cluster events, newest first; ``after`` asks for the next page, None on the last."""

    events: list[NewsView]
    after: int | None = None


class NodeResult(OutputRows):
    """Rows that can be downloaded."""

    partitions: int

    @classmethod
    def of(cls, result: NodeBlocks) -> NodeResult:
        """Describe the rows of a result."""
        return cls(
            node=result.node,
            columns=list(result.columns),
            rows=result.rows,
            bytes=sum(block.meta.length for block in result.blocks),
            partitions=len(result.blocks),
        )


class JobResults(BaseModel):
    """The output of a job: files that it wrote, rows to download, or both."""

    job_id: str
    status: JobStatus
    sinks: list[SinkOutput]
    nodes: list[NodeResult]

    @classmethod
    def of(cls, outcome: FinishedJob) -> JobResults:
        """Return the results of a finished job."""
        return cls(
            job_id=outcome.view.job_id,
            status=outcome.view.status,
            sinks=outcome.sinks,
            nodes=[NodeResult.of(result) for result in outcome.results],
        )


class WorkerView(WorkerFigures):
    """A worker, its address, and the metrics of its last heartbeat."""

    url: str
    epoch: int
    full: str | None
    """Why it takes no work: its disk or its memory."""
    excluded: bool
    """Whether it gets no work for a while because too many tasks failed on it."""
    metrics: dict[str, float]
    facts: WorkerFacts | None = None
    """Its machine and limits; None of a worker of an earlier release."""
    versions: Versions | None = None

    @classmethod
    def of(cls, session: WorkerSession, *, now: float, excluded: bool) -> WorkerView:
        """Return the view of a worker; ``now`` is monotonic."""
        return cls(
            **worker_figures(session, now=now).model_dump(),
            url=session.url,
            epoch=session.epoch,
            full=session.full,
            excluded=excluded,
            metrics=session.metrics,
            facts=session.registration.facts,
            versions=session.registration.versions,
        )


class WorkerList(BaseModel):
    """All workers that the master knows."""

    workers: list[WorkerView]
