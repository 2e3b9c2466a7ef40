"""Whether a report counts: asked before the scheduler takes it in, for those who keep records."""

from __future__ import annotations

from minispark.scheduler import attempts
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import TaskFailed, TaskSucceeded

__all__ = ["counts"]


def counts(scheduler: Scheduler, event: TaskSucceeded | TaskFailed) -> bool:
    """Whether ``scheduler.step(event)`` will take the report or drop it as stale."""
    worker = scheduler.state.workers.get(event.worker)
    if worker is None or not worker.up or worker.epoch != event.epoch:
        return False
    return attempts.live(scheduler.state, event.key, worker, event.inputs) is not None
