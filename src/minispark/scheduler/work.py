"""What follows for jobs within one step: the arrows taken and the commands they cause.

Covers: planning, delivering and ending jobs, charging and losing attempts, rolling stages back,
launching. Does not cover: which event leads here (`core`). A `Work` lives for one step.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from heapq import heappop, heappush, nsmallest
from math import inf
from operator import attrgetter
from typing import Final

from minispark.errors import Failure, FetchFailed, WorkerLost
from minispark.ids import TaskKey
from minispark.scheduler import attempts, lineage, liveness, placement
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    FinishJob,
    LaunchTask,
    ReleaseBlocks,
    ReleaseJob,
)
from minispark.scheduler.policy import Cause, ended
from minispark.scheduler.state import Job, Phase, Stage, State
from minispark.scheduler.tasks import IDLE, READY, WAITING, Done, Idle, Leased, Ready
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings

__all__ = ["Work"]

LOOKAHEAD: Final = 64
"""Ready tasks of a job that are looked at for one worker, jobs that are passed over for it, and
lines that are looked at for a job: more would make each step as long as the queue when many tasks
shun the same worker."""


class Work:
    """One step's work on the state."""

    def __init__(self, state: State, settings: SchedulerSettings, now: float) -> None:
        self.state = state
        self.settings = settings
        self.now = now
        self.out: list[Command] = []
        self.touched: dict[str, Job] = {}
        self.due_s = inf
        """When something will be due that was not due before this step."""

    def tell(self, command: Command) -> None:
        """Have something done."""
        self.out.append(command)

    def due(self, at_s: float) -> None:
        """Have the clock looked at no later than then."""
        self.due_s = min(self.due_s, at_s)

    def touch(self, job: Job) -> None:
        """Have a job settled before the step ends."""
        self.touched[job.name] = job

    def settle(self) -> None:
        """Bring every job that was touched to where it can go without an event."""
        while self.touched:
            job = next(iter(self.touched.values()))
            if not job.ended and job.phase is not Phase.COMMITTING:
                if job.complete:
                    self._deliver(job)
                else:
                    self._plan(job)
            # Last, since a rollback touches the job that is being settled.
            self.touched.pop(job.name, None)

    def watch(self) -> None:
        """Let the patience of jobs run out as long as there is nobody to work for them."""
        state = self.state
        stuck, state.stuck = state.stuck, liveness.nobody_works(state)
        if not (stuck or state.stuck):
            return
        for job in state.jobs.values():
            if not state.stuck or job.ended or job.phase is Phase.COMMITTING:
                job.stranded_s = None
            else:
                job.stranded_s = self.now if job.stranded_s is None else job.stranded_s
                # How long it waits hangs on whether there is a worker at all.
                self.due(job.stranded_s + liveness.grace_s(state, self.settings))

    def _plan(self, job: Job) -> None:
        """Ask anew which tasks are needed and which of them may run."""
        needed = lineage.missing(job)
        while (stage := lineage.unrepeatable(job, needed)) is not None:
            self.roll_back(job, stage)
            if job.ended:
                return
            needed = lineage.missing(job)
        for stage in job.ordered:
            wanted = dict.fromkeys(needed.get(stage.id, ()))
            for partition, task in enumerate(stage.tasks):
                if isinstance(task.state, Leased | Done):
                    continue
                if partition not in wanted:
                    if task.state is not IDLE:
                        task.move(IDLE)
                elif lineage.input_complete(job, stage, partition):
                    if task.state is not READY:
                        self.state.enqueue(job, stage, partition)
                elif task.state is not WAITING:
                    task.move(WAITING)

    def _deliver(self, job: Job) -> None:
        for lease in self.state.leases_of(job):
            self._cancel(lease)
        for task in (task for stage in job.ordered for task in stage.tasks):
            if not isinstance(task.state, Idle | Done):
                task.move(IDLE)
        job.queue.clear()
        self.state.sate(job)
        sinks = [stage for stage in job.ordered if stage.spec.sink]
        if sinks and job.phase is not Phase.DELIVERED:
            job.move(Phase.COMMITTING)
            job.committing = tuple(done.key for stage in sinks for done in stage.accepted())
            self.tell(CommitJob(job.name, job.committing))
        else:
            self.end(job, Phase.SUCCEEDED)

    def end(
        self,
        job: Job,
        phase: Phase,
        failure: Failure | None = None,
        key: TaskKey | None = None,
    ) -> None:
        """End a job: nothing of it runs on, and of its blocks only results stay.

        ``key`` is the attempt whose failure ends it.
        """
        for lease in self.state.leases_of(job):
            self._cancel(lease)
        results: tuple[BlockRef, ...] = ()
        if phase is Phase.SUCCEEDED:
            kept = (done for s in job.ordered if s.spec.result for done in s.accepted())
            results = tuple(BlockRef(done.key, done.worker, 0) for done in kept)
        job.move(phase)
        job.clear()
        self.state.sate(job)
        self.touched.pop(job.name, None)
        for worker in (self.state.workers.get(name) for name in job.workers):
            if worker is not None and worker.strikes:
                worker.close_strikes(job.name)
        self.tell(FinishJob(job.name, job.status, failure, results, key))
        self.release(job, keep=[block.key for block in results])

    def release(self, job: Job, keep: Iterable[TaskKey] = ()) -> None:
        """Let the blocks of a job go from the ledger and, where they can be told, the workers.

        A worker that cannot be told now names the job when it comes back.
        """
        kept = dict.fromkeys(keep)
        for leaver in self.state.leaving.values():
            leaver.let_go(job.name, kept)
        told, job.workers = job.workers, {}
        known = self.state.workers
        for worker in (known[name] for name in told if name in known):
            blocks = worker.blocks.pop(job.name, {})
            if stay := {key: None for key in blocks if key in kept}:
                worker.blocks[job.name] = stay
                job.workers[worker.name] = None
            gone = tuple(key for key in blocks if key not in kept)
            if worker.up and not stay:
                self.tell(ReleaseJob(worker.name, worker.epoch, job.name))
            elif worker.up and gone:
                self.tell(ReleaseBlocks(worker.name, worker.epoch, gone))

    def charge(
        self, job: Job, stage: Stage, key: TaskKey, worker: Worker, cause: Cause, why: Failure
    ) -> None:
        """Charge an idle task for its last attempt; queue it again or end the job."""
        if not lineage.may_be_needed(job, stage):
            return
        task = stage.tasks[key.partition]
        attempts.charge(task, cause, why, worker.name)
        elsewhere = any(name not in task.avoid for name in self.state.rotation)
        last = attempts.verdict(task, cause, why, elsewhere=elsewhere, settings=self.settings)
        if last is not None:
            self.end(job, Phase.FAILED, last, key)
        elif lineage.input_complete(job, stage, key.partition):
            self.state.enqueue(job, stage, key.partition)
        else:
            self.touch(job)

    def lose_lease(self, worker: Worker, key: TaskKey, cause: Cause, reason: str) -> None:
        """Write off an attempt that will not be reported."""
        if key not in worker.leased:
            return  # An earlier loss of this step has ended the job.
        job = self.state.jobs[key.job]
        stage = job.stages[key.stage]
        lease = self.state.lease_of(key)
        if lease is not None:
            self.state.unlease(lease, self.now)
        stage.tasks[key.partition].move(IDLE)
        self.charge(job, stage, key, worker, cause, WorkerLost(f"{worker.name}: {reason}"))

    def lose_input(self, job: Job, reader: Leased, gone: FetchFailed) -> bool:
        """Write off the block that a reader did not get; False if it is not the present one."""
        key = TaskKey(gone.job, gone.stage, gone.generation, gone.partition, gone.attempt)
        stage = job.stages.get(key.stage)
        if stage is None or all(key.stage != number for number, _ in reader.inputs):
            return False
        done = stage.tasks[key.partition].state if key.partition < len(stage.tasks) else None
        if not isinstance(done, Done) or done.key != key:
            return False
        holder = self.state.workers[done.worker]
        if done.moved_s is not None and reader.since_s < done.moved_s:
            # It was sent to where the block was before, and shall ask again.
            self._count_fetch(job, reader, gone)
            return True
        # One that does not answer may be gone with all it has; its next word, or silence, tells.
        if holder.up and holder.name != reader.worker:
            holder.suspect = self.settings.heartbeat_timeout_s < inf
            self.state.see(holder)
        self.lose_blocks(job, stage, [key.partition])
        stage.tasks[key.partition].shun(holder.name)
        # A cache drops what it likes, and there is only so much that was found there.
        if not done.found:
            self._count_fetch(job, reader, gone)
        return True

    def _count_fetch(self, job: Job, reader: Leased, gone: FetchFailed) -> None:
        self.touch(job)
        job.fetch_failures += 1
        if job.fetch_failures > self.settings.max_fetch_failures:
            self.end(job, Phase.FAILED, gone, reader.key)

    def lose_blocks(self, job: Job, stage: Stage, partitions: list[int]) -> None:
        """Write off accepted blocks of a stage; whether they are made again is asked later."""
        for partition in partitions:
            stage.lose(partition)
        for partition in lineage.unread(job, stage, partitions):
            stage.tasks[partition].promised = None
        self.touch(job)

    def roll_back(self, job: Job, stage: Stage) -> None:
        """Start a stage, and all that read it, over as new generations."""
        fallen = lineage.started_below(job, stage)
        why = f"a lost block of stage {stage.id} came out with other rows, or may have"
        if any(s.spec.sink for s in fallen) and job.phase is Phase.DELIVERED:
            failure = ended(
                "MS-221",
                f"{why}, and output that was made from it is already delivered",
                "Remove the output and submit the job again.",
            )
            self.end(job, Phase.FAILED, failure)
            return
        starts = max(s.generation for s in fallen) + 1
        if starts >= self.settings.max_stage_generations:
            failure = ended(
                "MS-222",
                f"{why}; its work has begun {starts} times",
                "Mark the function as deterministic if it is, or see why blocks are lost.",
            )
            self.end(job, Phase.FAILED, failure)
            return
        for candidate in fallen:
            candidate.generation += 1
            for partition, task in enumerate(candidate.tasks):
                task.promised = None
                if isinstance(task.state, Leased):
                    self._cancel(task.state)
                    task.move(IDLE)
                elif isinstance(task.state, Done):
                    candidate.lose(partition)
                elif task.state is not IDLE:
                    task.move(IDLE)
        self.touch(job)

    def _cancel(self, lease: Leased) -> None:
        worker = self.state.workers[lease.worker]
        self.state.unlease(lease, self.now)
        if worker.up:
            self.tell(CancelTask(worker.name, worker.epoch, lease.key))

    def place(self) -> None:
        """Give ready tasks to workers, one job after another, until somebody has to wait."""
        state, lines = self.state, self.state.lines
        held: dict[str, None] = {}
        while lines.has_room and len(held) < LOOKAHEAD:
            name = state.turns.first(but=held)
            if name is None:
                return
            job = state.hungry[name]
            if not lines.has_slot and self._waits_for_slot(job):
                return  # Whoever was leased ahead of it would have the slot that it waits for.
            if not self._launch_one(job):
                held[name] = None
            if not job.queue:
                state.sate(job)

    def make_way(self) -> None:
        """Let a job of which nothing is leased go before what others were given ahead.

        The line of one worker is called back, if all in it are of jobs that have more.
        """
        state, lines = self.state, self.state.lines
        name = state.turns.first() if lines.waiting and not lines.has_slot else None
        job = None if name is None else state.hungry[name]
        if job is None or job.leased:
            return
        avoid = next((s.tasks[p].avoid for s, p in [self._next_of(job)] if s), ())
        for worker in nsmallest(LOOKAHEAD, lines.waiting.values(), key=attrgetter("turn")):
            line = [state.lease_of(key) for key in worker.line]
            others = [state.jobs[lease.key.job] for lease in line if lease is not None]
            fit = worker.name in lines.fit.members and worker.name not in avoid
            if fit and all(state.turns.has_too_much(other, job) for other in others):
                self.call_back_line(worker)
                self.settle()
                self.place()
                return

    def take_back(self) -> None:
        """Let attempts that wait behind a long one run on workers with a free slot instead.

        It is nobody's fault and charges nothing. Should the attempt have begun after all, its
        report finds it replaced.
        """
        lines, after_s = self.state.lines, self.settings.take_back_after_s
        if not lines.waiting or not lines.has_slot:
            return
        if self.now >= lines.calm_s + after_s:
            for lease in liveness.overdue(self.state, self.now - after_s):
                if self._has_free_slot_for(lease):
                    self.call_back(lease)
                    self.place()
            lines.calm_s = liveness.waiting_since(self.state)
        self.due(liveness.next_take_back(self.state, self.now, self.settings))

    def call_back(self, lease: Leased) -> None:
        """Take an attempt away from its worker, at nobody's charge, and queue it again."""
        job = self.state.jobs[lease.key.job]
        stage, partition = job.stages[lease.key.stage], lease.key.partition
        self._cancel(lease)
        stage.tasks[partition].move(IDLE)
        if lineage.input_complete(job, stage, partition):
            self.state.enqueue(job, stage, partition)
        else:
            self.touch(job)

    def call_back_line(self, worker: Worker) -> None:
        """Take back what waits for a slot of a worker."""
        for lease in [self.state.lease_of(key) for key in worker.line]:
            if lease is not None:
                self.call_back(lease)

    def _has_free_slot_for(self, lease: Leased) -> bool:
        job = self.state.jobs[lease.key.job]
        stage, partition = job.stages[lease.key.stage], lease.key.partition
        if not lineage.input_complete(job, stage, partition):
            return False
        return self._worker_for(job, stage, partition, ahead=0) is not None

    def _next_of(self, job: Job) -> tuple[Stage | None, int]:
        """Return the task of a job whose turn is first, dropping void entries before it."""
        while job.queue:
            order, partition = job.queue[0]
            if isinstance(job.ordered[order].tasks[partition].state, Ready):
                return job.ordered[order], partition
            heappop(job.queue)
        return None, 0

    def _waits_for_slot(self, job: Job) -> bool:
        stage, _ = self._next_of(job)
        return stage is not None and self._ahead_of(stage) == 0

    def _ahead_of(self, stage: Stage) -> int:
        return placement.ahead_of(stage, self.settings)

    def _launch_one(self, job: Job) -> bool:
        aside: list[tuple[int, int]] = []
        launched = False
        while job.queue and not launched and len(aside) < LOOKAHEAD:
            order, partition = heappop(job.queue)
            stage = job.ordered[order]
            if not isinstance(stage.tasks[partition].state, Ready):
                continue
            ahead = self._ahead_of(stage)
            worker = self._worker_for(job, stage, partition, ahead=ahead)
            if worker is None:
                aside.append((order, partition))
                if not self.state.lines.takes(ahead):
                    break
                continue
            inputs = lineage.leaf_blocks(job, stage, partition)
            lease = self.state.lease(job, stage, partition, worker, self.now)
            self.tell(LaunchTask(worker.name, worker.epoch, lease.key, inputs))
            launched = True
        for entry in aside:
            heappush(job.queue, entry)
        return launched

    def launch_again(self, job: Job, lease: Leased) -> None:
        """Repeat a launch: a worker that has, or had, the attempt refuses it.

        One whose input was lost meanwhile may still end well where it runs, but cannot start.
        """
        worker = self.state.workers[lease.worker]
        stage, partition = job.stages[lease.key.stage], lease.key.partition
        if lineage.input_complete(job, stage, partition):
            inputs = lineage.leaf_blocks(job, stage, partition)
            self.tell(LaunchTask(worker.name, worker.epoch, lease.key, inputs))

    def _worker_for(self, job: Job, stage: Stage, partition: int, *, ahead: int) -> Worker | None:
        lines, there = self.state.lines, partial(lineage.rows_there, job, stage, partition)
        if any(there(name) for name in lines.suspect):
            return None
        return placement.choose(
            lines,
            avoid=stage.tasks[partition].avoid,
            ahead=ahead,
            near=lineage.near(job, stage, partition),
            input_on=there,
        )

    def strike(self, worker: Worker, key: TaskKey) -> None:
        """Note a failure that may be the worker's; so many in a row, and it is left out."""
        settings, fit = self.settings, self.state.lines.fit.members
        worker.strikes[key.job, key.stage, key.partition] = None
        enough = worker.struck + len(worker.strikes) >= settings.exclude_after > 0
        if not enough or worker.excluded_until_s is not None:
            return
        worker.acquit()
        if any(name != worker.name for name in fit):
            worker.excluded_until_s = self.now + settings.exclude_s
            self.due(worker.excluded_until_s)
            self.state.see(worker)
            self.call_back_line(worker)
        else:
            # It is so everywhere: then it is not the workers, and one is as good as another.
            for other in list(self.state.lines.barred.values()):
                self._readmit(other)

    def readmit(self) -> None:
        """Give work again to those that were left out for long enough."""
        for worker in list(self.state.lines.barred.values()):
            if worker.excluded_until_s is not None and self.now >= worker.excluded_until_s:
                self._readmit(worker)

    def _readmit(self, worker: Worker) -> None:
        worker.excluded_until_s = None
        self.state.see(worker)
