"""The rows of the journal as types, their JSON, and rows read back from it.

A row is one event that the scheduler took in, with its evidence, and what the scheduler decided.
A replay gives the event to the scheduler again and compares: equal text, equal decisions.

In JSON a decision is a list, the command's kind first. It holds what views of a job are made of
(launches, cancels, the end): a command that was read back has epoch 0 and no inputs (those follow
from the reports, and would be M x R).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter

from minispark.blocks.found import FoundTask
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.journal.journal import JournalEvent
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    RequireRegistration,
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

__all__ = [
    "BlocksMoving",
    "BlocksReleased",
    "CommitRow",
    "Decision",
    "EventRow",
    "Evidence",
    "FailureRow",
    "Happening",
    "Manifest",
    "PublishedRow",
    "Registration",
    "Row",
    "SinkOutput",
    "Submission",
    "SuccessRow",
    "Unknown",
    "affected_jobs",
    "decisions_of",
    "decode_decisions",
    "encode_command",
    "event_of",
    "job_of",
]

_SPECULATIVE = "speculative"
"""Stands at the end of a launch beside another attempt of its task."""
_CONFIG = ConfigDict(val_json_bytes="base64", extra="ignore")
_failure: TypeAdapter[Failure] = TypeAdapter(Failure)


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
    counted: bool = True
    """Whether the scheduler accepted it: only then is it part of what a job shows."""


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
    found: tuple[FoundTask, ...] = ()

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


@dataclass(frozen=True, slots=True)
class BlocksReleased:
    """A worker deletes so many blocks: a `ReleaseBlocks` as the journal keeps it."""

    worker: str
    blocks: int


@dataclass(frozen=True, slots=True)
class BlocksMoving:
    """A worker fetches so many blocks from others: a `MoveBlocks` as the journal keeps it."""

    worker: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A happening or a decision of another release."""

    kind: str


