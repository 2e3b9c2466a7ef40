"""The scheduler: events in, commands out, and nothing else.

``step`` is a pure state machine. The loop around it fits one line::

    for command in scheduler.step(event, now): await carry_out(command)

and each command that was carried out comes back as another event. Every event may come twice,
late, out of order, or under an epoch that is over: states only move forward, so it is harmless.

A step is ``decide`` and ``apply``. To decide is to reduce an event to what is to be remembered:
a heartbeat or a timer that changes nothing is nothing. To apply is deterministic: the same facts
at the same times make the same scheduler and the same commands, so a journal of facts can be
applied again (`snapshot` saves applying it from the beginning).

Applying is always the same four strokes:

1. take the event in (a task moves along an arrow, a worker comes or goes);
2. settle each job that it touched: what is needed, what may run, is the job over;
3. give ready tasks to workers, if need be out of another's line;
4. note what the clock will demand next.

See also: ``docs/states.md`` for the states, `policy` for the price of each failure.
"""

from __future__ import annotations

from math import inf
from typing import assert_never

from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.scheduler import (
    drain,
    exclusion,
    launching,
    lineage,
    liveness,
    reports,
    stragglers,
)
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
    HeartbeatFacts,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    MasterRestarted,
    TaskFailed,
    TaskSucceeded,
    TimeFacts,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.liveness import Signs
from minispark.scheduler.policy import Cause, ended
from minispark.scheduler.spec import JobSpec
from minispark.scheduler.state import Job, Phase, Stage, State
from minispark.scheduler.tasks import Done
from minispark.scheduler.work import Work
from minispark.scheduler.workers import Worker, WorkerStatus
from minispark.settings import SchedulerSettings

__all__ = ["Scheduler"]


FromWorker = (
    WorkerRegistered
    | HeartbeatFacts
    | TaskSucceeded
    | TaskFailed
    | WorkerDraining
    | BlocksMoved
    | WorkerLeft
)


