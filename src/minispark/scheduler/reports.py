"""What follows from the word of a worker about an attempt.

Covers: reports that count and those that do not. Does not cover: what a failure costs (`policy`),
what a lost block takes along (`lineage`).
"""

from __future__ import annotations

from minispark.errors import FetchFailed
from minispark.scheduler import attempts, lineage
from minispark.scheduler.commands import ReleaseBlocks
from minispark.scheduler.events import TaskFailed, TaskSucceeded
from minispark.scheduler.policy import POLICY, cause_of
from minispark.scheduler.spec import StageLabel
from minispark.scheduler.tasks import IDLE, Waiting
from minispark.scheduler.work import Work
from minispark.scheduler.workers import Worker

__all__ = ["failed", "succeeded"]


def succeeded(work: Work, worker: Worker, event: TaskSucceeded) -> None:
    """Accept an attempt, or have its block deleted."""
    state = work.state
    found = attempts.live(state, event.key, worker, event.inputs)
    if found is None:
        if not worker.holds(event.key):
            work.tell(ReleaseBlocks(worker.name, worker.epoch, (event.key,)))
        return
    job, stage, lease = found
    partition = event.key.partition
    if worker.leaving is not None:
        worker.leaving.unsettled = True
    task = stage.tasks[partition]
    first = task.promised
    state.accept(stage, lease, event.receipt, work.now)
    worker.acquit()
    if task.sentences:
        # What raised elsewhere ends well here: then it is not the task that is wrong.
        for other in (state.workers.get(name) for name in task.avoid):
            if other is not None and other.up and other is not worker:
                work.strike(other, event.key)
    if first is not None and not lineage.same_rows(first, event.receipt):
        # The plan took the stage for repeatable and it is not: never trust it again.
        stage.label = StageLabel.INDETERMINATE
        if not lineage.unread(job, stage, [partition]):
            work.roll_back(job, stage)
            return
    for later, number in lineage.unlocked(job, stage, partition):
        if isinstance(later.tasks[number].state, Waiting) and lineage.input_complete(
            job, later, number
        ):
            state.enqueue(job, later, number)
    if stage.final and job.complete:
        work.touch(job)


def failed(work: Work, worker: Worker, event: TaskFailed) -> None:
    """Charge a task for an attempt, or write off the input that it did not find."""
    found = attempts.live(work.state, event.key, worker, event.inputs)
    if found is None:
        return
    job, stage, lease = found
    work.state.unlease(lease, work.now)
    stage.tasks[event.key.partition].move(IDLE)
    if isinstance(event.failure, FetchFailed) and work.lose_input(job, lease, event.failure):
        return
    cause = cause_of(event.failure)
    if POLICY[cause].blames:
        work.strike(worker, event.key)
    work.charge(job, stage, event.key, worker, cause, event.failure)
