"""The launches of a step, and the waiting attempts that are called back for them.

Covers: ready tasks, prefetched attempts that make way, second attempts of stragglers. Does not
cover: which worker (`placement`), which job (`job_queue`), what a straggler is (`stragglers`).
"""

from __future__ import annotations

from functools import partial
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Final

from minispark.ids import TaskKey
from minispark.scheduler import lineage, liveness, placement, stragglers
from minispark.scheduler.commands import LaunchTask, LeafBlocks
from minispark.scheduler.job_queue import prefetch_depth
from minispark.scheduler.reasons import RESENT, SPECULATIVE, Reason, Why
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun
from minispark.scheduler.step import Step
from minispark.scheduler.tasks import Leased, Ready
from minispark.scheduler.workers import Worker

LOOKAHEAD: Final = 64
"""Limit of ready tasks of a job that are tried, of jobs that are skipped, and of workers that are
examined for a job: otherwise a step takes as long as the queue when many tasks avoid the same
worker."""


def place(step: Step) -> None:
    """Give ready tasks to workers, one job after another, until a job has to wait."""
    state, lines = step.state, step.state.worker_index
    skipped: dict[str, None] = {}
    while len(skipped) < LOOKAHEAD and (shortest := lines.shortest) <= state.job_queue.furthest:
        name = state.job_queue.first(but=skipped, place=shortest)
        if name is None or (shortest and state.job_queue.needs_slot(name)):
            return  # A task prefetched before it would take the slot that it waits for.
        job = state.runnable_jobs[name]
        if not _launch_next(step, job):
            skipped[name] = None
        if job.head is None:
            state.remove_runnable(job)


def preempt_prefetched(step: Step) -> None:
    """Call back prefetched attempts for a job without a leased attempt.

    All waiting attempts of one worker, if all are of jobs that have more.
    """
    state, lines = step.state, step.state.worker_index
    name = state.job_queue.first() if lines.waiting and not lines.has_slot else None
    job = None if name is None else state.runnable_jobs[name]
    if job is None or job.leased:
        return
    head = job.head
    avoid = () if head is None else head.tasks[job.queue[0][1]].avoid

    def can_give_way(name: str) -> bool:
        if name not in lines.fit.members or name in avoid:
            return False
        owners = (state.jobs[key.job] for key in state.workers[name].waiting)
        return all(state.job_queue.should_yield(other, job) for other in owners)

    giver = lines.waiting.find(can_give_way, among=LOOKAHEAD)
    if giver is not None:
        step.revoke_all(state.workers[giver].waiting, Reason(Why.PREEMPTED, giver))
        step.settle()
        place(step)


def rebalance(step: Step) -> None:
    """Move attempts that wait behind a long one to workers with a free slot.

    Nothing is charged. If the attempt has started after all, its report is dropped.
    """
    lines = step.state.worker_index
    looked_at: dict[str, None] = {}
    while lines.waiting and lines.has_slot and len(looked_at) < LOOKAHEAD:
        name = lines.waiting.first(but=looked_at)
        lease = None if name is None else step.state.last_in_line(name)
        if lease is None or step.now < lease.since_s + step.settings.take_back_after_s:
            break
        looked_at[lease.worker] = None
        if _has_free_slot_for(step, lease):
            step.revoke(lease, Reason(Why.SLOT_FREE_ELSEWHERE, lease.worker))
            place(step)
    step.due(liveness.next_take_back(step.state, step.now, step.settings))


def speculate(step: Step) -> None:
    """Launch second attempts of stragglers, the longest overdue first, if nothing is ready."""
    state, settings = step.state, step.settings
    if state.runnable_jobs or not state.worker_index.fit.free:
        return
    look_from_s = stragglers.look_from_s(state, settings)
    if look_from_s > step.now:
        step.due(look_from_s)
        return
    state.next_straggler_check_s = state.begun_s = inf
    late: list[tuple[float, TaskKey]] = []
    for stage in stragglers.stages(state, settings):
        patience_s = stragglers.straggler_after_s(stage, settings)
        for key, since_s in islice(stage.started.items(), state.worker_index.fit.free + LOOKAHEAD):
            due_s = since_s + patience_s
            state.next_straggler_check_s = min(state.next_straggler_check_s, due_s)
            if due_s > step.now:
                step.due(due_s)
                break
            late.append((due_s, key))
    for _, key in sorted(late):
        if state.worker_index.fit.free:
            _launch_second(step, key)


