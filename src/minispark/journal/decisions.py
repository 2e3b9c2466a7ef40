"""The decisions of the scheduler, as the journal stores them.

In JSON a decision is a list with the command's kind first. It has what the views of a job need and
the reason. A command that was read back has epoch 0 and no inputs: those follow from the reports,
and would be M x R. The first release stored no reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from minispark.scheduler.reasons import Reason, Why

_failure: TypeAdapter[Failure] = TypeAdapter(Failure)


@dataclass(frozen=True, slots=True)
class BlocksReleased:
    """A `ReleaseBlocks` as the journal stores it: with the number of blocks only."""

    worker: str
    blocks: int


@dataclass(frozen=True, slots=True)
class BlocksMoving:
    """A `MoveBlocks` as the journal stores it: with the number of blocks only."""

    worker: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event or a decision of another release."""

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
    """Return commands as the journal stores them."""
    return tuple(map(_decision, commands))


def decode_decisions(text: str | None) -> tuple[Decision, ...]:
    """Return the decisions of a row from their JSON."""
    return tuple(_decode(*plain) for plain in from_json(text)) if text else ()


def _decode(kind: str, *plain: Any) -> Decision:
    decoded = _DECODED.get(kind)
    return Unknown(kind) if decoded is None else decoded(*plain)


def _decision(command: Command) -> Decision:
    if isinstance(command, ReleaseBlocks):
        return BlocksReleased(command.worker, len(command.keys))
    if isinstance(command, MoveBlocks):
        return BlocksMoving(command.worker, len(command.blocks))
    return command


def _reason(plain: list[Any] | None) -> Reason | None:
    return Reason.of(*plain) if plain else None


def _down(worker: str, plain: list[Any] | str) -> WorkerDown:
    if isinstance(plain, str):
        # The first release wrote words: "no heartbeat for 10 s", for example.
        why = {"it was drained": Why.DRAINED, "it said goodbye": Why.GOODBYE}.get(plain)
        plain = [why] if why else [Why.NO_HEARTBEAT, "", "", float(plain.split()[-2])]
    return WorkerDown(worker, 0, Reason.of(*plain))


_DECODED: Final[Mapping[str, Callable[..., Decision]]] = {
    "launch_task": lambda worker, block, reason=None, prefetched=False: LaunchTask(
        worker,
        0,
        TaskKey.parse(block),
        (),
        # The first release wrote one word, and only where a launch was speculative.
        Reason.of(reason) if isinstance(reason, str) else _reason(reason),
        prefetched=prefetched,
    ),
    "cancel_task": lambda worker, block, reason=None: CancelTask(
        worker, 0, TaskKey.parse(block), _reason(reason)
    ),
    "report_accepted": ReportAccepted,
    "report_dropped": lambda reason: ReportDropped(Reason.of(*reason)),
    "worker_down": _down,
    "finish_job": lambda *plain: _decode_finish(*plain),
    "commit_job": lambda job, blocks: CommitJob(job, tuple(map(TaskKey.parse, blocks))),
    "release_job": lambda worker, job: ReleaseJob(worker, 0, job),
    "release_blocks": BlocksReleased,
    "move_blocks": BlocksMoving,
    "require_registration": RequireRegistration,
    "dismiss_worker": lambda worker, epoch, reason=None: DismissWorker(
        worker, epoch, _reason(reason)
    ),
}


def encode_command(command: Command) -> list[Any]:
    """Return the JSON of a decision."""
    return [command.kind, *_ENCODED[type(command)](command)]


def _plain(reason: Reason | None) -> list[str | float] | None:
    return None if reason is None else reason.plain


def without_reason(decision: Decision) -> Decision:
    """Return a decision as the first release wrote it."""
    match decision:
        case LaunchTask():
            return replace(decision, reason=None, prefetched=False)
        case CancelTask() | WorkerDown() | FinishJob() | DismissWorker():
            return replace(decision, reason=None)
        case _:
            return decision


def _decode_finish(
    job: str,
    status: str,
    failure: Any,
    key: str | None,
    results: Sequence[tuple[str, str, int]],
    reason: list[Any] | None = None,
) -> FinishJob:
    return FinishJob(
        job,
        JobStatus(status),
        None if failure is None else _failure.validate_python(failure),
        tuple(BlockRef(TaskKey.parse(block), worker, part) for block, worker, part in results),
        None if key is None else TaskKey.parse(key),
        _reason(reason),
    )


def _finish(end: FinishJob) -> list[Any]:
    return [
        end.job,
        end.status.value,
        None if end.failure is None else _failure.dump_python(end.failure, mode="json"),
        None if end.key is None else end.key.block_id,
        [[ref.key.block_id, ref.worker, ref.partition] for ref in end.results],
        _plain(end.reason),
    ]


def _launch(launch: LaunchTask) -> list[Any]:
    ahead = (True,) if launch.prefetched else ()
    return [launch.worker, launch.key.block_id, _plain(launch.reason), *ahead]


_ENCODED: Final[Mapping[type[Command], Callable[[Any], list[Any]]]] = {
    LaunchTask: _launch,
    CancelTask: lambda c: [c.worker, c.key.block_id, _plain(c.reason)],
    ReportAccepted: lambda _: [],
    ReportDropped: lambda c: [c.reason.plain],
    WorkerDown: lambda c: [c.worker, _plain(c.reason)],
    FinishJob: _finish,
    CommitJob: lambda c: [c.job, [key.block_id for key in c.sinks]],
    ReleaseBlocks: lambda c: [c.worker, len(c.keys)],
    MoveBlocks: lambda c: [c.worker, len(c.blocks)],
    ReleaseJob: lambda c: [c.worker, c.job],
    RequireRegistration: lambda c: [c.worker, c.epoch],
    DismissWorker: lambda c: [c.worker, c.epoch, _plain(c.reason)],
}
