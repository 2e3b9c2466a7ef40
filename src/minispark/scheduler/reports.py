"""What follows from a worker's report about an attempt.

Covers: accepted and dropped reports. Does not cover: what a failure is charged as (`policy`), what
a lost block invalidates (`lineage`).
"""

from __future__ import annotations

from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.plan.stages import Label
from minispark.scheduler import attempts, exclusion, lineage, stragglers
from minispark.scheduler.commands import ReleaseBlocks, ReportAccepted, ReportDropped
from minispark.scheduler.events import TaskFailed, TaskSucceeded
from minispark.scheduler.policy import POLICY, cause_of
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.step import Step
from minispark.scheduler.tasks import Task, Waiting, leases_in
from minispark.scheduler.workers import Worker

_ACCEPTED = ReportAccepted()


def succeeded(step: Step, worker: Worker, event: TaskSucceeded) -> None:
    """Accept a successful attempt, or drop its report and have its block deleted."""
    state = step.state
    attempt = attempts.live(state, event.key, worker, event.inputs)
    if attempt is None:
        _drop(step, worker, event)
        return
    step.emit(_ACCEPTED)
    job, stage, lease = attempt
    partition = event.key.partition
    if worker.leaving is not None:
        worker.leaving.unsettled = True
    task = stage.tasks[partition]
    first = task.published_receipt
    for other in leases_in(task.state):
        if other.key != lease.key:
            step.cancel(other, Reason(Why.OTHER_FIRST, key=lease.key))
    state.accept(stage, lease, event, step.now)
    stragglers.note(state, job, stage, step.settings)
    _clear(step, worker, task, event.key)
    if first is not None and not lineage.same_rows(first, event.receipt):
        # The plan said that the stage gives the same rows again, and it does not.
        stage.label = Label.INDETERMINATE
        if not lineage.unread(job, stage, [partition]):
            step.roll_back(job, stage, event.key)
            return
    for later, number in lineage.unlocked(job, stage, partition):
        if isinstance(later.tasks[number].state, Waiting) and lineage.input_complete(
            job, later, number
        ):
            state.enqueue(job, later, number)
    if stage.final and stage.complete and job.complete:
        step.mark_dirty(job)


def _drop(step: Step, worker: Worker, event: TaskSucceeded) -> None:
    """Drop a report; it may still prove that its stage gives other rows when repeated."""
    step.emit(ReportDropped(attempts.why_stale(step.state, event.key, event.inputs)))
    twin = attempts.accepted_twin(step.state, event.key, event.inputs)
    if twin is not None and not lineage.same_rows(twin[1].receipt, event.receipt):
        twin[0].label = Label.INDETERMINATE
    if not worker.holds(event.key):
        step.emit(ReleaseBlocks(worker.name, worker.epoch, (event.key,)))


def _clear(step: Step, worker: Worker, task: Task, key: TaskKey) -> None:
    """Reset the worker's failures, and count one for each worker on which the task raised."""
    worker.clear_failures()
    for name in task.avoid if task.error_messages else ():
        other = step.state.workers.get(name)
        if other is not None and other.up and other is not worker:
            exclusion.record_failure(step, other, key)


def failed(step: Step, worker: Worker, event: TaskFailed) -> None:
    """Charge a task for a failed attempt, or write off the input that it could not read."""
    attempt = attempts.live(step.state, event.key, worker, event.inputs)
    if attempt is None:
        why = attempts.why_stale(step.state, event.key, event.inputs)
        step.emit(ReportDropped(why))
        return
    step.emit(_ACCEPTED)
    job, stage, lease = attempt
    alone = step.state.give_up(stage, lease, step.now)
    stage.tasks[event.key.partition].why = Reason(Why.FAILED, worker.name, event.key)
    if isinstance(event.failure, FetchFailed) and step.lose_input(job, lease, event.failure):
        return
    cause = cause_of(event.failure)
    if POLICY[cause].blames_worker:
        exclusion.record_failure(step, worker, event.key)
    step.charge(job, stage, lease, cause, event.failure, alone=alone)
