"""The state of the scheduler: jobs, their stages and tasks, and workers.

Covers: the records, the arrows of jobs, and the counters that must agree with the tasks (leases
and blocks by worker), each updated in one place. Does not cover: single tasks, stages and workers
(`tasks`, `stage`, `workers`), decisions (`lineage`, `attempts`, `placement`, `liveness`). Only code
that runs within `Scheduler.apply` may change it.

All collections are dicts and lists: their order is part of every decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappop, heappush
from math import inf
from typing import Final

from minispark.ids import TaskKey
from minispark.scheduler.commands import JobStatus
from minispark.scheduler.events import TaskSucceeded
from minispark.scheduler.job_queue import JobQueue
from minispark.scheduler.spec import CachedOutput, JobSpec
from minispark.scheduler.stage import StageReader, StageRun
from minispark.scheduler.tasks import (
    IDLE,
    READY,
    Done,
    IllegalMoveError,
    Leased,
    Racing,
    Task,
    leases_in,
)
from minispark.scheduler.worker_index import WorkerIndex
from minispark.scheduler.workers import Leaving, Worker
from minispark.settings import SchedulerSettings


class Phase(StrEnum):
    """The state of a job."""

    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    COMMITTING = "COMMITTING"
    """Its files are being published: no task starts, and only the commit can end it."""
    DELIVERED = "DELIVERED"
    """Its files are published, but a result block was lost meanwhile and is made again."""
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
class JobRun:
    """A job. After its end only its name, its phase and the workers with its results are left."""

    name: str
    phase: Phase = Phase.ACCEPTED
    weight: float = 1.0
    number: int = 0
    """Number in the order of submission."""
    leased: int = 0
    """Number of its live attempts."""
    given: float = 0.0
    """Its virtual time: attempts so far, each divided by the weight of the job (fair queueing)."""
    stages: dict[int, StageRun] = field(default_factory=dict)
    """Stages by number, in topological order."""
    ordered: tuple[StageRun, ...] = ()
    queue: list[tuple[int, int]] = field(default_factory=list)
    """Heap of (order of the stage, partition); an entry whose task is not Ready is stale."""
    committing: tuple[TaskKey, ...] = ()
    """The attempts whose files are being published."""
    workers: dict[str, None] = field(default_factory=dict)
    """Workers that may have blocks of it, also of attempts that were not accepted."""
    fetch_failures: int = 0
    stranded_s: float | None = None
    """Since when no worker can take its tasks."""

    @classmethod
    def of(cls, spec: JobSpec) -> JobRun:
        """Return a new job; its spec must be sound (`lineage.fault`)."""
        stages = {
            stage.id: StageRun(stage, order, stage.label, [Task() for _ in range(stage.partitions)])
            for order, stage in enumerate(spec.stages)
        }
        readers: dict[int, list[StageReader]] = {stage: [] for stage in stages}
        for stage in spec.stages:
            offset = 0
            for branch in stage.branches:
                for edge in branch.inputs:
                    readers[edge.stage].append(
                        StageReader(stage.id, offset, branch.partitions, edge)
                    )
                offset += branch.partitions
        for number, stage_readers in readers.items():
            stages[number].readers = tuple(stage_readers)
        return cls(spec.job, weight=spec.weight, stages=stages, ordered=tuple(stages.values()))

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)

    @property
    def status(self) -> JobStatus:
        """The public status."""
        return _STATUS[self.phase]

    @property
    def complete(self) -> bool:
        """Whether all output for the user exists."""
        return all(stage.complete for stage in self.ordered if stage.final)

    def move(self, to: Phase) -> None:
        """Take an arrow of the table; raise IllegalMoveError for any other, changing nothing."""
        if (self.phase, to) not in JOB_ARROWS:
            msg = f"job {self.name} cannot go from {self.phase} to {to}"
            raise IllegalMoveError(msg)
        self.phase = to

    @property
    def head(self) -> StageRun | None:
        """The stage of the next task in the queue; stale entries before it are dropped."""
        while self.queue:
            order, partition = self.queue[0]
            stage = self.ordered[order]
            if stage.tasks[partition].state is READY:
                return stage
            heappop(self.queue)
        return None

    def make_ready(self, stage: StageRun, partition: int) -> None:
        """Put a task into the queue."""
        stage.tasks[partition].move(READY)
        heappush(self.queue, (stage.order, partition))

    def inputs_of(self, stage: StageRun, partition: int) -> tuple[tuple[int, int], ...]:
        """Return the stages that a task reads, each with its current generation."""
        branch, _ = stage.branch_of(partition)
        if not branch.inputs:
            return ()
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
        """Forget everything but the end."""
        self.stages, self.ordered, self.queue, self.committing = {}, (), [], ()
        self.stranded_s = None


@dataclass(slots=True)
class State:
    """The whole state of a scheduler."""

    jobs: dict[str, JobRun] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    rotation: dict[str, Worker] = field(default_factory=dict)
    """Workers that are UP."""
    leaving: dict[str, Worker] = field(default_factory=dict)
    """Workers that are DRAINING."""
    runnable_jobs: dict[str, JobRun] = field(default_factory=dict)
    """Jobs with a ready task."""
    submitted: int = 0
    """Number of jobs ever submitted."""
    launched: int = 0
    """Number of launches and of joined workers ever: a clock for round robin."""
    given: float = 0.0
    """Virtual time of the last served job; new jobs start from it (fair queueing)."""
    stuck: bool = False
    """Whether no worker can take a task: there is none, or all are full and nothing runs."""
    worker_index: WorkerIndex = field(default_factory=WorkerIndex, compare=False)
    speculation_candidates: dict[tuple[str, int], None] = field(default_factory=dict, compare=False)
    """Stages (job, stage) that may have stragglers; some entries are stale."""
    next_straggler_check_s: float = field(default=-inf, compare=False)
    """Earliest time at which an attempt known at the last check can be a straggler."""
    begun_s: float = field(default=inf, compare=False)
    """Start of the first attempt after that check."""
    job_queue: JobQueue = field(
        default_factory=lambda: JobQueue(SchedulerSettings()), compare=False
    )

    def arrange(self, settings: SchedulerSettings) -> None:
        """Rebuild the indices, which depend on the settings."""
        self.worker_index = WorkerIndex(
            max_load_diff=settings.max_load_diff, max_prefetch=settings.max_prefetch
        )
        self.job_queue = JobQueue(settings)
        for worker in self.rotation.values():
            self.worker_index.see(worker)
        for stage in (stage for job in self.jobs.values() for stage in job.ordered):
            stage.prefetch_depth = None
        for job in self.runnable_jobs.values():
            self.job_queue.see(job)
        self.next_straggler_check_s = -inf
        self.speculation_candidates = {
            (job.name, stage.id): None
            for job in self.jobs.values()
            for stage in job.ordered
            if settings.speculation and stage.is_closing(settings.speculation_quantile)
        }
        begun = (item for worker in self.workers.values() for item in worker.started.items())
        for key, since_s in sorted(begun, key=lambda item: (item[1], item[0])):
            stage = self.jobs[key.job].stages[key.stage]
            lease = stage.tasks[key.partition].state
            if isinstance(lease, Leased) and not lease.raced:
                stage.started[key] = since_s

    @property
    def drains(self) -> list[tuple[Worker, Leaving]]:
        """Each worker that drains, with its progress."""
        return [(w, w.leaving) for w in self.leaving.values() if w.leaving is not None]

    # Jobs and their attempts.

    def submit(self, job: JobRun) -> None:
        """Add a job."""
        self.submitted += 1
        job.number = self.submitted
        self.jobs[job.name] = job

    def enqueue(self, job: JobRun, stage: StageRun, partition: int) -> None:
        """Make a task ready and its job runnable."""
        job.make_ready(stage, partition)
        if job.name not in self.runnable_jobs:
            job.given = max(job.given, self.given)
            self.runnable_jobs[job.name] = job
        elif job.queue[0] != (stage.order, partition):
            return  # The next task of the job is the same as before.
        self.job_queue.see(job)

    def mark_runnable(self, job: JobRun) -> None:
        """Update a job in the indices after its queue has changed."""
        if job.name not in self.runnable_jobs:
            return
        if job.head is None:
            self.remove_runnable(job)
        else:
            self.job_queue.see(job)

    def remove_runnable(self, job: JobRun) -> None:
        """Remove a job without a ready task from the indices."""
        self.runnable_jobs.pop(job.name, None)
        self.job_queue.forget(job.name)

    def lease(
        self, job: JobRun, stage: StageRun, partition: int, worker: Worker, now: float
    ) -> Leased:
        """Lease a ready task, or add a second attempt to a running one.

        Worker and job go to the end of their queues.
        """
        task = stage.tasks[partition]
        key = TaskKey(job.name, stage.id, stage.generation, partition, task.attempts)
        first = task.state if isinstance(task.state, Leased) else None
        inputs = job.inputs_of(stage, partition)
        lease = Leased(key, worker.name, inputs, now, speculative=first is not None)
        task.move(lease if first is None else Racing(first, lease))
        task.attempts += 1
        has_slot = worker.take(key, now)
        if first is not None:
            stage.started.pop(first.key, None)
        elif has_slot:
            stage.started[key] = now
            self.begun_s = min(self.begun_s, now)
        job.workers[worker.name] = None
        self.launched += 1
        worker.turn = self.launched
        self.given = max(self.given, job.given)
        job.given += 1 / job.weight
        job.leased += 1
        self.reindex(worker)
        if job.name in self.runnable_jobs:
            self.job_queue.see(job)
        if job.phase is Phase.ACCEPTED:
            job.move(Phase.RUNNING)
        return lease

    def unlease(self, lease: Leased, now: float) -> None:
        """Remove an attempt from its worker."""
        worker, job = self.workers[lease.worker], self.jobs[lease.key.job]
        following = worker.remove_attempt(lease.key, now)
        job.stages[lease.key.stage].started.pop(lease.key, None)
        if following is not None:
            self.jobs[following.job].stages[following.stage].started[following] = now
            self.begun_s = min(self.begun_s, now)
        job.leased -= 1
        self.reindex(worker)
        if job.name in self.runnable_jobs:
            self.job_queue.see(job)

    def give_up(self, stage: StageRun, lease: Leased, now: float) -> bool:
        """Remove an attempt; return whether its task has no other attempt and is idle now."""
        self.unlease(lease, now)
        task = stage.tasks[lease.key.partition]
        remaining = [other for other in leases_in(task.state) if other.key != lease.key]
        task.move(replace(remaining[0], raced=True) if remaining else IDLE)
        return not remaining

    def accept(self, stage: StageRun, lease: Leased, event: TaskSucceeded, now: float) -> None:
        """Accept an attempt: readers get its block from now on."""
        worker = self.workers[lease.worker]
        if event.seconds is None:
            stage.note_time(now - worker.started_s(lease.key, now))
        else:
            # The time since the lease includes round trips and waiting on the worker.
            stage.note_time(min(max(0.0, event.seconds), now - lease.since_s))
        self.unlease(lease, now)
        stage.accept(lease.key.partition, Done(lease.key, lease.worker, event.receipt))
        worker.blocks.setdefault(lease.key.job, {})[lease.key] = None

    def take_over(self, job: JobRun, output: CachedOutput) -> None:
        """Count a task whose block is in a worker's cache as done, by attempt 0."""
        worker, stage = self.workers.get(output.worker), job.stages[output.stage]
        if worker is None or not worker.up or worker.leaving is not None:
            return
        key = TaskKey(job.name, stage.id, stage.generation, output.partition, 0)
        stage.tasks[output.partition].attempts = 1
        stage.accept(output.partition, Done(key, worker.name, output.receipt, found=True))
        worker.blocks.setdefault(job.name, {})[key] = None
        job.workers[worker.name] = None

    # Workers.

    def add_worker(self, worker: Worker) -> None:
        """Add a worker to the rotation, as the last one."""
        if worker.name not in self.rotation:
            self.launched += 1
            worker.turn = self.launched
            self.rotation[worker.name] = worker
        self.reindex(worker)

    def reindex(self, worker: Worker) -> None:
        """Update a worker in the index."""
        if worker.name in self.rotation:
            self.worker_index.see(worker)

    def remove_worker(self, worker: Worker) -> None:
        """Remove a worker from the rotation; after the last one, time-outs of jobs restart."""
        was_there = self.rotation.pop(worker.name, None) is not None
        self.worker_index.forget(worker.name)
        if was_there and not self.rotation:
            for job in self.jobs.values():
                job.stranded_s = None

    def forget_workers(self, most: int) -> None:
        """Forget the oldest DOWN workers without blocks, beyond a number of ``most``."""
        if len(self.workers) - len(self.rotation) - len(self.leaving) <= most:
            return
        gone = [w.name for w in self.workers.values() if not w.up and not w.blocks]
        for name in gone[: max(0, len(gone) - most)]:
            del self.workers[name]

    def give(self, key: TaskKey, giver: Worker, taker: Worker, now: float) -> None:
        """Move a block from one worker to another."""
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
        return next((lease for lease in leases_in(state) if lease.key == key), None)

    def last_in_line(self, worker: str) -> Leased | None:
        """Return the last waiting attempt of a worker, None if no attempt waits."""
        key = self.workers[worker].last_in_line
        return None if key is None else self.lease_of(key)

    def leases_of(self, job: JobRun) -> list[Leased]:
        """Return the live attempts of a job, by worker."""
        found: list[Leased] = []
        if not job.leased:
            return found
        for worker in (self.workers[name] for name in job.workers if name in self.workers):
            for key in worker.leased:
                lease = self.lease_of(key) if key.job == job.name else None
                if lease is not None:
                    found.append(lease)
        return found
