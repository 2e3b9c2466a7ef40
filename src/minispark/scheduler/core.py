"""The scheduler: events in, commands out, and nothing else.

``step`` is a pure state machine. The loop around it fits one line::

    for command in scheduler.step(event, now): await carry_out(command)

and each command that was carried out comes back as another event. Every event may arrive twice,
late, out of order, or under an old epoch: states only move forward, so that is harmless.

A step is ``decide`` and ``apply``. ``decide`` reduces an event to a fact: a heartbeat or a timer
that changes nothing gives None. ``apply`` is deterministic: the same facts at the same times give
the same state and the same commands, so the facts in a journal can be applied again, from the
beginning or from a `snapshot`.

``apply`` always does the same:

1. take the event in (a task moves along an arrow, a worker comes or goes);
2. settle each job that was touched: what is needed, what can run, has the job ended;
3. give ready tasks to workers, and move waiting attempts to free slots;
4. set the next deadline.

See also: ``docs/states.md`` for the states, `policy` for what each failure is charged as.
"""

from __future__ import annotations

from math import inf
from typing import assert_never

from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.scheduler import drain, exclusion, launching, lineage, liveness, reports, stragglers
from minispark.scheduler.commands import (
    CancelTask,
    Command,
    CommitJob,
    JobStatus,
    ReleaseBlocks,
    ReleaseJob,
    ReportDropped,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import (
    BlocksMoved,
    Event,
    HeartbeatDiff,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    MasterRestarted,
    TaskFailed,
    TaskSucceeded,
    Timeouts,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.liveness import HeartbeatTracker
from minispark.scheduler.policy import Cause, ended
from minispark.scheduler.reasons import Reason, Why, down_words
from minispark.scheduler.spec import JobSpec
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, Phase, State
from minispark.scheduler.step import Step
from minispark.scheduler.tasks import Done
from minispark.scheduler.workers import Worker, WorkerStatus
from minispark.settings import SchedulerSettings

FromWorker = (
    WorkerRegistered
    | HeartbeatDiff
    | TaskSucceeded
    | TaskFailed
    | WorkerDraining
    | BlocksMoved
    | WorkerLeft
)


class Scheduler:
    """A scheduler as a value: equal events give equal schedulers.

    Parameters
    ----------
    settings
        All limits.
    state
        Jobs and workers; empty by default.
    """

    def __init__(self, settings: SchedulerSettings, state: State | None = None) -> None:
        self.settings = settings
        self.state = state or State()
        self.state.arrange(settings)
        self._heartbeats = HeartbeatTracker(settings)
        self._due_s = inf
        """Before this no deadline of the state is due. May be too early, never too late."""

    def step(self, event: Event, now: float) -> list[Command]:
        """Take an event in; return the commands that follow, in order."""
        fact = self.decide(event, now)
        return [] if fact is None else self.apply(fact, now)

    def decide(self, event: Event, now: float) -> Event | None:
        """Return the fact of an event, None if it changes nothing."""
        match event:
            case WorkerHeartbeat():
                return self._heartbeats.facts(self.state, event, now)
            case TimerFired():
                return self._time_facts(now)
            case _:
                return event

    def apply(self, event: Event, now: float) -> list[Command]:
        """Apply a fact; return the commands that follow, in order.

        Deterministic: it depends only on facts that were applied before.
        """
        step = Step(self.state, self.settings, now)
        exclusion.readmit(step)
        self._take(step, event)
        step.settle()
        launching.place(step)
        launching.preempt_prefetched(step)
        launching.rebalance(step)
        launching.speculate(step)
        drain.advance(step)
        step.watch()
        if isinstance(event, Timeouts | MasterRestarted):
            self._due_s = self.deadline(now)
        else:
            self._due_s = min(self._due_s, step.due_s)
        return step.out

    @property
    def wake_s(self) -> float:
        """Time of the next `TimerFired`, infinity for never. It changes with each event."""
        return min(self._due_s, self._heartbeats.due_s)

    # Public reads.

    def deadline(self, now: float) -> float:
        """Return the next deadline in the state, infinity for none."""
        return min(
            liveness.deadline(self.state, self.settings, now),
            stragglers.deadline(self.state, self.settings, now),
            drain.deadline(self.state, self.settings),
        )

    def worker_status(self) -> tuple[WorkerStatus, ...]:
        """Return every worker that ever registered, in order of registration."""
        return tuple(
            WorkerStatus(
                w.name,
                w.status,
                w.active_tasks,
                w.slots,
                w.epoch,
                excluded=w.excluded_until_s is not None,
                full=w.full,
            )
            for w in self.state.workers.values()
        )

    def excluded_workers(self) -> frozenset[str]:
        """Return the workers that get no work for a while because too much failed on them."""
        return frozenset(self.state.worker_index.excluded_workers)

    def job_status(self, job: str) -> JobStatus | None:
        """Return the status of a job, None for one that is unknown or released."""
        run = self.state.jobs.get(job)
        return None if run is None else run.status

    def active_attempts(self, worker: str) -> tuple[TaskKey, ...]:
        """Return the attempts leased to a worker, oldest first."""
        entry = self.state.workers.get(worker)
        return () if entry is None else tuple(entry.leased)

    def is_empty_of(self, job: str) -> bool:
        """Whether the state has nothing of a job."""
        state = self.state
        return (
            job not in state.jobs
            and job not in state.runnable_jobs
            and all(job not in w.blocks for w in state.workers.values())
            and all(key.job != job for w in state.workers.values() for key in w.leased)
        )

    # Taking events in.

    def _take(self, step: Step, event: Event) -> None:
        match event:
            case JobSubmitted():
                self._submit(step, event.job)
            case JobCancelRequested() | JobCommitted() | JobCommitFailed() | JobReleased():
                job = self.state.jobs.get(event.job)
                if job is not None:
                    self._take_for_job(step, job, event)
            case Timeouts():
                self._take_time(step, event)
            case MasterRestarted():
                self._restart(step, event.attempts)
            case WorkerHeartbeat() | TimerFired():
                msg = f"not a fact, but an event to be decided: {event}"
                raise TypeError(msg)
            case _:
                self._take_from_worker(step, event)

    def _take_from_worker(self, step: Step, event: FromWorker) -> None:
        if isinstance(event, WorkerRegistered):
            self._register(step, event)
            return
        worker = self.state.workers.get(event.worker)
        if worker is None or not worker.up or worker.epoch != event.epoch:
            # Its session has ended. A worker that leaves need not know.
            if not isinstance(event, WorkerLeft):
                step.emit(RequireRegistration(event.worker, event.epoch))
            if isinstance(event, TaskSucceeded | TaskFailed):
                step.emit(ReportDropped(Reason(Why.NOT_REGISTERED)))
            return
        self._heartbeats.hear(worker.name, step.now)
        if worker.suspect:
            worker.suspect = False
            self.state.reindex(worker)
        match event:
            case HeartbeatDiff():
                self._heartbeat(step, worker, event)
            case TaskSucceeded():
                reports.succeeded(step, worker, event)
            case TaskFailed():
                reports.failed(step, worker, event)
            case WorkerDraining():
                drain.begin(step, worker)
            case BlocksMoved():
                drain.moved(step, worker, event.keys)
            case WorkerLeft():
                dismissed = worker.leaving is not None and worker.leaving.dismissed_s is not None
                self._take_down(step, worker, Reason(Why.DRAINED if dismissed else Why.GOODBYE))
            case _:
                assert_never(event)

    def _submit(self, step: Step, spec: JobSpec) -> None:
        if spec.job in self.state.jobs:
            return
        fault = lineage.fault(spec)
        job = JobRun(spec.job) if fault else JobRun.of(spec)
        self.state.submit(job)
        if fault:
            failure = ended("MS-220", f"the plan is broken: {fault}", "Please report this.")
            step.end(job, Phase.FAILED, Reason(Why.BROKEN_PLAN), failure)
        else:
            for output in spec.found:
                self.state.take_over(job, output)
            step.mark_dirty(job)

    def _take_for_job(
        self,
        step: Step,
        job: JobRun,
        event: JobCancelRequested | JobCommitted | JobCommitFailed | JobReleased,
    ) -> None:
        committing = job.phase is Phase.COMMITTING
        match event:
            case JobCancelRequested():
                # Files that are being published cannot be taken back: the commit decides.
                if not job.ended and not committing:
                    step.end(job, Phase.CANCELLED, Reason(Why.CANCEL_REQUESTED), Cancelled())
            case JobCommitted():
                if committing and job.complete:
                    step.end(job, Phase.SUCCEEDED, Reason(Why.COMPLETE))
                elif committing:
                    job.move(Phase.DELIVERED)
                    step.mark_dirty(job)
            case JobCommitFailed():
                if committing:
                    step.end(job, Phase.FAILED, Reason(Why.COMMIT_FAILED), event.failure)
            case JobReleased():
                if job.ended:
                    del self.state.jobs[job.name]
                    step.release(job)
            case _:
                assert_never(event)

    def _register(self, step: Step, event: WorkerRegistered) -> None:
        worker = self.state.workers.get(event.worker)
        if worker is None:
            worker = Worker(event.worker, event.epoch, event.slots)
            self.state.forget_workers(self.settings.max_down_workers)
            self.state.workers[worker.name] = worker
        elif event.epoch > worker.epoch:
            if worker.up:
                self._end_life(step, worker, Reason(Why.REGISTERED_AGAIN))
            worker.epoch, worker.slots, worker.up = event.epoch, event.slots, True
            worker.suspect, worker.full, worker.excluded_until_s = False, None, None
            worker.clear_failures()
            self._sweep(step, worker)
        elif event.epoch < worker.epoch or not worker.up:
            step.emit(RequireRegistration(event.worker, event.epoch))
            return
        self._heartbeats.hear(worker.name, step.now)
        if worker.leaving is not None:
            return
        self.state.add_worker(worker)
        drain.retry_moves(self.state)

    def _sweep(self, step: Step, worker: Worker) -> None:
        """Drop the blocks that were written off with an earlier session of a worker."""
        keys: list[TaskKey] = []
        for name, blocks in worker.blocks.items():
            job = self.state.jobs[name]
            if not job.ended:
                keys += [key for key in blocks if not job.counts_on(key)]
        for key in keys:
            del worker.blocks[key.job][key]
        if keys:
            step.emit(ReleaseBlocks(worker.name, worker.epoch, tuple(keys)))

    def _heartbeat(self, step: Step, worker: Worker, event: HeartbeatDiff) -> None:
        if worker.full is not None and event.full is None:
            drain.retry_moves(self.state)
        worker.full = event.full
        self.state.reindex(worker)
        if event.full is not None:
            step.revoke_all(worker.waiting, Reason(Why.WORKER_FULL, worker.name))
        unwanted = Reason(Why.NOT_LEASED)
        for key in event.unwanted:
            step.emit(CancelTask(worker.name, worker.epoch, key, unwanted))
        step.out.extend(ReleaseJob(worker.name, worker.epoch, job) for job in event.forgotten)
        for key in event.lost:
            step.lose_lease(worker, key, Cause.LEASE_LOST, "its worker does not know it")

    # Lost workers.

    def _take_down(self, step: Step, worker: Worker, reason: Reason) -> None:
        step.emit(WorkerDown(worker.name, worker.epoch, reason))
        self._end_life(step, worker, reason)

    def _end_life(self, step: Step, worker: Worker, reason: Reason) -> None:
        """Queue a worker's attempts again and write its blocks off."""
        worker.up = False
        self._heartbeats.forget(worker.name)
        self.state.remove_worker(worker)
        drain.end(self.state, worker)
        for name in list(worker.blocks):
            job = self.state.jobs[name]
            # Later stages first: a block that only lost tasks have read counts as unread then.
            for stage in reversed(job.ordered):
                self._write_off(step, job, stage, worker)
        for key in list(worker.leased):
            step.lose_lease(worker, key, Cause.WORKER_DOWN, down_words(reason))

    def _write_off(self, step: Step, job: JobRun, stage: StageRun, worker: Worker) -> None:
        if stage.spec.sink and not stage.spec.result:
            return  # Its output is files, not blocks.
        if worker.name not in stage.rows_on:
            return
        states = enumerate(task.state for task in stage.tasks)
        partitions = [p for p, s in states if isinstance(s, Done) and s.worker == worker.name]
        step.lose_blocks(job, stage, partitions, Why.OUTPUT_LOST)

    # The clock, and a new master.

    def _time_facts(self, now: float) -> Timeouts | None:
        """Return timed-out workers and starved jobs, None if there are none."""
        silent: list[Worker] = []
        if now >= self._heartbeats.due_s:
            silent = self._heartbeats.silent(self.state, now)
        if not silent and now < self._due_s:
            return None
        stranded = liveness.stranded(self.state, now, self.settings)
        return Timeouts(
            tuple((worker.name, worker.epoch) for worker in silent),
            tuple(job.name for job in stranded),
        )

    def _take_time(self, step: Step, event: Timeouts) -> None:
        drain.check_time(step)
        for name, epoch in event.silent:
            worker = self.state.workers.get(name)
            if worker is not None and worker.up and worker.epoch == epoch:
                limit_s = self.settings.heartbeat_timeout_s
                self._take_down(step, worker, Reason(Why.NO_HEARTBEAT, limit=limit_s))
        for name in event.stranded:
            job = self.state.jobs.get(name)
            if job is not None and not job.ended:
                failure, reason = liveness.starvation_failure(self.state, self.settings)
                step.end(job, Phase.FAILED, reason, failure)

    def _restart(self, step: Step, attempts: int) -> None:
        """Repeat open commands after a restart; workers ignore duplicates."""
        state = self.state
        self._heartbeats.restart(state, step.now)
        for job in state.jobs.values():
            for task in (task for stage in job.ordered for task in stage.tasks):
                task.attempts = max(task.attempts, attempts)
            if job.phase is Phase.COMMITTING:
                step.emit(CommitJob(job.name, job.committing))
            for lease in state.leases_of(job):
                launching.launch_again(step, job, lease)
        drain.resend(step)