class Scheduler:
    """A scheduler as a value. Two that were told the same are the same.

    Parameters
    ----------
    settings
        Every limit it knows.
    state
        What it remembers; a new one remembers nothing.
    """

    def __init__(self, settings: SchedulerSettings, state: State | None = None) -> None:
        self.settings = settings
        self.state = state or State()
        self.state.arrange(settings)
        self._signs = Signs(settings)
        self._due_s = inf
        """Before this nothing is due by what is remembered. May be too early, never too late."""

    def step(self, event: Event, now: float) -> list[Command]:
        """Take an event in; return what is to be done, in order."""
        fact = self.decide(event, now)
        return [] if fact is None else self.apply(fact, now)

    def decide(self, event: Event, now: float) -> Event | None:
        """Return what of an event is to be remembered, None for nothing."""
        match event:
            case WorkerHeartbeat():
                return self._signs.facts(self.state, event, now)
            case TimerFired():
                return self._time_facts(now)
            case _:
                return event

    def apply(self, event: Event, now: float) -> list[Command]:
        """Take in what was decided; return what is to be done, in order.

        Deterministic: nothing here hangs on what was not applied.
        """
        work = Work(self.state, self.settings, now)
        exclusion.readmit(work)
        self._take(work, event)
        work.settle()
        launching.place(work)
        launching.make_way(work)
        launching.take_back(work)
        launching.speculate(work)
        drain.carry_on(work)
        work.watch()
        if isinstance(event, TimeFacts | MasterRestarted):
            self._due_s = self.deadline(now)
        else:
            self._due_s = min(self._due_s, work.due_s)
        return work.out

    @property
    def wake_s(self) -> float:
        """When TimerFired shall come, infinity for never. Read it again after each event."""
        return min(self._due_s, self._signs.due_s)

    # What others may read.

    def deadline(self, now: float) -> float:
        """Return when something will be due by all that is remembered, infinity for never."""
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
        return frozenset(self.state.lines.barred)

    def job_status(self, job: str) -> JobStatus | None:
        """Return how a job stands, None for one that is unknown or released."""
        found = self.state.jobs.get(job)
        return None if found is None else found.status

    def active_attempts(self, worker: str) -> tuple[TaskKey, ...]:
        """Return the attempts leased to a worker, oldest first."""
        found = self.state.workers.get(worker)
        return () if found is None else tuple(found.leased)

    def is_empty_of(self, job: str) -> bool:
        """Whether nothing at all is remembered of a job."""
        state = self.state
        return (
            job not in state.jobs
            and job not in state.hungry
            and all(job not in w.blocks for w in state.workers.values())
            and all(key.job != job for w in state.workers.values() for key in w.leased)
        )

    # First stroke: events.

    def _take(self, work: Work, event: Event) -> None:
        match event:
            case JobSubmitted():
                self._submit(work, event.job)
            case JobCancelRequested() | JobCommitted() | JobCommitFailed() | JobReleased():
                job = self.state.jobs.get(event.job)
                if job is not None:
                    self._take_for_job(work, job, event)
            case TimeFacts():
                self._take_time(work, event)
            case MasterRestarted():
                self._restart(work, event.attempts)
            case WorkerHeartbeat() | TimerFired():
                msg = f"nobody has decided what follows from {event}"
                raise TypeError(msg)
            case _:
                self._take_from_worker(work, event)

    def _take_from_worker(self, work: Work, event: FromWorker) -> None:
        if isinstance(event, WorkerRegistered):
            self._register(work, event)
            return
        worker = self.state.workers.get(event.worker)
        if worker is None or not worker.up or worker.epoch != event.epoch:
            # This life of it is over. One that leaves need not know.
            if not isinstance(event, WorkerLeft):
                work.tell(RequireRegistration(event.worker, event.epoch))
            if isinstance(event, TaskSucceeded | TaskFailed):
                work.tell(ReportDropped("its worker must register again first"))
            return
        self._signs.hear(worker.name, work.now)
        if worker.suspect:
            worker.suspect = False
            self.state.see(worker)
        match event:
            case HeartbeatFacts():
                self._heartbeat(work, worker, event)
            case TaskSucceeded():
                reports.succeeded(work, worker, event)
            case TaskFailed():
                reports.failed(work, worker, event)
            case WorkerDraining():
                drain.begin(work, worker)
            case BlocksMoved():
                drain.moved(work, worker, event.keys)
            case WorkerLeft():
                told = worker.leaving is not None and worker.leaving.dismissed_s is not None
                self._take_down(work, worker, "it was drained" if told else "it said goodbye")
            case _:
                assert_never(event)

    def _submit(self, work: Work, spec: JobSpec) -> None:
        if spec.job in self.state.jobs:
            return
        wrong = lineage.fault(spec)
        job = Job(spec.job) if wrong else Job.of(spec)
        self.state.submit(job)
        if wrong:
            failure = ended("MS-220", f"the plan is broken: {wrong}", "Please report this.")
            work.end(job, Phase.FAILED, failure)
        else:
            for found in spec.found:
                self.state.take_over(job, found)
            work.touch(job)

    def _take_for_job(
        self,
        work: Work,
        job: Job,
        event: JobCancelRequested | JobCommitted | JobCommitFailed | JobReleased,
    ) -> None:
        committing = job.phase is Phase.COMMITTING
        match event:
            case JobCancelRequested():
                # Files that are being published cannot be called back: the commit decides.
                if not job.ended and not committing:
                    work.end(job, Phase.CANCELLED, Cancelled())
            case JobCommitted():
                if committing and job.complete:
                    work.end(job, Phase.SUCCEEDED)
                elif committing:
                    job.move(Phase.DELIVERED)
                    work.touch(job)
            case JobCommitFailed():
                if committing:
                    work.end(job, Phase.FAILED, event.failure)
            case JobReleased():
                if job.ended:
                    del self.state.jobs[job.name]
                    work.release(job)
            case _:
                assert_never(event)

    def _register(self, work: Work, event: WorkerRegistered) -> None:
        worker = self.state.workers.get(event.worker)
        if worker is None:
            worker = Worker(event.worker, event.epoch, event.slots)
            self.state.forget_workers(self.settings.max_down_workers)
            self.state.workers[worker.name] = worker
        elif event.epoch > worker.epoch:
            if worker.up:
                self._end_life(work, worker, "it registered anew")
            worker.epoch, worker.slots, worker.up = event.epoch, event.slots, True
            worker.suspect, worker.full, worker.excluded_until_s = False, None, None
            worker.acquit()
            self._sweep(work, worker)
        elif event.epoch < worker.epoch or not worker.up:
            work.tell(RequireRegistration(event.worker, event.epoch))
            return
        self._signs.hear(worker.name, work.now)
        if worker.leaving is not None:
            return
        self.state.join(worker)
        drain.look_again(self.state)

    def _sweep(self, work: Work, worker: Worker) -> None:
        """Drop the blocks that were written off with an earlier life of a worker."""
        keys: list[TaskKey] = []
        for name, blocks in worker.blocks.items():
            job = self.state.jobs[name]
            if not job.ended:
                keys += [key for key in blocks if not job.counts_on(key)]
        for key in keys:
            del worker.blocks[key.job][key]
        if keys:
            work.tell(ReleaseBlocks(worker.name, worker.epoch, tuple(keys)))

    def _heartbeat(self, work: Work, worker: Worker, event: HeartbeatFacts) -> None:
        if worker.full is not None and event.full is None:
            drain.look_again(self.state)
        worker.full = event.full
        self.state.see(worker)
        if event.full is not None:
            work.call_back_line(worker)
        work.out.extend(CancelTask(worker.name, worker.epoch, key) for key in event.unwanted)
        work.out.extend(ReleaseJob(worker.name, worker.epoch, job) for job in event.forgotten)
        for key in event.lost:
            work.lose_lease(worker, key, Cause.LEASE_LOST, "its worker does not know it")

    # Workers that go.

    def _take_down(self, work: Work, worker: Worker, reason: str) -> None:
        work.tell(WorkerDown(worker.name, worker.epoch, reason))
        self._end_life(work, worker, reason)

    def _end_life(self, work: Work, worker: Worker, reason: str) -> None:
        """Queue a worker's attempts again and write its blocks off."""
        worker.up = False
        self._signs.forget(worker.name)
        self.state.part(worker)
        drain.end(self.state, worker)
        for name in list(worker.blocks):
            job = self.state.jobs[name]
            # Later stages first: what was read only by lost tasks was then read by nobody.
            for stage in reversed(job.ordered):
                self._write_off(work, job, stage, worker)
        for key in list(worker.leased):
            work.lose_lease(worker, key, Cause.WORKER_DOWN, reason)

    def _write_off(self, work: Work, job: Job, stage: Stage, worker: Worker) -> None:
        if stage.spec.sink and not stage.spec.result:
            return  # What it delivers is a file of its own, not a block.
        if worker.name not in stage.rows_on:
            return
        states = enumerate(task.state for task in stage.tasks)
        here = [p for p, s in states if isinstance(s, Done) and s.worker == worker.name]
        work.lose_blocks(job, stage, here)

    # The clock, and a new master.

    def _time_facts(self, now: float) -> TimeFacts | None:
        """Return what time has brought; at most moments it has brought nothing."""
        silent: list[Worker] = []
        if now >= self._signs.due_s:
            silent = self._signs.silent(self.state, now)
        if not silent and now < self._due_s:
            return None
        stranded = liveness.stranded(self.state, now, self.settings)
        return TimeFacts(
            tuple((worker.name, worker.epoch) for worker in silent),
            tuple(job.name for job in stranded),
        )

    def _take_time(self, work: Work, event: TimeFacts) -> None:
        drain.check_time(work)
        for name, epoch in event.silent:
            worker = self.state.workers.get(name)
            if worker is not None and worker.up and worker.epoch == epoch:
                limit_s = self.settings.heartbeat_timeout_s
                self._take_down(work, worker, f"no heartbeat for {limit_s:g} s")
        for name in event.stranded:
            job = self.state.jobs.get(name)
            if job is not None and not job.ended:
                work.end(job, Phase.FAILED, liveness.epitaph(self.state, self.settings))

    def _restart(self, work: Work, attempts: int) -> None:
        """Say again what may not have been heard; who has heard it is not disturbed."""
        state = self.state
        self._signs.begin_anew(state, work.now)
        for job in state.jobs.values():
            for task in (task for stage in job.ordered for task in stage.tasks):
                task.attempts = max(task.attempts, attempts)
            if job.phase is Phase.COMMITTING:
                work.tell(CommitJob(job.name, job.committing))
            for lease in state.leases_of(job):
                launching.launch_again(work, job, lease)
        drain.say_again(work)
