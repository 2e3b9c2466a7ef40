"""Facts and decisions as JSON, for the journal, and facts back from it.

A row holds one fact that the scheduler took in, and what it decided then. A replay makes the
fact of it again, lets the scheduler decide again, and compares: equal text, equal decisions.

Decisions are lists, the command's kind first. They hold what a record of the job is made of
(launches, cancels, the end); inputs of a launch follow from the reports, and would be M x R.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec, Receipt
from minispark.task.spec import SinkFile, TaskFailure, TaskReport
from minispark.wire.messages import RegisterRequest

__all__ = [
    "SECOND",
    "Fact",
    "Manifest",
    "Registration",
    "Said",
    "Submission",
    "ToldFailure",
    "ToldSuccess",
    "decision",
    "event_of",
    "finish_of",
    "jobs_of",
    "said_of",
]

SECOND = "speculative"
"""Stands at the end of a launch beside another attempt of its task."""
_CONFIG = ConfigDict(val_json_bytes="base64", extra="ignore")
_failure: TypeAdapter[Failure] = TypeAdapter(Failure)


class Manifest(BaseModel):
    """Files of one sink stage that a commit publishes."""

    stage: int
    directory: str
    overwrite: bool
    files: list[SinkFile]


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


class _Told(BaseModel):
    model_config = _CONFIG
    worker: str
    epoch: int = 0
    counted: bool = True
    """Whether somebody waited for it: only then is it part of the job's record."""


class ToldSuccess(_Told):
    """A report as a worker sent it."""

    report: TaskReport

    def event(self) -> TaskSucceeded:
        """Tell the scheduler."""
        block = self.report.block
        receipt = Receipt(
            rows=tuple(part.rows for part in block.partitions),
            rows_checksums=tuple(part.rows_checksum for part in block.partitions),
        )
        inputs = tuple((read.stage, read.generation) for read in self.report.inputs)
        took_s = self.report.duration_s
        return TaskSucceeded(self.report.key, self.worker, self.epoch, receipt, inputs, took_s)


class ToldFailure(_Told):
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


class Fact(RootModel[Event]):
    """A fact that the scheduler decided itself."""


Said = Registration | ToldSuccess | ToldFailure | Submission
_SAID: dict[str, type[Said]] = {
    "job_submitted": Submission,
    "worker_registered": Registration,
    "task_succeeded": ToldSuccess,
    "task_failed": ToldFailure,
}
_EVENTS: dict[str, TypeAdapter[Event]] = {
    event.__dataclass_fields__["kind"].default: TypeAdapter(event)
    for event in get_args(Event)
    if event not in (TaskSucceeded, TaskFailed, WorkerRegistered, JobSubmitted)
}


def said_of(row: JournalEvent) -> Said | None:
    """Read what a worker said, where a row holds that; None for every other row."""
    model = _SAID.get(row.kind)
    return None if model is None else model.model_validate_json(row.payload)


def event_of(row: JournalEvent, said: Said | None) -> Event:
    """Make the fact again that a row was written for."""
    return _EVENTS[row.kind].validate_json(row.payload) if said is None else said.event()


def decision(command: Command) -> list[Any]:
    """Say in JSON what was decided."""
    match command:
        case LaunchTask():
            second = [SECOND] if command.speculative else []
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


def jobs_of(commands: Iterable[Command], live: Callable[[], Iterable[str]]) -> list[str]:
    """Name the jobs that decisions are about; a worker that goes concerns all that are ``live``."""
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


def finish_of(decided: list[Any]) -> FinishJob:
    """Make the command again that ended a job."""
    _, job, status, failure, key, results = decided
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
