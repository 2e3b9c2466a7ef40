"""One worker: its epoch, its attempts and blocks, and how it drains.

Covers: the records. Does not cover: when a worker registers, leaves or is lost (`core`, `drain`),
which tasks it gets (`placement`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from minispark.ids import TaskKey


@dataclass(slots=True)
class Leaving:
    """The progress of a worker that drains."""

    since_s: float
    unsettled: bool = True
    """Whether a block may be needed elsewhere and is not being moved."""
    left: bool = False
    """Whether a block is needed elsewhere and no worker can take it now."""
    over: bool = False
    """Whether its time is over: nothing runs on it, and blocks that were not moved are lost."""
    dismissed_s: float | None = None
    """When it was last dismissed."""
    moving: dict[TaskKey, tuple[str, float]] = field(default_factory=dict)
    """Blocks that are being moved: the worker that fetches each, and since when."""
    slow: dict[str, None] = field(default_factory=dict)
    """Workers that did not fetch their blocks in time."""
    given: dict[str, float] = field(default_factory=dict)
    """Jobs of moved blocks, and when the last one moved: earlier attempts still read from here."""

    def cancel_moves(self, job: str, kept: Collection[TaskKey]) -> None:
        """Cancel the moves of an ended job, except those of ``kept`` blocks."""
        for key in [key for key in self.moving if key.job == job and key not in kept]:
            del self.moving[key]
        self.given.pop(job, None)
        self.unsettled = True


@dataclass(slots=True)
class Worker:
    """A worker under its current epoch."""

    name: str
    epoch: int
    slots: int
    up: bool = True
    leaving: Leaving | None = None
    """Set while it drains: it gets no work, and is dismissed when nothing on it is needed."""
    full: str | None = None
    """Why it takes no work now."""
    suspect: bool = False
    """Whether a task could not read a block of it, and it has not been heard since."""
    excluded_until_s: float | None = None
    """End of its exclusion: too many tasks failed on it in a row."""
    failures: int = 0
    """Tasks of ended jobs that failed on it in a row."""
    failed_tasks: dict[tuple[str, int, int], None] = field(default_factory=dict)
    """Tasks (job, stage, partition) of running jobs that failed on it in a row."""
    turn: int = 0
    """Number of its last lease among all leases: the lowest got work longest ago."""
    leased: dict[TaskKey, float] = field(default_factory=dict)
    """Live attempts, and when each was leased."""
    started: dict[TaskKey, float] = field(default_factory=dict)
    """The leased attempts with a slot, and since when."""
    waiting: dict[TaskKey, None] = field(default_factory=dict, compare=False)
    """The leased attempts without a slot, the next one first."""
    blocks: dict[str, dict[TaskKey, None]] = field(default_factory=dict)
    """Blocks of accepted attempts, by job, until the job ends."""

    @property
    def status(self) -> Literal["UP", "DOWN", "DRAINING"]:
        """Its public status."""
        if not self.up:
            return "DOWN"
        return "UP" if self.leaving is None else "DRAINING"

    @property
    def active_tasks(self) -> int:
        """Attempts queued or running on it."""
        return len(self.leased)

    @property
    def has_slot(self) -> bool:
        """Whether it has a free slot."""
        return len(self.leased) < self.slots

    def clear_failures(self) -> None:
        """Reset the failures in a row."""
        self.failures = 0
        self.failed_tasks.clear()

    def count_failures_of(self, job: str) -> None:
        """Replace the failed tasks of an ended job by their number."""
        tasks = [task for task in self.failed_tasks if task[0] == job]
        for task in tasks:
            del self.failed_tasks[task]
        self.failures += len(tasks)

    def take(self, key: TaskKey, now: float) -> bool:
        """Lease an attempt; return whether it got a slot at once."""
        has_slot = len(self.leased) < self.slots
        if has_slot:
            self.started[key] = now
        else:
            self.waiting[key] = None
        self.leased[key] = now
        return has_slot

    def remove_attempt(self, key: TaskKey, now: float) -> TaskKey | None:
        """Remove an attempt; return the waiting attempt that gets its slot, if there is one."""
        del self.leased[key]
        if self.started.pop(key, None) is None:
            del self.waiting[key]
            return None
        if not self.waiting:
            return None
        following = next(iter(self.waiting))
        del self.waiting[following]
        self.started[following] = now
        return following

    def started_s(self, key: TaskKey, now: float) -> float:
        """Return since when an attempt has a slot; ``now`` for one that waits."""
        return self.started.get(key, now)

    @property
    def last_in_line(self) -> TaskKey | None:
        """The last waiting attempt, None if no attempt waits."""
        return next(reversed(self.waiting), None)

    def holds(self, key: TaskKey) -> bool:
        """Whether the ledger has the block of an attempt on this worker."""
        return key in self.blocks.get(key.job, ())


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The public status of a worker."""

    worker: str
    status: Literal["UP", "DOWN", "DRAINING"]
    active_tasks: int
    slots: int
    epoch: int
    excluded: bool = False
    """Whether it gets no work for a while because too many tasks failed on it."""
    full: str | None = None
