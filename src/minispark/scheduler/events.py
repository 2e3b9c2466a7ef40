"""The events that the scheduler takes in, as plain values.

Two of them are never journaled as they are: `WorkerHeartbeat` and `TimerFired` mostly change
nothing, and what they change depends on when workers were heard. ``Scheduler.decide`` reduces them
to `HeartbeatDiff` and `Timeouts`, or to None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from minispark.blocks.meta import Receipt
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.scheduler.spec import JobSpec

ATTEMPTS_OF_A_LIFE: Final = 1_000
"""Attempt numbers for each start of a master that may not know all launches before it."""


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A planned job."""

    job: JobSpec
    kind: Literal["job_submitted"] = "job_submitted"


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    """A user cancelled a job."""

    job: str
    kind: Literal["job_cancel_requested"] = "job_cancel_requested"


@dataclass(frozen=True, slots=True)
class JobCommitted:
    """The commit that the scheduler ordered is durable."""

    job: str
    kind: Literal["job_committed"] = "job_committed"


@dataclass(frozen=True, slots=True)
class JobCommitFailed:
    """The commit that the scheduler ordered has failed."""

    job: str
    failure: Failure
    kind: Literal["job_commit_failed"] = "job_commit_failed"


@dataclass(frozen=True, slots=True)
class JobReleased:
    """The results of a finished job are not kept any more: its blocks may be deleted."""

    job: str
    kind: Literal["job_released"] = "job_released"


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """A worker offers its slots, for the first time or again under a higher epoch."""

    worker: str
    epoch: int
    slots: int
    kind: Literal["worker_registered"] = "worker_registered"


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """A sign of life of a worker, with its queued and running attempts.

    ``held`` are the jobs of which it has blocks, without jobs whose blocks are results that the
    scheduler does not know. ``full`` is why it takes no work now ("disk", "memory").
    """

    worker: str
    epoch: int
    attempts: tuple[TaskKey, ...]
    held: tuple[str, ...] = ()
    full: str | None = None
    kind: Literal["worker_heartbeat"] = "worker_heartbeat"


@dataclass(frozen=True, slots=True)
class HeartbeatDiff:
    """What a heartbeat changes: lost leases, and attempts that the scheduler does not want.

    ``forgotten`` are unknown jobs of which the worker has blocks. With ``speaks`` the worker is not
    suspect any more.
    """

    worker: str
    epoch: int
    lost: tuple[TaskKey, ...] = ()
    unwanted: tuple[TaskKey, ...] = ()
    forgotten: tuple[str, ...] = ()
    full: str | None = None
    speaks: bool = False
    kind: Literal["heartbeat_facts"] = "heartbeat_facts"


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """A worker wants to leave: it gets no new work, and its blocks move to other workers."""

    worker: str
    epoch: int
    kind: Literal["worker_draining"] = "worker_draining"


@dataclass(frozen=True, slots=True)
class BlocksMoved:
    """A worker has fetched blocks of another worker, and serves them from now on."""

    worker: str
    epoch: int
    keys: tuple[TaskKey, ...]
    kind: Literal["blocks_moved"] = "blocks_moved"


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker has left: its blocks and attempts are lost."""

    worker: str
    epoch: int
    kind: Literal["worker_left"] = "worker_left"


@dataclass(frozen=True, slots=True)
class TaskSucceeded:
    """An attempt succeeded. ``inputs`` are the (stage, generation) pairs that it read.

    ``seconds`` is its run time, measured by the worker.
    """

    key: TaskKey
    worker: str
    epoch: int
    receipt: Receipt
    inputs: tuple[tuple[int, int], ...] = ()
    seconds: float | None = None
    kind: Literal["task_succeeded"] = "task_succeeded"


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """An attempt failed."""

    key: TaskKey
    worker: str
    epoch: int
    failure: Failure
    inputs: tuple[tuple[int, int], ...] = ()
    kind: Literal["task_failed"] = "task_failed"


@dataclass(frozen=True, slots=True)
class TimerFired:
    """It is ``Scheduler.wake_s`` or later."""

    kind: Literal["timer_fired"] = "timer_fired"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Workers (with epoch) that were silent for too long, and jobs that waited too long for one.

    Other deadlines depend on times in the journal, so `Scheduler.apply` finds them by itself.
    """

    silent: tuple[tuple[str, int], ...] = ()
    stranded: tuple[str, ...] = ()
    kind: Literal["time_facts"] = "time_facts"


@dataclass(frozen=True, slots=True)
class MasterRestarted:
    """A new master has applied the whole journal; workers may have continued without a master.

    If the journal may lack the last launches, attempts are numbered from ``attempts`` on, so that
    no two have the same name.
    """

    attempts: int = 0
    kind: Literal["master_restarted"] = "master_restarted"


Event = (
    JobSubmitted
    | JobCancelRequested
    | JobCommitted
    | JobCommitFailed
    | JobReleased
    | WorkerRegistered
    | WorkerHeartbeat
    | HeartbeatDiff
    | WorkerDraining
    | BlocksMoved
    | WorkerLeft
    | TaskSucceeded
    | TaskFailed
    | TimerFired
    | Timeouts
    | MasterRestarted
)
