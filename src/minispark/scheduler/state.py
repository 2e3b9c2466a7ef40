"""Everything the scheduler remembers: jobs, their stages and tasks, and workers.

Covers: the records, the arrows of jobs, and the counters that must agree with the tasks (blocks
per stage, leases and blocks per worker), each kept in one place. Does not cover: single tasks and
workers (`tasks`, `workers`), decisions (`lineage`, `attempts`, `placement`, `liveness`). Only
`core` and what it is made of call what mutates.

Collections are dicts and lists throughout: their order is part of every decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappush
from typing import Final

from minispark.ids import TaskKey
from minispark.scheduler.commands import BlockRef, JobStatus
from minispark.scheduler.spec import (
    FoundBlock,
    InputEdge,
    JobSpec,
    Receipt,
    StageBranch,
    StageLabel,
    StageSpec,
)
from minispark.scheduler.tasks import IDLE, READY, Done, IllegalMoveError, Leased, Task
from minispark.scheduler.workers import Worker

__all__ = [
    "JOB_ARROWS",
    "Job",
    "Phase",
    "Reader",
    "Stage",
    "State",
]


@dataclass(frozen=True, slots=True)
class Reader:
    """A branch of a later stage that reads this one: its place there, and how it reads."""

    stage: int
    offset: int
    partitions: int
    edge: InputEdge


@dataclass(slots=True)
class Stage:
    """A stage at work. ``label`` starts as the plan's and is lowered when a rerun disproves it."""

    spec: StageSpec
    order: int
    label: StageLabel
    tasks: list[Task]
    readers: tuple[Reader, ...] = ()
    generation: int = 0
    done: int = 0
    rows_on: dict[str, int] = field(default_factory=dict)
    """Rows (plus one a block) on each worker."""
    _gathered: tuple[BlockRef, ...] | None = field(default=None, compare=False)
    """Kept, since every task of a stage that reads all of this one shares it."""

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
        task.state, task.promised = done, done.receipt
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

    def _tally(self, done: Done, *, sign: int) -> None:
        rows = self.rows_on.get(done.worker, 0) + sign * (1 + sum(done.receipt.rows))
        self.rows_on[done.worker] = rows
        if not rows:
            del self.rows_on[done.worker]
        self._gathered = None


