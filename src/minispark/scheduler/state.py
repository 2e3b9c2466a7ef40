"""Everything the scheduler remembers: jobs, their stages and tasks, and workers.

Covers: the records, the arrows of jobs, and the counters that must agree with the tasks (blocks
per stage, leases and blocks per worker), each kept in one place. Does not cover: single tasks and
workers (`tasks`, `workers`), decisions (`lineage`, `attempts`, `placement`, `liveness`). Only
`core` and what it is made of call what mutates.

Collections are dicts and lists throughout: their order is part of every decision.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappush, nsmallest
from math import fsum
from typing import Final

from minispark.ids import TaskKey
from minispark.scheduler.commands import BlockRef, JobStatus
from minispark.scheduler.lines import Lines
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
from minispark.scheduler.turns import Turns
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings

__all__ = [
    "JOB_ARROWS",
    "Job",
    "Phase",
    "Reader",
    "Stage",
    "State",
]


MOST_TIMES: Final = 999
"""Run times kept of a stage: enough for a median, and bounded for a stage of a million tasks."""
MOST_HOLDERS: Final = 8
"""Workers that are asked first because they hold most of the input: where rows lie evenly nothing
is lost, and where they do not it is among these."""


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
    times_s: list[float] = field(default_factory=list)
    """How long accepted attempts ran, in order: of the first that ended, which are enough."""
    _mean_s: float | None = field(default=None, compare=False)
    _gathered: tuple[BlockRef, ...] | None = field(default=None, compare=False)
    """Kept, since every task of a stage that reads all of this one shares it."""
    _holders: tuple[str, ...] | None = field(default=None, compare=False)

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
        if self._mean_s is None:
            self._mean_s = fsum(self.times_s) / max(1, len(self.times_s))
        return self._mean_s

    def note_time(self, seconds: float) -> None:
        """Take note of how long an accepted attempt ran."""
        if len(self.times_s) < MOST_TIMES:
            insort(self.times_s, seconds)
            self._mean_s = None

    def _tally(self, done: Done, *, sign: int) -> None:
        rows = self.rows_on.get(done.worker, 0) + sign * (1 + sum(done.receipt.rows))
        self.rows_on[done.worker] = rows
        if not rows:
            del self.rows_on[done.worker]
        self._gathered = self._holders = None


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
    weight: float = 1.0
    number: int = 0
    """How many jobs there were before it."""
    leased: int = 0
    """Its live attempts."""
    given: float = 0.0
    """Attempts that it was given for its weight, beginning where others were when it came."""
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
        return cls(spec.job, weight=spec.weight, stages=stages, ordered=tuple(stages.values()))

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
    """Workers that are UP and stay."""
    leaving: dict[str, Worker] = field(default_factory=dict)
    """Workers that are DRAINING."""
    hungry: dict[str, Job] = field(default_factory=dict)
    """Jobs with a queue."""
    submitted: int = 0
    """Jobs that ever came."""
    launched: int = 0
    """Attempts that were ever launched, and workers that ever came: whose turn it is."""
    given: float = 0.0
    """Where the job stood that was served last: where those begin that come."""
    stuck: bool = False
    """Nobody may work: no worker stays, or all are full and nothing runs."""
    lines: Lines = field(default_factory=Lines, compare=False)
    turns: Turns = field(default_factory=Turns, compare=False)

    def arrange(self, settings: SchedulerSettings) -> None:
        """Make the indices anew: who was remembered under other settings may stand elsewhere."""
        self.lines = Lines(max_load_diff=settings.max_load_diff, max_prefetch=settings.max_prefetch)
        self.turns = Turns(settings.policy)
        for worker in self.rotation.values():
            self.lines.see(worker)
        for job in self.hungry.values():
            self.turns.see(job)

    # Jobs and their attempts.

    def submit(self, job: Job) -> None:
        """Take in a job."""
        self.submitted += 1
        job.number = self.submitted
        self.jobs[job.name] = job

    def enqueue(self, job: Job, stage: Stage, partition: int) -> None:
        """Make a task ready, and its job one of those that want a worker."""
        job.make_ready(stage, partition)
        if job.name not in self.hungry:
            job.given = max(job.given, self.given)
            self.hungry[job.name] = job
            self.turns.see(job)

    def sate(self, job: Job) -> None:
        """Let a job go that has nothing ready."""
        self.hungry.pop(job.name, None)
        self.turns.forget(job.name)

    def lease(self, job: Job, stage: Stage, partition: int, worker: Worker, now: float) -> Leased:
        """Take the arrow from Ready to Leased and put worker and job at the end of the line."""
        task = stage.tasks[partition]
        key = TaskKey(job.name, stage.id, stage.generation, partition, task.attempts)
        lease = Leased(key, worker.name, job.inputs_of(stage, partition), now)
        task.move(lease)
        task.attempts += 1
        worker.take(key, now)
        job.workers[worker.name] = None
        self.launched += 1
        worker.turn = self.launched
        self.given = max(self.given, job.given)
        job.given += 1 / job.weight
        job.leased += 1
        self.see(worker)
        self.turns.see(job)
        if job.phase is Phase.ACCEPTED:
            job.move(Phase.RUNNING)
        return lease

    def unlease(self, lease: Leased, now: float) -> None:
        """Take an attempt off its worker's books."""
        worker, job = self.workers[lease.worker], self.jobs[lease.key.job]
        worker.let_go_of(lease.key, now)
        job.leased -= 1
        self.see(worker)
        if job.name in self.hungry:
            self.turns.see(job)

    def accept(self, stage: Stage, lease: Leased, receipt: Receipt, now: float) -> None:
        """Accept an attempt: its block is what readers get from now on."""
        worker = self.workers[lease.worker]
        stage.note_time(now - worker.started_s(lease.key, now))
        self.unlease(lease, now)
        stage.accept(lease.key.partition, Done(lease.key, lease.worker, receipt))
        worker.blocks.setdefault(lease.key.job, {})[lease.key] = None

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

    # Workers.

    def join(self, worker: Worker) -> None:
        """Let a worker take work, as the last in line."""
        if worker.name not in self.rotation:
            self.launched += 1
            worker.turn = self.launched
            self.rotation[worker.name] = worker
        self.see(worker)

    def see(self, worker: Worker) -> None:
        """Take note that a worker has changed."""
        if worker.name in self.rotation:
            self.lines.see(worker)

    def part(self, worker: Worker) -> None:
        """Let a worker take no more work. Who waited for it to have room waits anew, for one."""
        was_there = self.rotation.pop(worker.name, None) is not None
        self.lines.forget(worker.name)
        if was_there and not self.rotation:
            for job in self.jobs.values():
                job.stranded_s = None

    def forget_workers(self, most: int) -> None:
        """Forget the oldest workers that are DOWN and of which no block counts, but for some."""
        if len(self.workers) - len(self.rotation) - len(self.leaving) <= most:
            return
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

    # Leases.

    def lease_of(self, key: TaskKey) -> Leased | None:
        """Return the lease of a live attempt."""
        state = self.jobs[key.job].stages[key.stage].tasks[key.partition].state
        return state if isinstance(state, Leased) and state.key == key else None

    def leases_of(self, job: Job) -> list[Leased]:
        """Return the live attempts of a job, worker by worker."""
        found: list[Leased] = []
        if not job.leased:
            return found
        for worker in (self.workers[name] for name in job.workers if name in self.workers):
            for key in worker.leased:
                lease = self.lease_of(key) if key.job == job.name else None
                if lease is not None:
                    found.append(lease)
        return found
