"""What the scheduler is told. Plain values; ``Scheduler`` is their only reader.

Two are never remembered as they are: `WorkerHeartbeat` and `TimerFired` mostly change nothing, and
what they do change hangs on who spoke when. ``Scheduler.decide`` turns them into `HeartbeatDiff`
and `Timeouts`, or into nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from minispark.blocks.meta import Receipt
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.scheduler.spec import JobSpec

ATTEMPTS_OF_A_LIFE: Final = 1_000
"""A master that may not know of the last launches numbers attempts from so many for each life."""


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
    """A worker lives and says what it holds: queued or running attempts.

    ``held`` are the jobs of which it has blocks, less those whose blocks somebody else than the
    scheduler keeps. ``full`` is why it takes no more work now ("disk", "memory").
    """

    worker: str
    epoch: int
    attempts: tuple[TaskKey, ...]
    held: tuple[str, ...] = ()
    full: str | None = None
    kind: Literal["worker_heartbeat"] = "worker_heartbeat"


@dataclass(frozen=True, slots=True)
class HeartbeatDiff:
    """What a heartbeat changes: leases that the worker lost, what it holds for nobody.

    ``forgotten`` are jobs that nobody knows and of which it has blocks. With ``speaks`` its word
    ends the doubt about it.
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
    """A worker wants to leave: no new work, and its blocks are to be brought elsewhere."""

    worker: str
    epoch: int
    kind: Literal["worker_draining"] = "worker_draining"


@dataclass(frozen=True, slots=True)
class BlocksMoved:
    """A worker has fetched blocks of another and serves them from now on."""

    worker: str
    epoch: int
    keys: tuple[TaskKey, ...]
    kind: Literal["blocks_moved"] = "blocks_moved"


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker says goodbye: its blocks and attempts are gone at once."""

    worker: str
    epoch: int
    kind: Literal["worker_left"] = "worker_left"


@dataclass(frozen=True, slots=True)
class TaskSucceeded:
    """An attempt ended well. ``inputs`` are (stage, generation) pairs that it read.

    ``seconds`` is how long it ran by its own clock.
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
    """An attempt did not."""

    key: TaskKey
    worker: str
    epoch: int
    failure: Failure
    inputs: tuple[tuple[int, int], ...] = ()
    kind: Literal["task_failed"] = "task_failed"


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time ``Scheduler.wake_s`` has come."""

    kind: Literal["timer_fired"] = "timer_fired"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What time has brought: workers (with epoch) silent for too long, jobs without a chance.

    Whatever else is due hangs on times that the journal has, and is found by itself.
    """

    silent: tuple[tuple[str, int], ...] = ()
    stranded: tuple[str, ...] = ()
    kind: Literal["time_facts"] = "time_facts"


@dataclass(frozen=True, slots=True)
class MasterRestarted:
    """All that was journaled has been applied, and the world has had time to go on without us.

    Where the last launches may be missing in the journal, attempts are numbered from ``attempts``
    on: no two may have the same name.
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
