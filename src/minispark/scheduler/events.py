"""What the scheduler is told. Plain values; ``step(event, now)`` is their only reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.scheduler.spec import JobSpec, Receipt

__all__ = [
    "Event",
    "JobCancelRequested",
    "JobCommitFailed",
    "JobCommitted",
    "JobReleased",
    "JobSubmitted",
    "TaskFailed",
    "TaskSucceeded",
    "TimerFired",
    "WorkerHeartbeat",
    "WorkerLeft",
    "WorkerRegistered",
]


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A planned job."""

    job: JobSpec
    kind: Literal["job_submitted"] = "job_submitted"


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    """Somebody asked for the end of a job."""

    job: str
    kind: Literal["job_cancel_requested"] = "job_cancel_requested"


@dataclass(frozen=True, slots=True)
class JobCommitted:
    """The commit that the scheduler ordered is durable."""

    job: str
    kind: Literal["job_committed"] = "job_committed"


@dataclass(frozen=True, slots=True)
class JobCommitFailed:
    """The commit that the scheduler ordered could not be done."""

    job: str
    failure: Failure
    kind: Literal["job_commit_failed"] = "job_commit_failed"


@dataclass(frozen=True, slots=True)
class JobReleased:
    """Nobody will read the results of a finished job any more: its blocks may go."""

    job: str
    kind: Literal["job_released"] = "job_released"


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """A worker (or a new life of one: a higher epoch) offers its slots."""

    worker: str
    epoch: int
    slots: int
    kind: Literal["worker_registered"] = "worker_registered"


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """A worker lives and says what it holds: queued or running attempts."""

    worker: str
    epoch: int
    attempts: tuple[TaskKey, ...]
    kind: Literal["worker_heartbeat"] = "worker_heartbeat"


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker says goodbye: its blocks and attempts are gone at once."""

    worker: str
    epoch: int
    kind: Literal["worker_left"] = "worker_left"


@dataclass(frozen=True, slots=True)
class TaskSucceeded:
    """An attempt ended well. ``inputs`` are (stage, generation) pairs that it read."""

    key: TaskKey
    worker: str
    epoch: int
    receipt: Receipt
    inputs: tuple[tuple[int, int], ...] = ()
    kind: Literal["task_succeeded"] = "task_succeeded"


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """An attempt did not."""

    key: TaskKey
    worker: str
    epoch: int
    failure: Failure
    inputs: tuple[tuple[int, int], ...] = ()
    kind: Literal["task_failed"] = "task_failed"


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that the scheduler set has run out."""

    kind: Literal["timer_fired"] = "timer_fired"


Event = (
    JobSubmitted
    | JobCancelRequested
    | JobCommitted
    | JobCommitFailed
    | JobReleased
    | WorkerRegistered
    | WorkerHeartbeat
    | WorkerLeft
    | TaskSucceeded
    | TaskFailed
    | TimerFired
)
