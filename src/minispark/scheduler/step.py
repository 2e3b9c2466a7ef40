"""One step's transaction over the state: the arrows of jobs and tasks, and their commands.

Covers: planning, delivering and ending jobs, charging and losing attempts, rolling stages back.
Does not cover: launches (`launching`), which event leads here (`core`).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from minispark.errors import Failure, FetchFailed, WorkerLost
from minispark.ids import TaskKey
from minispark.scheduler import attempts, lineage, liveness, stragglers
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    FinishJob,
    ReleaseBlocks,
    ReleaseJob,
)
from minispark.scheduler.policy import Cause, ended
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, Phase, State
from minispark.scheduler.tasks import IDLE, READY, WAITING, Done, Idle, Leased, Live, leases_in
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings


class Step:
    """One step: the state, the commands so far, and the jobs that were touched."""

    def __init__(self, state: State, settings: SchedulerSettings, now: float) -> None:
        self.state = state
        self.settings = settings
        self.now = now
        self.out: list[Command] = []
        self.touched: dict[str, JobRun] = {}
        self.due_s = inf
        """The earliest new deadline of this step."""

    def emit(self, command: Command) -> None:
        """Add a command."""
        self.out.append(command)

    def due(self, at_s: float) -> None:
        """Add a deadline."""
        self.due_s = min(self.due_s, at_s)

    def mark_dirty(self, job: JobRun) -> None:
        """Have `settle` look at a job."""
        self.touched[job.name] = job

    def settle(self) -> None:
        """Advance every touched job as far as it can go without another event."""
        while self.touched:
            job = next(iter(self.touched.values()))
            if not job.ended and job.phase is not Phase.COMMITTING:
                if job.complete:
                    self._deliver(job)
                else:
                    self._plan(job)
                    self.state.mark_runnable(job)
            # Last, because a rollback touches the job that is being settled.
            self.touched.pop(job.name, None)

    def watch(self) -> None:
        """Start or stop the time-out of jobs that no worker can take."""
        state = self.state
        stuck, state.stuck = state.stuck, liveness.has_no_worker(state)
        if not (stuck or state.stuck):
            return
        for job in state.jobs.values():
            if not state.stuck or job.ended or job.phase is Phase.COMMITTING:
                job.stranded_s = None
            else:
                job.stranded_s = self.now if job.stranded_s is None else job.stranded_s
                # How long a job waits depends on whether there is a worker at all.
                self.due(job.stranded_s + liveness.grace_s(state, self.settings))

    def _plan(self, job: JobRun) -> None:
        """Compute which tasks are needed, and which of them can run."""
        needed = lineage.missing(job)
        while (lost := lineage.unrepeatable(job, needed)) is not None:
            self.roll_back(job, *lost)
            if job.ended:
                return
            needed = lineage.missing(job)
        for stage in job.ordered:
            partitions = dict.fromkeys(needed.get(stage.id, ()))
            for partition, task in enumerate(stage.tasks):
                if isinstance(task.state, Live | Done):
                    continue
                if partition not in partitions:
                    if task.state is not IDLE:
                        task.move(IDLE)
                elif lineage.input_complete(job, stage, partition):
                    if task.state is not READY:
                        self.state.enqueue(job, stage, partition)
                elif task.state is not WAITING:
                    task.move(WAITING)

    def _deliver(self, job: JobRun) -> None:
        for lease in self.state.leases_of(job):
            self.cancel(lease, Reason(Why.COMPLETE))
        for task in (task for stage in job.ordered for task in stage.tasks):
            if not isinstance(task.state, Idle | Done):
                task.move(IDLE)
        job.queue.clear()
        self.state.remove_runnable(job)
        sinks = [stage for stage in job.ordered if stage.spec.sink]
        if sinks and job.phase is not Phase.DELIVERED:
            job.move(Phase.COMMITTING)
            job.committing = tuple(done.key for stage in sinks for done in stage.accepted())
            self.emit(CommitJob(job.name, job.committing))
        else:
            self.end(job, Phase.SUCCEEDED, Reason(Why.COMPLETE))

    def end(
        self,
        job: JobRun,
        phase: Phase,
        reason: Reason,
        failure: Failure | None = None,
        key: TaskKey | None = None,
    ) -> None:
        """End a job: cancel its attempts, and release its blocks except results.

        ``key`` is the attempt whose failure ends the job.
        """
        for lease in self.state.leases_of(job):
            self.cancel(lease, Reason(Why.JOB_ENDED))
        results: tuple[BlockRef, ...] = ()
        if phase is Phase.SUCCEEDED:
            outputs = (done for s in job.ordered if s.spec.result for done in s.accepted())
            results = tuple(BlockRef(done.key, done.worker, 0) for done in outputs)
        job.move(phase)
        job.clear()
        self.state.remove_runnable(job)
        self.touched.pop(job.name, None)
        for worker in (self.state.workers.get(name) for name in job.workers):
            if worker is not None and worker.failed_tasks:
                worker.count_failures_of(job.name)
        self.emit(FinishJob(job.name, job.status, failure, results, key, reason))
        self.release(job, keep=[block.key for block in results])

    def release(self, job: JobRun, keep: Iterable[TaskKey] = ()) -> None:
        """Release the blocks of a job, except those to ``keep``, here and on workers that are UP.

        A worker that is DOWN names the job when it registers again.
        """
        kept_blocks = dict.fromkeys(keep)
        for _, leave in self.state.drains:
            leave.cancel_moves(job.name, kept_blocks)
        holders, job.workers = job.workers, {}
        workers = self.state.workers
        for worker in (workers[name] for name in holders if name in workers):
            blocks = worker.blocks.pop(job.name, {})
            if retained := {key: None for key in blocks if key in kept_blocks}:
                worker.blocks[job.name] = retained
                job.workers[worker.name] = None
            released = tuple(key for key in blocks if key not in kept_blocks)
            if worker.up and not retained:
                self.emit(ReleaseJob(worker.name, worker.epoch, job.name))
            elif worker.up and released:
                self.emit(ReleaseBlocks(worker.name, worker.epoch, released))

    def charge(
        self,
        job: JobRun,
        stage: StageRun,
        lease: Leased,
        cause: Cause,
        why: Failure,
        *,
        alone: bool,
    ) -> None:
        """Charge a task for an attempt that ended; queue it again or end the job.

        If it is not ``alone``, another attempt of the task continues. Then the end of a speculative
        attempt is not charged.
        """
        if not lineage.may_be_needed(job, stage):
            return
        key, task = lease.key, stage.tasks[lease.key.partition]
        if lease.speculative and not alone:
            attempts.avoid(task, cause, lease.worker)
            return
        attempts.charge(task, cause, why, lease.worker)
        elsewhere = any(name not in task.avoid for name in self.state.rotation)
        last = attempts.terminal_failure(
            task, cause, why, elsewhere=elsewhere, settings=self.settings
        )
        if last is not None:
            failure, reason = last
            self.end(job, Phase.FAILED, reason, failure, key)
        elif alone and lineage.input_complete(job, stage, key.partition):
            self.state.enqueue(job, stage, key.partition)
        elif alone:
            self.mark_dirty(job)

    def lose_lease(self, worker: Worker, key: TaskKey, cause: Cause, words: str) -> None:
        """Write off an attempt that will not be reported; ``words`` say why."""
        if key not in worker.leased:
            return  # An earlier loss in this step has ended the job.
        job = self.state.jobs[key.job]
        stage, lease = job.stages[key.stage], self.state.lease_of(key)
        if lease is not None:
            alone = self.state.give_up(stage, lease, self.now)
            lost = Why.ATTEMPT_LOST if cause is Cause.LEASE_LOST else Why.WORKER_DOWN
            stage.tasks[key.partition].why = Reason(lost, worker.name, key)
            failure = WorkerLost(f"{worker.name}: {words}")
            self.charge(job, stage, lease, cause, failure, alone=alone)

    def lose_input(self, job: JobRun, reader: Leased, failure: FetchFailed) -> bool:
        """Write off the block that a reader could not get; False if it is not the accepted one."""
        key = failure.key
        stage = job.stages.get(key.stage)
        if stage is None or all(key.stage != number for number, _ in reader.inputs):
            return False
        done = stage.tasks[key.partition].state if key.partition < len(stage.tasks) else None
        if not isinstance(done, Done) or done.key != key:
            return False
        holder = self.state.workers[done.worker]
        again = job.stages[reader.key.stage].tasks[reader.key.partition]
        if done.moved_s is not None and reader.since_s < done.moved_s:
            again.why = Reason(Why.INPUT_MOVED, done.worker, key)
            # The attempt read from where the block was before: it is tried again.
            self._count_fetch(job, reader, failure)
            return True
        # A worker that does not answer may be lost: its next heartbeat, or the time-out, decides.
        if holder.up and holder.name != reader.worker:
            holder.suspect = self.settings.heartbeat_timeout_s < inf
            self.state.reindex(holder)
        self.lose_blocks(job, stage, [key.partition], Why.OUTPUT_UNREADABLE)
        again.why = Reason(Why.INPUT_LOST, holder.name, key)
        stage.tasks[key.partition].avoid_worker(holder.name)
        # A cache may drop blocks at any time, and each was found there at most once.
        if not done.found:
            self._count_fetch(job, reader, failure)
        return True

    def _count_fetch(self, job: JobRun, reader: Leased, failure: FetchFailed) -> None:
        self.mark_dirty(job)
        job.fetch_failures += 1
        if job.fetch_failures > self.settings.max_fetch_failures:
            reason = Reason(Why.MAX_FETCH_FAILURES, limit=self.settings.max_fetch_failures)
            self.end(job, Phase.FAILED, reason, failure, reader.key)

    def lose_blocks(self, job: JobRun, stage: StageRun, partitions: list[int], why: Why) -> None:
        """Write off accepted blocks of a stage; `settle` decides whether they are made again."""
        for partition in partitions:
            task = stage.tasks[partition]
            if isinstance(task.state, Done):
                task.why = Reason(why, task.state.worker, task.state.key)
            stage.lose(partition)
        for partition in lineage.unread(job, stage, partitions):
            stage.tasks[partition].published_receipt = None
        stragglers.note(self.state, job, stage, self.settings)
        self.mark_dirty(job)

    def roll_back(self, job: JobRun, stage: StageRun, lost: TaskKey) -> None:
        """Start a stage, and all stages that have read it, again as new generations.

        ``lost`` is the block that makes it necessary.
        """
        affected = lineage.started_below(job, stage)
        why = f"a lost block of stage {stage.id} came out with other rows, or may have"
        if any(s.spec.sink for s in affected) and job.phase is Phase.DELIVERED:
            failure = ended(
                "MS-221",
                f"{why}, and output that was made from it is already delivered",
                "Remove the output and submit the job again.",
            )
            self.end(job, Phase.FAILED, Reason(Why.DELIVERED, key=lost), failure)
            return
        starts = max(s.generation for s in affected) + 1
        if starts >= self.settings.max_stage_generations:
            failure = ended(
                "MS-222",
                f"{why}; its work has begun {starts} times",
                "Mark the function as deterministic if it is, or see why blocks are lost.",
            )
            limit = Reason(Why.MAX_GENERATIONS, limit=self.settings.max_stage_generations)
            self.end(job, Phase.FAILED, limit, failure)
            return
        reason = Reason(Why.ROLLED_BACK, key=lost)
        for candidate in affected:
            candidate.generation += 1
            for partition, task in enumerate(candidate.tasks):
                task.published_receipt = None
                if task.attempts:
                    task.why = reason
                if isinstance(task.state, Live):
                    for lease in leases_in(task.state):
                        self.cancel(lease, reason)
                    task.move(IDLE)
                elif isinstance(task.state, Done):
                    candidate.lose(partition)
                elif task.state is not IDLE:
                    task.move(IDLE)
        self.mark_dirty(job)

    def cancel(self, lease: Leased, reason: Reason) -> None:
        """Cancel an attempt and remove its lease; the state of its task does not change."""
        worker = self.state.workers[lease.worker]
        self.state.unlease(lease, self.now)
        if worker.up:
            self.emit(CancelTask(worker.name, worker.epoch, lease.key, reason))

    def revoke(self, lease: Leased, reason: Reason) -> None:
        """Take an attempt back from its worker without a charge, and queue its task again."""
        job = self.state.jobs[lease.key.job]
        stage, partition = job.stages[lease.key.stage], lease.key.partition
        worker = self.state.workers[lease.worker]
        if worker.up:
            self.emit(CancelTask(worker.name, worker.epoch, lease.key, reason))
        if not self.state.give_up(stage, lease, self.now):
            return
        stage.tasks[partition].why = reason
        if lineage.input_complete(job, stage, partition):
            self.state.enqueue(job, stage, partition)
        else:
            self.mark_dirty(job)

    def revoke_all(self, keys: Iterable[TaskKey], reason: Reason) -> None:
        """Take attempts back from their worker."""
        for lease in [self.state.lease_of(key) for key in keys]:
            if lease is not None:
                self.revoke(lease, reason)
