"""The commands of the scheduler. The loop around it carries them out, in order.

A command says why it was decided (``reason``). It has none only where a journal of the first
release did not store one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.scheduler.reasons import Reason, Why


class JobStatus(StrEnum):
    """The status of a job."""

    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One partition of the block of an accepted attempt, and the worker that has it."""

    key: TaskKey
    worker: str
    partition: int


@dataclass(frozen=True, slots=True)
class LeafBlocks:
    """The blocks of one leaf, in partition order."""

    leaf: str
    stage: int
    generation: int
    blocks: tuple[BlockRef, ...]


@dataclass(frozen=True, slots=True)
class LaunchTask:
    """Lease an attempt to a worker."""

    worker: str
    epoch: int
    key: TaskKey
    inputs: tuple[LeafBlocks, ...]
    reason: Reason | None = None
    prefetched: bool = False
    """The worker has no free slot: the attempt waits there for one."""
    kind: Literal["launch_task"] = "launch_task"

    @property
    def speculative(self) -> bool:
        """Whether another attempt of the task runs and takes long."""
        return self.reason is not None and self.reason.why is Why.SPECULATIVE


@dataclass(frozen=True, slots=True)
class CancelTask:
    """End an attempt."""

    worker: str
    epoch: int
    key: TaskKey
    reason: Reason | None = None
    kind: Literal["cancel_task"] = "cancel_task"


@dataclass(frozen=True, slots=True)
class ReportAccepted:
    """The report of this step was accepted. Nothing is to be done; views count it."""

    kind: Literal["report_accepted"] = "report_accepted"


@dataclass(frozen=True, slots=True)
class ReportDropped:
    """The report of this step changes nothing, for this reason."""

    reason: Reason
    kind: Literal["report_dropped"] = "report_dropped"


@dataclass(frozen=True, slots=True)
class RequireRegistration:
    """A worker sent an event under an epoch that is not current: ask it to register again."""

    worker: str
    epoch: int
    kind: Literal["require_registration"] = "require_registration"


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """No heartbeat for too long, or the worker left."""

    worker: str
    epoch: int
    reason: Reason | None = None
    kind: Literal["worker_down"] = "worker_down"


@dataclass(frozen=True, slots=True)
class CommitJob:
    """All output is there: publish the files of exactly these attempts, then say JobCommitted."""

    job: str
    sinks: tuple[TaskKey, ...]
    kind: Literal["commit_job"] = "commit_job"


@dataclass(frozen=True, slots=True)
class FinishJob:
    """A job ended."""

    job: str
    status: JobStatus
    failure: Failure | None = None
    results: tuple[BlockRef, ...] = ()
    """Accepted blocks of the result stages, by stage and partition."""
    key: TaskKey | None = None
    """The attempt whose failure ended the job, if it was one."""
    reason: Reason | None = None
    kind: Literal["finish_job"] = "finish_job"


@dataclass(frozen=True, slots=True)
class ReleaseBlocks:
    """Delete blocks that no task or user will read."""

    worker: str
    epoch: int
    keys: tuple[TaskKey, ...]
    kind: Literal["release_blocks"] = "release_blocks"


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """Delete every block of a job, of attempts that were never accepted too."""

    worker: str
    epoch: int
    job: str
    kind: Literal["release_job"] = "release_job"


@dataclass(frozen=True, slots=True)
class MoveBlocks:
    """Fetch the whole block files of these attempts from their workers, then say BlocksMoved."""

    worker: str
    epoch: int
    blocks: tuple[BlockRef, ...]
    kind: Literal["move_blocks"] = "move_blocks"


@dataclass(frozen=True, slots=True)
class DismissWorker:
    """A draining worker may leave."""

    worker: str
    epoch: int
    reason: Reason | None = None
    kind: Literal["dismiss_worker"] = "dismiss_worker"


Command = (
    LaunchTask
    | CancelTask
    | ReportAccepted
    | ReportDropped
    | RequireRegistration
    | WorkerDown
    | CommitJob
    | FinishJob
    | ReleaseBlocks
    | ReleaseJob
    | MoveBlocks
    | DismissWorker
)
