"""What the scheduler decided, as rows of the journal keep it.

In JSON a decision is a list, the command's kind first. It holds what views of a job are made of
(launches, cancels, the end): a command that was read back has epoch 0 and no inputs (those follow
from the reports, and would be M x R).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json

from minispark.errors import Failure
from minispark.ids import TaskKey
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
    ReportAccepted,
    ReportDropped,
    RequireRegistration,
    WorkerDown,
)

_SPECULATIVE = "speculative"
"""Stands at the end of a launch beside another attempt of its task."""
_failure: TypeAdapter[Failure] = TypeAdapter(Failure)


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


Decision = (
    LaunchTask
    | CancelTask
    | ReportAccepted
    | ReportDropped
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


def decisions_of(commands: Iterable[Command]) -> tuple[Decision, ...]:
    """Return commands as the journal keeps them."""
    return tuple(map(_decision, commands))


def decode_decisions(text: str | None) -> tuple[Decision, ...]:
    """Return the decisions that a row holds as JSON."""
    return tuple(_decode(*plain) for plain in from_json(text)) if text else ()


def _decode(kind: str, *plain: Any) -> Decision:
    decoded = _DECODED.get(kind)
    return Unknown(kind) if decoded is None else decoded(*plain)


def _decision(command: Command) -> Decision:
    match command:
        case ReleaseBlocks():
            return BlocksReleased(command.worker, len(command.keys))
        case MoveBlocks():
            return BlocksMoving(command.worker, len(command.blocks))
        case _:
            return command


_DECODED: Final[Mapping[str, Callable[..., Decision]]] = {
    "launch_task": lambda worker, block, *rest: LaunchTask(
        worker, 0, TaskKey.parse(block), (), speculative=_SPECULATIVE in rest
    ),
    "cancel_task": lambda worker, block: CancelTask(worker, 0, TaskKey.parse(block)),
    "report_accepted": ReportAccepted,
    "report_dropped": ReportDropped,
    "worker_down": lambda worker, reason: WorkerDown(worker, 0, reason),
    "finish_job": lambda *plain: _decode_finish(*plain),
    "commit_job": lambda job, blocks: CommitJob(job, tuple(map(TaskKey.parse, blocks))),
    "release_job": lambda worker, job: ReleaseJob(worker, 0, job),
    "release_blocks": BlocksReleased,
    "move_blocks": BlocksMoving,
    "require_registration": RequireRegistration,
    "dismiss_worker": DismissWorker,
}


def encode_command(command: Command) -> list[Any]:
    """Return the JSON of a decision."""
    match command:
        case LaunchTask():
            second = [_SPECULATIVE] if command.speculative else []
            return [command.kind, command.worker, command.key.block_id, *second]
        case CancelTask():
            return [command.kind, command.worker, command.key.block_id]
        case ReportAccepted():
            return [command.kind]
        case ReportDropped():
            return [command.kind, command.reason]
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
