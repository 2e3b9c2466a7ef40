"""A running stage: its tasks, and the counters that must agree with them.

Covers: accepted blocks and where their rows are, run times. Does not cover: single tasks (`tasks`),
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

MAX_TIMES: Final = 999
"""Run times kept of a stage: enough for a median, also of a stage of a million tasks."""
MAX_HOLDERS: Final = 8
"""Workers with most of the input that are considered first: if rows are spread evenly any worker
does, and if not, the best one is among these."""


@dataclass(frozen=True, slots=True)
class StageReader:
    """A branch of a later stage that reads this one: its offset there, and how it reads."""

    stage: int
    offset: int
    partitions: int
    edge: StageInput


@dataclass(slots=True)
class StageRun:
    """A running stage. ``label`` starts as in the plan and is lowered if a rerun disproves it."""

    spec: StageSpec
    order: int
    label: Label
    tasks: list[Task]
    readers: tuple[StageReader, ...] = ()
    generation: int = 0
    done: int = 0
    rows_on: dict[str, int] = field(default_factory=dict)
    """By worker, the rows of accepted blocks there, plus one for each block."""
    times_s: list[float] = field(default_factory=list)
    """Run times of the first accepted attempts, sorted."""
    prefetch_depth: int | None = field(default=None, compare=False)
    """Attempts that may wait on a worker; None after a new run time (`job_queue`)."""
    _gathered: tuple[BlockRef, ...] | None = field(default=None, compare=False)
    """Cached: all tasks of a stage that reads this whole one share it."""
    _holders: tuple[str, ...] | None = field(default=None, compare=False)
    started: dict[TaskKey, float] = field(default_factory=dict, compare=False)
    """Attempts with a slot that may get a second attempt, and since when they run, oldest first."""

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
        """Whether at least this share of its tasks is done, but not all of them."""
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
        """Count a task as done, without an arrow."""
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
        """Set the worker that has the block of a task."""
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
        """The workers with most of its rows: the best ones for tasks that read the whole stage."""
        if self._holders is None:
            top = nsmallest(MAX_HOLDERS, ((-rows, name) for name, rows in self.rows_on.items()))
            self._holders = tuple(name for _, name in top)
        return self._holders

    @property
    def typical_s(self) -> float | None:
        """Median run time of its attempts, None while none has ended."""
        return self.times_s[len(self.times_s) // 2] if self.times_s else None

    @property
    def mean_s(self) -> float:
        """Mean run time of its attempts, 0 while none has ended."""
        return fsum(self.times_s) / max(1, len(self.times_s))

    def note_time(self, seconds: float) -> None:
        """Add the run time of an accepted attempt."""
        if len(self.times_s) < MAX_TIMES:
            insort(self.times_s, seconds)
            self.prefetch_depth = None

    def _tally(self, done: Done, *, sign: int) -> None:
        rows = self.rows_on.get(done.worker, 0) + sign * (1 + sum(done.receipt.rows))
        self.rows_on[done.worker] = rows
        if not rows:
            del self.rows_on[done.worker]
        self._gathered = self._holders = None