Evidence = Registration | SuccessRow | FailureRow | Submission
"""An event in the terms of the one who reported it; `event` reduces it for the scheduler."""
Happening = Evidence | CommitRow | PublishedRow | Event | Unknown
Decision = (
    LaunchTask
    | CancelTask
    | WorkerDown
    | CommitJob
    | FinishJob
    | ReleaseJob
    | RequireRegistration
    | DismissWorker
    | BlocksReleased
    | BlocksMoving
    | Unknown
)
_MODELS: dict[str, type[BaseModel]] = {
    "job_submitted": Submission,
    "worker_registered": Registration,
    "task_succeeded": SuccessRow,
    "task_failed": FailureRow,
    "commit_job": CommitRow,
    "job_published": PublishedRow,
}
_EVENTS: dict[str, TypeAdapter[Event]] = {
    event.__dataclass_fields__["kind"].default: TypeAdapter(event)
    for event in get_args(Event)
    if event not in (TaskSucceeded, TaskFailed, WorkerRegistered, JobSubmitted)
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what happened, and what was decided then. Readers fold rows in order."""

    seq: int
    at: float
    """Seconds since the epoch."""
    job: str
    """The job that it is about, empty for none."""
    happening: Happening
    decisions: tuple[Decision, ...] = ()
    mentions: tuple[str, ...] = ()
    """Other jobs for which something was decided. Only known while the row is written."""
    excluded: frozenset[str] = frozenset()
    """Workers without new work after this step. Only known while the row is written."""

    @property
    def jobs(self) -> tuple[str, ...]:
        """Every job that the row is about."""
        return (self.job, *self.mentions) if self.job else self.mentions

    @classmethod
    def read(cls, stored: JournalEvent) -> Row:
        """Read a row as the journal has it.

        Raises
        ------
        ValueError
            Its kind is known, but this version does not understand what it says.
        """
        happening = _happening(stored.kind, stored.payload)
        job = job_of(happening, asked=stored.job)
        return cls(stored.seq, stored.at, job, happening, decode_decisions(stored.commands))


def event_of(happening: Happening) -> Event:
    """Return what the scheduler takes in of a happening.

    Raises
    ------
    TypeError
        It was no step of the scheduler.
    """
    match happening:
        case Registration() | SuccessRow() | FailureRow() | Submission():
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
        case Submission() | JobSubmitted():
            return happening.job.job
        case JobCancelRequested() | JobCommitted() | JobCommitFailed() | JobReleased():
            return happening.job
        case SuccessRow() | FailureRow():
            return happening.report.key.job
        case TaskSucceeded() | TaskFailed():
            return happening.key.job
        case CommitRow() | PublishedRow() | Unknown():
            return asked
        case _:
            return ""


def _happening(kind: str, payload: str) -> Happening:
    model = _MODELS.get(kind)
    if model is not None:
        return model.model_validate_json(payload)  # type: ignore[return-value]
    event = _EVENTS.get(kind)
    return Unknown(kind) if event is None else event.validate_json(payload)


def decisions_of(commands: Iterable[Command]) -> tuple[Decision, ...]:
    """Return commands as the journal keeps them."""
    return tuple(map(_decision, commands))


def decode_decisions(text: str | None) -> tuple[Decision, ...]:
    """Return the decisions that a row holds as JSON."""
    return tuple(_decode(*plain) for plain in json.loads(text)) if text else ()


def _decision(command: Command) -> Decision:
    match command:
        case ReleaseBlocks():
            return BlocksReleased(command.worker, len(command.keys))
        case MoveBlocks():
            return BlocksMoving(command.worker, len(command.blocks))
        case _:
            return command


def _decode(kind: str, *plain: Any) -> Decision:
    """Return a decision as a row holds it; epochs and inputs are not kept."""
    name, *rest = plain
    match kind:
        case "launch_task":
            second = _SPECULATIVE in rest
            return LaunchTask(name, 0, TaskKey.parse(rest[0]), (), speculative=second)
        case "cancel_task":
            return CancelTask(name, 0, TaskKey.parse(rest[0]))
        case "worker_down":
            return WorkerDown(name, 0, rest[0])
        case "finish_job":
            return _decode_finish(name, *rest)
        case "commit_job":
            return CommitJob(name, tuple(map(TaskKey.parse, rest[0])))
        case "release_job":
            return ReleaseJob(name, 0, rest[0])
        case "release_blocks":
            return BlocksReleased(name, rest[0])
        case "move_blocks":
            return BlocksMoving(name, rest[0])
        case "require_registration":
            return RequireRegistration(name, rest[0])
        case "dismiss_worker":
            return DismissWorker(name, rest[0])
        case _:
            return Unknown(kind)


def encode_command(command: Command) -> list[Any]:
    """Return the JSON of a decision."""
    match command:
        case LaunchTask():
            second = [_SPECULATIVE] if command.speculative else []
            return [command.kind, command.worker, command.key.block_id, *second]
        case CancelTask():
            return [command.kind, command.worker, command.key.block_id]
        case WorkerDown():
            return [command.kind, command.worker, command.reason]
        case FinishJob():
            return _finish(command)
        case CommitJob():
            return [command.kind, command.job, [key.block_id for key in command.sinks]]
        case ReleaseBlocks():
            return [command.kind, command.worker, len(command.keys)]
        case MoveBlocks():
            return [command.kind, command.worker, len(command.blocks)]
        case ReleaseJob():
            return [command.kind, command.worker, command.job]
        case RequireRegistration() | DismissWorker():
            return [command.kind, command.worker, command.epoch]


def affected_jobs(
    commands: Iterable[Command | Decision], live: Callable[[], Iterable[str]]
) -> list[str]:
    """Return the jobs that commands are about; a worker that goes affects all that are ``live``."""
    found: dict[str, None] = {}
    for command in commands:
        match command:
            case LaunchTask() | CancelTask():
                found[command.key.job] = None
            case FinishJob() | CommitJob():
                found[command.job] = None
            case WorkerDown():
                found.update(dict.fromkeys(live()))
            case _:
                pass
    return list(found)


def _decode_finish(
    job: str,
    status: str,
    failure: Any,
    key: str | None,
    results: Sequence[tuple[str, str, int]],
) -> FinishJob:
    return FinishJob(
        job,
        JobStatus(status),
        None if failure is None else _failure.validate_python(failure),
        tuple(BlockRef(TaskKey.parse(block), worker, part) for block, worker, part in results),
        key=None if key is None else TaskKey.parse(key),
    )


def _finish(command: FinishJob) -> list[Any]:
    failure = None
    if command.failure is not None:
        failure = json.loads(_failure.dump_json(command.failure))
    return [
        command.kind,
        command.job,
        command.status.value,
        failure,
        None if command.key is None else command.key.block_id,
        [[ref.key.block_id, ref.worker, ref.partition] for ref in command.results],
    ]
