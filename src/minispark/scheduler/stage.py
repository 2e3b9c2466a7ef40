"""One stage at work: its tasks, and the counters that must agree with them.

Covers: blocks there and where their rows are, run times. Does not cover: single tasks (`tasks`),
jobs and leases (`state`).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from math import fsum
from typing import Final

from minispark.ids import TaskKey
from minispark.plan.stages import Label, StageInput
from minispark.scheduler.commands import BlockRef
from minispark.scheduler.spec import StageBranch, StageSpec
from minispark.scheduler.tasks import IDLE, Done, Task

MOST_TIMES: Final = 999
"""Run times kept of a stage: enough for a median, and bounded for a stage of a million tasks."""
MOST_HOLDERS: Final = 8
"""Workers that are asked first because they hold most of the input: where rows lie evenly nothing
is lost, and where they do not it is among these."""


@dataclass(frozen=True, slots=True)
class StageReader:
    """A branch of a later stage that reads this one: its place there, and how it reads."""

    stage: int
    offset: int
    partitions: int
    edge: StageInput


@dataclass(slots=True)
class StageRun:
    """A stage at work. ``label`` starts as the plan's and is lowered when a rerun disproves it."""

    spec: StageSpec
    order: int
    label: Label
    tasks: list[Task]
    readers: tuple[StageReader, ...] = ()
    generation: int = 0
    done: int = 0
    rows_on: dict[str, int] = field(default_factory=dict)
    """Rows (plus one a block) on each worker."""
    times_s: list[float] = field(default_factory=list)
    """How long accepted attempts ran, in order: of the first that ended, which are enough."""
    prefetch_depth: int | None = field(default=None, compare=False)
    """How many attempts may wait on a worker, until another time is noted (`prefetch`)."""
    _gathered: tuple[BlockRef, ...] | None = field(default=None, compare=False)
    """Kept, since every task of a stage that reads all of this one shares it."""
    _holders: tuple[str, ...] | None = field(default=None, compare=False)
    started: dict[TaskKey, float] = field(default_factory=dict, compare=False)
    """Attempts that have a slot and may get another beside them, and since when, in that order."""

    @property
    def id(self) -> int:
        """The stage's number in the plan."""
        return self.spec.id

    @property
    def final(self) -> bool:
        """Whether its output is delivered to the user."""
        return self.spec.result or self.spec.sink

    @property
    def complete(self) -> bool:
        """Whether every task has an accepted attempt whose block can be read."""
        return self.done == len(self.tasks)

    def is_closing(self, share: float) -> bool:
        """Whether at least this share of its tasks is done, and not all of them."""
        total = len(self.tasks)
        return share * total <= self.done < total and bool(self.times_s)

    def branch_of(self, partition: int) -> tuple[StageBranch, int]:
        """Return the branch of a task and the task's number within it."""
        for branch in self.spec.branches:
            if partition < branch.partitions:
                return branch, partition
            partition -= branch.partitions
        msg = f"stage {self.id} has no such partition"
        raise IndexError(msg)

    def accept(self, partition: int, done: Done) -> None:
        """Take the arrow to Done."""
        self.tasks[partition].move(done)
        self.restore(partition, done)

    def restore(self, partition: int, done: Done) -> None:
        """Count a task as done, however it came to be."""
        task = self.tasks[partition]
        task.state, task.published_receipt = done, done.receipt
        self.done += 1
        self._tally(done, sign=1)

    def lose(self, partition: int) -> None:
        """Take the arrow from Done to Idle."""
        task = self.tasks[partition]
        done = task.state
        task.move(IDLE)
        if isinstance(done, Done):
            self.done -= 1
            self._tally(done, sign=-1)

    def relocate(self, partition: int, worker: str, now: float) -> None:
        """Note that the block of a task is on another worker."""
        task = self.tasks[partition]
        if isinstance(task.state, Done):
            self._tally(task.state, sign=-1)
            task.state = replace(task.state, worker=worker, moved_s=now)
            self._tally(task.state, sign=1)

    def accepted(self) -> tuple[Done, ...]:
        """Return the accepted attempts in partition order."""
        return tuple(task.state for task in self.tasks if isinstance(task.state, Done))

    def gather(self) -> tuple[BlockRef, ...]:
        """Return partition 0 of every block, in partition order."""
        if self._gathered is None:
            self._gathered = tuple(BlockRef(d.key, d.worker, 0) for d in self.accepted())
        return self._gathered

    @property
    def holders(self) -> tuple[str, ...]:
        """The workers that have most of its rows: where those who read it all would like to run."""
        if self._holders is None:
            most = nsmallest(MOST_HOLDERS, ((-rows, name) for name, rows in self.rows_on.items()))
            self._holders = tuple(name for _, name in most)
        return self._holders

    @property
    def typical_s(self) -> float | None:
        """How long an attempt runs (the median), None while none has ended."""
        return self.times_s[len(self.times_s) // 2] if self.times_s else None

    @property
    def mean_s(self) -> float:
        """How long an attempt runs on average, 0 while none has ended."""
        return fsum(self.times_s) / max(1, len(self.times_s))

    def note_time(self, seconds: float) -> None:
        """Take note of how long an accepted attempt ran."""
        if len(self.times_s) < MOST_TIMES:
            insort(self.times_s, seconds)
            self.prefetch_depth = None

    def _tally(self, done: Done, *, sign: int) -> None:
        rows = self.rows_on.get(done.worker, 0) + sign * (1 + sum(done.receipt.rows))
        self.rows_on[done.worker] = rows
        if not rows:
            del self.rows_on[done.worker]
        self._gathered = self._holders = None
