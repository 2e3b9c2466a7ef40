"""One worker: its life, what it holds, and how it leaves.

Covers: the records. Does not cover: when a worker comes, leaves or is lost (`core`, `drain`), what
it is given (`placement`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from minispark.ids import TaskKey


@dataclass(slots=True)
class Leaving:
    """A worker on its way out."""

    since_s: float
    unsettled: bool = True
    """Some block of it may be needed elsewhere and not be on its way."""
    left: bool = False
    """Something is needed elsewhere and nobody can take it now."""
    over: bool = False
    """Its time is over: nothing runs on it, and what could not be moved is lost with it."""
    dismissed_s: float | None = None
    """When it was last told that it may go."""
    moving: dict[TaskKey, tuple[str, float]] = field(default_factory=dict)
    """Blocks on their way: to whom, and since when."""
    slow: dict[str, None] = field(default_factory=dict)
    """Workers that did not bring what they were told to."""
    given: dict[str, float] = field(default_factory=dict)
    """Jobs of which it gave blocks away, and when the last: attempts begun earlier read here."""


@dataclass(slots=True)
class Worker:
    """A worker in its present life (``epoch``)."""

    name: str
    epoch: int
    slots: int
    up: bool = True
    leaving: Leaving | None = None
    """It wants to leave: it is in no rotation, and goes when nothing on it is needed."""
    full: str | None = None
    """Why it takes no more work now."""
    suspect: bool = False
    """Somebody could not read a block of it, and it has not spoken since."""
    excluded_until_s: float | None = None
    """Too many tasks failed on it in a row: it gets none before then, if there is anybody else."""
    failures: int = 0
    """Tasks that failed on it in a row, of jobs that are over."""
    failed_tasks: dict[tuple[str, int, int], None] = field(default_factory=dict)
    """Tasks (job, stage, partition) that failed on it in a row, of jobs at work."""
    turn: int = 0
    """Grows with all that workers are given: the lowest was given work longest ago."""
    leased: dict[TaskKey, float] = field(default_factory=dict)
    """Live attempts, and when each was leased."""
    started: dict[TaskKey, float] = field(default_factory=dict)
    """Those of them that have a slot, and since when."""
    waiting: dict[TaskKey, None] = field(default_factory=dict, compare=False)
    """The others, the next one first."""
    blocks: dict[str, dict[TaskKey, None]] = field(default_factory=dict)
    """Blocks of attempts that were accepted, by job, until the job is over."""

    @property
    def status(self) -> Literal["UP", "DOWN", "DRAINING"]:
        """How it stands, as the world names it."""
        if not self.up:
            return "DOWN"
        return "UP" if self.leaving is None else "DRAINING"

    @property
    def active_tasks(self) -> int:
        """Attempts queued or running on it."""
        return len(self.leased)

    @property
    def has_slot(self) -> bool:
        """Whether a slot of it is free."""
        return len(self.leased) < self.slots

    def clear_failures(self) -> None:
        """Forget what failed on it."""
        self.failures = 0
        self.failed_tasks.clear()

    def close_strikes(self, job: str) -> None:
        """Keep of a job that is over only how many of its tasks failed here."""
        gone = [task for task in self.failed_tasks if task[0] == job]
        for task in gone:
            del self.failed_tasks[task]
        self.failures += len(gone)

    def take(self, key: TaskKey, now: float) -> bool:
        """Lease an attempt; return whether it has a slot, and need not wait for one."""
        has_slot = len(self.leased) < self.slots
        if has_slot:
            self.started[key] = now
        else:
            self.waiting[key] = None
        self.leased[key] = now
        return has_slot

    def let_go_of(self, key: TaskKey, now: float) -> TaskKey | None:
        """Take an attempt off the books; return the one that waited first and has its slot now."""
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
        """Since when an attempt has had a slot; one that waits will not have one before now."""
        return self.started.get(key, now)

    @property
    def last_in_line(self) -> TaskKey | None:
        """The attempt that waits for a slot longest from now, if one has to wait."""
        return next(reversed(self.waiting), None)

    def let_go(self, job: str, kept: Collection[TaskKey]) -> None:
        """Stop waiting for the moves of a job that is over, but for what is kept of it."""
        leave = self.leaving
        if leave is not None:
            gone = [key for key in leave.moving if key.job == job and key not in kept]
            for key in gone:
                del leave.moving[key]
            leave.given.pop(job, None)
            leave.unsettled = True

    def holds(self, key: TaskKey) -> bool:
        """Whether the ledger has the block of an attempt on this worker."""
        return key in self.blocks.get(key.job, ())


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker, for those who watch."""

    worker: str
    status: Literal["UP", "DOWN", "DRAINING"]
    active_tasks: int
    slots: int
    epoch: int
    excluded: bool = False
    """Too many tasks failed on it: it gets none for a while."""
    full: str | None = None