class Phase(StrEnum):
    """How far a job is."""

    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    COMMITTING = "COMMITTING"
    """Its files are being published: nothing of it starts, and nothing can end it any more."""
    DELIVERED = "DELIVERED"
    """Its files are published; a result block was lost meanwhile and is made again."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


JOB_ARROWS: Final[Mapping[tuple[Phase, Phase], str]] = {
    (Phase.ACCEPTED, Phase.RUNNING): "first launch",
    (Phase.ACCEPTED, Phase.COMMITTING): "sinks without tasks",
    (Phase.ACCEPTED, Phase.SUCCEEDED): "nothing to run",
    (Phase.ACCEPTED, Phase.FAILED): "no worker, or a broken plan",
    (Phase.ACCEPTED, Phase.CANCELLED): "cancelled",
    (Phase.RUNNING, Phase.COMMITTING): "all output there, with sinks",
    (Phase.RUNNING, Phase.SUCCEEDED): "all output there, no sinks",
    (Phase.RUNNING, Phase.FAILED): "a failure that ends it",
    (Phase.RUNNING, Phase.CANCELLED): "cancelled",
    (Phase.COMMITTING, Phase.SUCCEEDED): "committed",
    (Phase.COMMITTING, Phase.DELIVERED): "committed, a result block lost",
    (Phase.COMMITTING, Phase.FAILED): "commit failed",
    (Phase.DELIVERED, Phase.SUCCEEDED): "all results there",
    (Phase.DELIVERED, Phase.FAILED): "a failure that ends it",
    (Phase.DELIVERED, Phase.CANCELLED): "cancelled",
}

_STATUS: Final = {
    Phase.ACCEPTED: JobStatus.ACCEPTED,
    Phase.RUNNING: JobStatus.RUNNING,
    Phase.COMMITTING: JobStatus.RUNNING,
    Phase.DELIVERED: JobStatus.RUNNING,
    Phase.SUCCEEDED: JobStatus.SUCCEEDED,
    Phase.FAILED: JobStatus.FAILED,
    Phase.CANCELLED: JobStatus.CANCELLED,
}


@dataclass(slots=True)
class Job:
    """A job. Once it has ended only its name, its phase and where its results are is left."""

    name: str
    phase: Phase = Phase.ACCEPTED
    stages: dict[int, Stage] = field(default_factory=dict)
    """By number, in topological order."""
    ordered: tuple[Stage, ...] = ()
    queue: list[tuple[int, int]] = field(default_factory=list)
    """Heap of (order of the stage, partition); an entry whose task is not Ready is void."""
    committing: tuple[TaskKey, ...] = ()
    """The attempts whose files are being published."""
    workers: dict[str, None] = field(default_factory=dict)
    """Workers that may have blocks of it, of attempts that were never accepted too."""
    fetch_failures: int = 0
    stranded_s: float | None = None
    """Since when it has had something to run and nobody to run it."""

    @classmethod
    def of(cls, spec: JobSpec) -> Job:
        """Lay out a job that is fit to run."""
        stages = {
            stage.id: Stage(stage, order, stage.label, [Task() for _ in range(stage.partitions)])
            for order, stage in enumerate(spec.stages)
        }
        readers: dict[int, list[Reader]] = {stage: [] for stage in stages}
        for stage in spec.stages:
            offset = 0
            for branch in stage.branches:
                for edge in branch.inputs:
                    readers[edge.stage].append(Reader(stage.id, offset, branch.partitions, edge))
                offset += branch.partitions
        for number, stage_readers in readers.items():
            stages[number].readers = tuple(stage_readers)
        return cls(spec.job, stages=stages, ordered=tuple(stages.values()))

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)

    @property
    def status(self) -> JobStatus:
        """The phase, as the world names it."""
        return _STATUS[self.phase]

    @property
    def complete(self) -> bool:
        """Whether all that is delivered to the user is there."""
        return all(stage.complete for stage in self.ordered if stage.final)

    def move(self, to: Phase) -> None:
        """Take an arrow of the table; raise IllegalMoveError for any other, changing nothing."""
        if (self.phase, to) not in JOB_ARROWS:
            msg = f"job {self.name} cannot go from {self.phase} to {to}"
            raise IllegalMoveError(msg)
        self.phase = to

    def make_ready(self, stage: Stage, partition: int) -> None:
        """Put a task into the queue."""
        stage.tasks[partition].move(READY)
        heappush(self.queue, (stage.order, partition))

    def inputs_of(self, stage: Stage, partition: int) -> tuple[tuple[int, int], ...]:
        """Return the stages that a task reads, each with its present generation."""
        branch, _ = stage.branch_of(partition)
        read = dict.fromkeys(edge.stage for edge in branch.inputs)
        return tuple((number, self.stages[number].generation) for number in read)

    def counts_on(self, key: TaskKey) -> bool:
        """Whether an attempt is the accepted one of its task."""
        stage = self.stages.get(key.stage)
        if stage is None or key.partition >= len(stage.tasks):
            return False
        done = stage.tasks[key.partition].state
        return isinstance(done, Done) and done.key == key

    def clear(self) -> None:
        """Forget all but how it ended."""
        self.stages, self.ordered, self.queue, self.committing = {}, (), [], ()
        self.stranded_s = None


@dataclass(slots=True)
class State:
    """The whole memory of a scheduler."""

    jobs: dict[str, Job] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    rotation: dict[str, Worker] = field(default_factory=dict)
    """Workers that take work, the one that was given some longest ago first."""
    leaving: dict[str, Worker] = field(default_factory=dict)
    """Workers that are DRAINING."""
    hungry: dict[str, Job] = field(default_factory=dict)
    """Jobs with a queue, the one that was served longest ago first."""

    def enqueue(self, job: Job, stage: Stage, partition: int) -> None:
        """Make a task ready, and its job one of those that want a worker."""
        job.make_ready(stage, partition)
        self.hungry[job.name] = job

    def lease(self, job: Job, stage: Stage, partition: int, worker: Worker, now: float) -> Leased:
        """Take the arrow from Ready to Leased and put worker and job at the end of the line."""
        task = stage.tasks[partition]
        key = TaskKey(job.name, stage.id, stage.generation, partition, task.attempts)
        lease = Leased(key, worker.name, job.inputs_of(stage, partition), now)
        task.move(lease)
        task.attempts += 1
        worker.leased[key] = now
        job.workers[worker.name] = None
        self.rotation[worker.name] = self.rotation.pop(worker.name)
        if job.phase is Phase.ACCEPTED:
            job.move(Phase.RUNNING)
        return lease

    def unlease(self, lease: Leased) -> None:
        """Take an attempt off its worker's books."""
        del self.workers[lease.worker].leased[lease.key]

    def accept(self, stage: Stage, lease: Leased, receipt: Receipt) -> None:
        """Accept an attempt: its block is what readers get from now on."""
        self.unlease(lease)
        stage.accept(lease.key.partition, Done(lease.key, lease.worker, receipt))
        self.workers[lease.worker].blocks.setdefault(lease.key.job, {})[lease.key] = None

    def take_over(self, job: Job, found: FoundBlock) -> None:
        """Count what a worker has kept of an earlier job as done; its number is used up."""
        worker, stage = self.workers.get(found.worker), job.stages[found.stage]
        if worker is None or not worker.up or worker.leaving is not None:
            return
        key = TaskKey(job.name, stage.id, stage.generation, found.partition, 0)
        stage.tasks[found.partition].attempts = 1
        stage.accept(found.partition, Done(key, worker.name, found.receipt, found=True))
        worker.blocks.setdefault(job.name, {})[key] = None
        job.workers[worker.name] = None

    def waiting(self) -> list[Leased]:
        """Return the last attempt in line of each worker that has more than it can run."""
        keys = (worker.last_in_line for worker in self.rotation.values())
        return [lease for key in keys if key is not None and (lease := self.lease_of(key))]

    def forget_workers(self, most: int) -> None:
        """Forget the oldest workers that are DOWN and of which no block counts, but for some."""
        gone = [w.name for w in self.workers.values() if not w.up and not w.blocks]
        for name in gone[: max(0, len(gone) - most)]:
            del self.workers[name]

    def give(self, key: TaskKey, giver: Worker, taker: Worker, now: float) -> None:
        """Let a block be where it was moved to."""
        job = self.jobs[key.job]
        del giver.blocks[key.job][key]
        taker.blocks.setdefault(key.job, {})[key] = None
        job.workers[taker.name] = None
        if job.counts_on(key):
            job.stages[key.stage].relocate(key.partition, taker.name, now)

    def lease_of(self, key: TaskKey) -> Leased | None:
        """Return the lease of a live attempt."""
        state = self.jobs[key.job].stages[key.stage].tasks[key.partition].state
        return state if isinstance(state, Leased) and state.key == key else None

    def leases_of(self, job: Job) -> list[Leased]:
        """Return the live attempts of a job, worker by worker."""
        found: list[Leased] = []
        for worker in self.workers.values():
            for key in worker.leased:
                if key.job == job.name:
                    lease = job.stages[key.stage].tasks[key.partition].state
                    if isinstance(lease, Leased):
                        found.append(lease)
        return found
