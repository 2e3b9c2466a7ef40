"""The types of the journal's rows, and their JSON.

A row is one event that the scheduler took in, with its evidence, and the decisions that followed. A
replay gives the event to the scheduler again; the decisions must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from minispark.blocks.cache_hits import CacheHit
from minispark.journal.decisions import Decision, Unknown, decode_decisions
from minispark.journal.journal import JournalEvent
from minispark.scheduler.commands import (
    CancelTask,
    CommitJob,
    FinishJob,
    LaunchTask,
    ReportAccepted,
    ReportDropped,
    WorkerDown,
)
from minispark.scheduler.events import (
    Event,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec
from minispark.task.spec import SinkFile, TaskFailure, TaskReport
from minispark.wire.messages import RegisterRequest, Versions, WorkerFacts

_CONFIG = ConfigDict(val_json_bytes="base64", extra="ignore", defer_build=True)


class Manifest(BaseModel):
    """The files of one sink stage that a commit publishes."""

    stage: int
    directory: str
    overwrite: bool
    files: list[SinkFile]


class SinkOutput(BaseModel):
    """Files that a job wrote; ``node`` is their result node, if it has a name."""

    node: str | None = None
    path: str
    format: str
    files: list[str]
    """Names within ``path``, in partition order."""
    rows: int
    bytes: int


class Registration(BaseModel):
    """The registration of a worker, with its new epoch."""

    worker: str
    epoch: int
    slots: int
    url: str
    host: str
    """Identity of the machine: readers of the same one may map blocks."""
    directory: str
    facts: WorkerFacts | None = None
    versions: Versions | None = None

    @classmethod
    def of(cls, request: RegisterRequest, epoch: int) -> Registration:
        """Return the registration of a request."""
        return cls(
            worker=request.worker_id,
            epoch=epoch,
            slots=request.slots,
            url=request.url,
            host=request.host,
            directory=request.directory,
            facts=request.facts,
            versions=request.versions,
        )

    def event(self) -> WorkerRegistered:
        """Tell the scheduler."""
        return WorkerRegistered(self.worker, self.epoch, self.slots)


class _Report(BaseModel):
    model_config = _CONFIG
    worker: str
    epoch: int = 0
    counted: bool | None = Field(default=None, exclude=True)
    """Whether the scheduler accepted it, from version 4; later versions have a decision for it."""


class SuccessRow(_Report):
    """The report of a successful attempt."""

    report: TaskReport

    def event(self) -> TaskSucceeded:
        """Tell the scheduler."""
        inputs = tuple((read.stage, read.generation) for read in self.report.inputs)
        took_s = self.report.duration_s
        return TaskSucceeded(
            self.report.key, self.worker, self.epoch, self.report.block.receipt, inputs, took_s
        )


class FailureRow(_Report):
    """The report of a failed attempt."""

    report: TaskFailure

    def event(self) -> TaskFailed:
        """Tell the scheduler."""
        inputs = tuple((read.stage, read.generation) for read in self.report.inputs)
        return TaskFailed(self.report.key, self.worker, self.epoch, self.report.failure, inputs)


class Submission(BaseModel):
    """A job as the scheduler gets it, and the cached blocks that it uses (``found``)."""

    model_config = _CONFIG
    job: JobSpec
    found: tuple[CacheHit, ...] = ()

    def event(self) -> JobSubmitted:
        """Tell the scheduler."""
        return JobSubmitted(self.job)


class CommitRow(BaseModel):
    """The files that a commit will publish."""

    manifests: list[Manifest]


class PublishedRow(BaseModel):
    """The files that a commit has published."""

    sinks: list[SinkOutput]


class EventRow(RootModel[Event]):
    """The payload of a row whose event needs no other evidence."""


Evidence = Registration | SuccessRow | FailureRow | Submission
"""An event with everything that was reported; ``event()`` reduces it for the scheduler."""
Happening = Evidence | CommitRow | PublishedRow | Event | Unknown
_MODELS: dict[str, type[BaseModel]] = {
    "job_submitted": Submission,
    "worker_registered": Registration,
    "task_succeeded": SuccessRow,
    "task_failed": FailureRow,
    "commit_job": CommitRow,
    "job_published": PublishedRow,
}
_EVENTS: dict[str, type[Event]] = {
    event.__dataclass_fields__["kind"].default: event
    for event in get_args(Event)
    if event not in (TaskSucceeded, TaskFailed, WorkerRegistered, JobSubmitted)
}


class Row(NamedTuple):
    """One row: an event and the decisions that followed. Readers fold rows in order.

    A tuple, as the master creates one for each report.
    """

    seq: int
    at: float
    """Seconds since the epoch."""
    job: str
    """The job of the event, empty for none."""
    happening: Happening
    decisions: tuple[Decision, ...] = ()
    excluded: frozenset[str] = frozenset()
    """Workers that are excluded after this step."""
    jobs: tuple[str, ...] = ()
    """The jobs that it may change. Empty, like ``excluded``, in a row from the journal."""

    def about(self, live: Iterable[str]) -> tuple[str, ...]:
        """Return the jobs that the row may change; ``live`` are the running jobs."""
        return jobs_of(self.happening, self.job, self.decisions, lambda: live)

    @property
    def accepted(self) -> bool:
        """Whether it is a report that the scheduler accepted: views count only those."""
        for decision in self.decisions:
            match decision:
                case ReportAccepted():
                    return True
                case ReportDropped():
                    return False
                case _:
                    pass
        happening = self.happening
        return isinstance(happening, SuccessRow | FailureRow) and happening.counted is not False

    @classmethod
    def read(cls, stored: JournalEvent) -> Row:
        """Return the row of an event in the journal.

        Raises
        ------
        ValueError
            Its kind is known, but this version cannot read its payload.
        """
        return cls.of(stored, happening_of(stored), decode_decisions(stored.commands))

    @classmethod
    def of(cls, stored: JournalEvent, happening: Happening, decisions: tuple[Decision, ...]) -> Row:
        """Return a row from its parts."""
        job = job_of(happening, asked=stored.job)
        return cls(stored.seq, stored.at, job, happening, decisions)


def event_of(happening: Happening) -> Event:
    """Return the event of the scheduler in a row.

    Raises
    ------
    TypeError
        The row was no step of the scheduler.
    """
    match happening:
        case SuccessRow() | FailureRow() | Registration() | Submission():
            return happening.event()
        case CommitRow() | PublishedRow() | Unknown():
            msg = f"no event of the scheduler: {happening}"
            raise TypeError(msg)
        case _:
            return happening


def job_of(happening: Happening, *, asked: str = "") -> str:
    """Return the job that a row is about, empty for none.

    A few kinds of rows do not name it: then it is ``asked``, the job under which they are stored.
    """
    match happening:
        case TaskSucceeded() | TaskFailed():
            return happening.key.job
        case SuccessRow() | FailureRow():
            return happening.report.key.job
        case Submission() | JobSubmitted():
            return happening.job.job
        case JobCancelRequested() | JobCommitted() | JobCommitFailed() | JobReleased():
            return happening.job
        case CommitRow() | PublishedRow() | Unknown():
            return asked
        case _:
            return ""


def jobs_of(
    happening: Happening,
    job: str,
    decisions: Iterable[Decision],
    live: Callable[[], Iterable[str]],
) -> tuple[str, ...]:
    """Return the jobs that a row may change; the job of its event is first."""
    if isinstance(happening, Registration):
        return tuple(live())  # An earlier life of the worker may have run their tasks.
    jobs = {job: None} if job else {}
    for decision in decisions:
        match decision:
            case ReportAccepted():
                pass
            case LaunchTask() | CancelTask():
                jobs[decision.key.job] = None
            case FinishJob() | CommitJob():
                jobs[decision.job] = None
            case WorkerDown():
                jobs.update(dict.fromkeys(live()))
            case _:
                pass
    return tuple(jobs)


def happening_of(stored: JournalEvent) -> Happening:
    """Return the event of a row, with its evidence.

    Raises
    ------
    ValueError
        Its kind is known, but this version cannot read its payload.
    """
    model = _MODELS.get(stored.kind)
    if model is not None:
        return model.model_validate_json(stored.payload)  # type: ignore[return-value]
    kind = stored.kind
    return _reader(kind).validate_json(stored.payload) if kind in _EVENTS else Unknown(kind)


@cache
def _reader(kind: str) -> TypeAdapter[Event]:
    """Return the reader of an event's JSON; created on first use, as all of them take 50 ms."""
    return TypeAdapter(_EVENTS[kind])
