"""Which workers are left out for a while because too much failed on them.

1. ``exclude_after`` different tasks failed there in a row: it gets none for ``exclude_s``, or until
   its next life, but where nobody else would do (`placement`). What waits there goes back.
2. A failure counts if it may be the worker's (`policy`), or once the task ended well elsewhere.
3. When the last one that is fit would be left out, nobody is any more: what is so everywhere is not
   the workers' fault.

Covers: that.
"""

from __future__ import annotations

from minispark.ids import TaskKey
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.step import Step
from minispark.scheduler.workers import Worker


def record_failure(step: Step, worker: Worker, key: TaskKey) -> None:
    """Note a failure that may be the worker's; so many in a row, and it is left out."""
    settings, fit = step.settings, step.state.worker_index.fit.members
    worker.failed_tasks[key.job, key.stage, key.partition] = None
    enough = worker.failures + len(worker.failed_tasks) >= settings.exclude_after > 0
    if not enough or worker.excluded_until_s is not None:
        return
    worker.clear_failures()
    if any(name != worker.name for name in fit):
        worker.excluded_until_s = step.now + settings.exclude_s
        step.due(worker.excluded_until_s)
        step.state.reindex(worker)
        step.call_back_all(worker.waiting, Reason(Why.WORKER_EXCLUDED, worker.name))
    else:
        # It is so everywhere: then it is not the workers, and one is as good as another.
        for other in list(step.state.worker_index.excluded_workers.values()):
            _readmit(step, other)


def readmit(step: Step) -> None:
    """Give work again to those that were left out for long enough."""
    for worker in list(step.state.worker_index.excluded_workers.values()):
        if worker.excluded_until_s is not None and step.now >= worker.excluded_until_s:
            _readmit(step, worker)


def _readmit(step: Step, worker: Worker) -> None:
    worker.excluded_until_s = None
    step.state.reindex(worker)
