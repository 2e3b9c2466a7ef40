"""The rows of the journal as types, their JSON, and rows read back from it.

A row is one event that the scheduler took in, with its evidence, and what the scheduler decided.
A replay gives the event to the scheduler again and compares: equal decisions.
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
from minispark.wire.messages import RegisterRequest

_CONFIG = ConfigDict(val_json_bytes="base64", extra="ignore", defer_build=True)


class Manifest(BaseModel):
    """Files of one sink stage that a commit publishes."""

    stage: int
    directory: str
    overwrite: bool
    files: list[SinkFile]


class SinkOutput(BaseModel):
    """Files that a job wrote; ``node`` is the result they are, where it has a name."""

    node: str | None = None
    path: str
    format: str
    files: list[str]
    """Names within ``path``, in partition order."""
    rows: int
    bytes: int


class Registration(BaseModel):
    """A worker as it introduced itself, under the epoch that it was given."""

    worker: str
    epoch: int
    slots: int
    url: str
    host: str
    directory: str

    @classmethod
    def of(cls, request: RegisterRequest, epoch: int) -> Registration:
        """Keep what outlives the request."""
        return cls(
            worker=request.worker_id,
            epoch=epoch,
            slots=request.slots,
            url=request.url,
            host=request.host,
            directory=request.directory,
        )

    def event(self) -> WorkerRegistered:
        """Tell the scheduler."""
        return WorkerRegistered(self.worker, self.epoch, self.slots)


class _Report(BaseModel):
    model_config = _CONFIG
    worker: str
    epoch: int = 0
    counted: bool | None = Field(default=None, exclude=True)
    """Whether the scheduler accepted it, as version 4 wrote it; later ones say so in a decision."""


class SuccessRow(_Report):
    """A report as a worker sent it."""

    report: TaskReport

    def event(self) -> TaskSucceeded:
        """Tell the scheduler."""
        inputs = tuple((read.stage, read.generation) for read in self.report.inputs)
        took_s = self.report.duration_s
        return TaskSucceeded(
            self.report.key, self.worker, self.epoch, self.report.block.receipt, inputs, took_s
        )


class FailureRow(_Report):
    """A failure as a worker sent it."""

    report: TaskFailure

    def event(self) -> TaskFailed:
        """Tell the scheduler."""
        inputs = tuple((read.stage, read.generation) for read in self.report.inputs)
        return TaskFailed(self.report.key, self.worker, self.epoch, self.report.failure, inputs)


class Submission(BaseModel):
    """A job as the scheduler was told of it, and where what was found of it lies."""

    model_config = _CONFIG
    job: JobSpec
    found: tuple[CacheHit, ...] = ()

    def event(self) -> JobSubmitted:
        """Tell the scheduler."""
        return JobSubmitted(self.job)


class CommitRow(BaseModel):
    """What a commit is about to publish."""

    manifests: list[Manifest]


class PublishedRow(BaseModel):
    """What a commit published."""

    sinks: list[SinkOutput]


class EventRow(RootModel[Event]):
    """Payload of a row whose event needs no other evidence."""


Evidence = Registration | SuccessRow | FailureRow | Submission
"""An event in the terms of the one who reported it; `event` reduces it for the scheduler."""
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
    """One row: what happened, and what was decided then. Readers fold rows in order.

    A tuple, as the master makes one for each report.
    """

    seq: int
    at: float
    """Seconds since the epoch."""
    job: str
    """The job that it is about, empty for none."""
    happening: Happening
    decisions: tuple[Decision, ...] = ()
    excluded: frozenset[str] = frozenset()
    """Workers without new work after this step."""
    jobs: tuple[str, ...] = ()
    """The jobs that it may change. Only known, as ``excluded``, while the row is written."""

    def about(self, live: Iterable[str]) -> tuple[str, ...]:
        """Return the jobs that the row may change; ``live`` are those that run."""
        return jobs_of(self.happening, self.job, self.decisions, lambda: live)

    @property
    def accepted(self) -> bool:
        """Whether it is a report that the scheduler took in: only then views count it."""
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
        """Read a row as the journal has it.

        Raises
        ------
        ValueError
            Its kind is known, but this version does not understand what it says.
        """
        return cls.of(stored, happening_of(stored), decode_decisions(stored.commands))

    @classmethod
    def of(cls, stored: JournalEvent, happening: Happening, decisions: tuple[Decision, ...]) -> Row:
        """Return a row of which everything was read."""
        job = job_of(happening, asked=stored.job)
        return cls(stored.seq, stored.at, job, happening, decisions)


def event_of(happening: Happening) -> Event:
    """Return what the scheduler takes in of a happening.

    Raises
    ------
    TypeError
        It was no step of the scheduler.
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

    A few rows do not say it: ``asked`` is the one whose rows they are.
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
    """Return the jobs that a row may change, that it is about first."""
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
    """Read what happened.

    Raises
    ------
    ValueError
        Its kind is known, but this version does not understand what it says.
    """
    model = _MODELS.get(stored.kind)
    if model is not None:
        return model.model_validate_json(stored.payload)  # type: ignore[return-value]
    kind = stored.kind
    return _reader(kind).validate_json(stored.payload) if kind in _EVENTS else Unknown(kind)


@cache
def _reader(kind: str) -> TypeAdapter[Event]:
    """Return the reader of an event's JSON; built on first use, as all of them take 50 ms."""
    return TypeAdapter(_EVENTS[kind])
