"""What the public routes answer, where it is not a view of `minispark.observe`."""

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
from minispark.observe.record import JobRecord
from minispark.observe.tables import Attempt
from minispark.observe.views import JobView, StageRow
from minispark.scheduler.commands import JobStatus


class ErrorAnswer(BaseModel):
    """What went wrong."""

    error: ErrorInfo


_ERROR = {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
"""By name: as a model, every route would build it anew, four times."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"content": {"application/json": _ERROR}} for status in (401, 403, 404, 422)
}
"""Answers that every route has, for the OpenAPI document."""


class Health(BaseModel):
    """The master lives."""

    status: str = "ok"


class Degraded(Health):
    """The master lives and takes nothing in just now."""

    status: str = "degraded"
    reason: str


class JobList(BaseModel):
    """Jobs, newest first; ``after`` asks for the next page, None on the last."""

    jobs: list[JobView]
    after: str | None = None


class StageTable(BaseModel):
    """One row per node of the DAG, then one per physical stage."""

    job_id: str
    stages: list[StageRow]


class TaskView(BaseModel):
    """One attempt of one task."""

    task: str
    """Its whole key: the name of the block that it writes."""
    stage: str
    """``id`` of its stage in the stage table."""
    generation: int
    partition: int
    attempt: int
    speculative: bool
    """It ran beside another attempt of its task, which took long."""
    worker: str
    status: str
    started_at: float
    finished_at: float | None
    duration_s: float | None
    error: ErrorInfo | None

    @classmethod
    def of(cls, attempt: Attempt, record: JobRecord) -> TaskView:
        """Describe an attempt; an error carries the last lines that it printed."""
        key, end = attempt.key, attempt.finished_at
        failure = attempt.failure
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
            finished_at=end,
            duration_s=None if end is None else max(0.0, end - attempt.started_at),
            error=None if failure is None else record.explain(failure, key),
        )


class TaskList(BaseModel):
    """Attempts as they were launched; ``after`` asks for the next page, None on the last."""

    job_id: str
    tasks: list[TaskView]
    after: str | None = None


class EventView(BaseModel):
    """One line of the journal."""

    seq: int
    kind: str
    at: float
    payload: Any
    """What happened; its fields hang on ``kind``."""
    decisions: list[Any]
    """What the scheduler decided then: lists, a command's kind first."""

    @classmethod
    def of(cls, row: JournalEvent) -> EventView:
        """Describe a row."""
        decided = json.loads(row.commands) if row.commands else []
        payload = json.loads(row.payload)
        return cls(seq=row.seq, kind=row.kind, at=row.at, payload=payload, decisions=decided)


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
    """What happened, in a word: `down`, `submitted`, `failed`, `restarted`, ..."""
    said: str
    """What happened, in a sentence about the worker, the job, the attempt or the master."""
    worker: str | None
    job_id: str | None
    job_name: str | None
    task: str | None
    """The attempt, as the task list names it."""
    kept: bool
    """Whether the job is still kept, so that it can be looked at."""

    @classmethod
    def of(cls, line: StoredEvent, *, kept: bool) -> NewsView:
        """Describe a line."""
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
    """What happened, newest first; ``after`` asks for the next page, None on the last."""

    events: list[NewsView]
    after: int | None = None


class NodeResult(BaseModel):
    """Rows that can be downloaded."""

    node: str
    columns: list[str]
    rows: int
    bytes: int
    partitions: int


class JobResults(BaseModel):
    """Where the output of a job is: files that it wrote, rows to download, or both."""

    job_id: str
    status: JobStatus
    sinks: list[SinkOutput]
    nodes: list[NodeResult]

    @classmethod
    def of(cls, outcome: FinishedJob) -> JobResults:
        """Describe the results of a finished job."""
        return cls(
            job_id=outcome.view.job_id,
            status=outcome.view.status,
            sinks=outcome.sinks,
            nodes=[
                NodeResult(
                    node=result.node,
                    columns=list(result.columns),
                    rows=result.rows,
                    bytes=sum(block.meta.length for block in result.blocks),
                    partitions=len(result.blocks),
                )
                for result in outcome.results
            ],
        )


class WorkerView(WorkerFigures):
    """A worker, where it is, and all that it said of itself."""

    url: str
    epoch: int
    full: str | None
    """Why it takes no work: its disk or its memory."""
    excluded: bool
    """Too much failed on it: it gets no work for a while, if anybody else can do it."""
    metrics: dict[str, float]

    @classmethod
    def of(cls, entry: WorkerSession, *, now: float, excluded: bool) -> WorkerView:
        """Describe a worker; ``now`` is monotonic."""
        return cls(
            **worker_figures(entry, now=now).model_dump(),
            url=entry.url,
            epoch=entry.epoch,
            full=entry.full,
            excluded=excluded,
            metrics=entry.metrics,
        )


class WorkerList(BaseModel):
    """All workers that registered with this master."""

    workers: list[WorkerView]