def launch_again(step: Step, job: JobRun, lease: Leased) -> None:
    """Repeat a launch; a worker that has, or had, the attempt ignores it.

    Not if the input was lost meanwhile: the attempt may still succeed if it runs, but not start.
    """
    worker = step.state.workers[lease.worker]
    stage, partition = job.stages[lease.key.stage], lease.key.partition
    if lineage.input_complete(job, stage, partition):
        _emit_launch(step, worker, lease, lineage.leaf_blocks(job, stage, partition), RESENT)


def _launch_second(step: Step, key: TaskKey) -> None:
    job, first = step.state.jobs[key.job], step.state.lease_of(key)
    stage, partition = job.stages[key.stage], key.partition
    if first is None or not lineage.input_complete(job, stage, partition):
        return
    avoid = (*stage.tasks[partition].avoid, first.worker)
    worker = _worker_for(step, job, stage, partition, ahead=0, avoid=avoid)
    fit_workers = step.state.worker_index.fit.members
    if worker is not None and worker.name in fit_workers and worker.name not in avoid:
        _launch(step, job, stage, partition, worker)


def _launch_next(step: Step, job: JobRun) -> bool:
    aside: list[tuple[int, int]] = []
    launched = False
    while job.queue and not launched and len(aside) < LOOKAHEAD:
        order, partition = heappop(job.queue)
        stage = job.ordered[order]
        if not isinstance(stage.tasks[partition].state, Ready):
            continue
        ahead = prefetch_depth(stage, step.settings)
        worker = _worker_for(step, job, stage, partition, ahead=ahead)
        if worker is None:
            aside.append((order, partition))
            if step.state.worker_index.shortest > ahead:
                break
            continue
        _launch(step, job, stage, partition, worker)
        launched = True
    for entry in aside:
        heappush(job.queue, entry)
    if aside:
        step.state.mark_runnable(job)
    return launched


def _launch(step: Step, job: JobRun, stage: StageRun, partition: int, worker: Worker) -> None:
    inputs = lineage.leaf_blocks(job, stage, partition)
    lease = step.state.lease(job, stage, partition, worker, step.now)
    reason = SPECULATIVE if lease.speculative else stage.tasks[partition].why
    _emit_launch(step, worker, lease, inputs, reason)


def _emit_launch(
    step: Step,
    worker: Worker,
    lease: Leased,
    inputs: tuple[LeafBlocks, ...],
    reason: Reason | None,
) -> None:
    key, waits = lease.key, lease.key in worker.waiting
    step.emit(LaunchTask(worker.name, worker.epoch, key, inputs, reason, prefetched=waits))


def _worker_for(
    step: Step,
    job: JobRun,
    stage: StageRun,
    partition: int,
    *,
    ahead: int,
    avoid: tuple[str, ...] | None = None,
) -> Worker | None:
    lines, rows_on = step.state.worker_index, partial(lineage.rows_there, job, stage, partition)
    if lines.suspect and any(rows_on(name) for name in lines.suspect):
        return None
    return placement.choose(
        lines,
        avoid=stage.tasks[partition].avoid if avoid is None else avoid,
        ahead=ahead,
        near=lineage.near(job, stage, partition),
        input_on=rows_on,
    )


def _has_free_slot_for(step: Step, lease: Leased) -> bool:
    job = step.state.jobs[lease.key.job]
    stage, partition = job.stages[lease.key.stage], lease.key.partition
    if not lineage.input_complete(job, stage, partition):
        return False
    return _worker_for(step, job, stage, partition, ahead=0) is not None
