"""Which workers are excluded for a while because too many tasks failed on them.

1. After ``exclude_after`` different failed tasks in a row a worker gets none for ``exclude_s``, or
   until it registers again, unless no other worker can take the task (`placement`). Its waiting
   attempts go back to the queue.
2. A failure counts if the worker may be its cause (`policy`), or once the task succeeded elsewhere.
3. When the last fit worker would be excluded, all are readmitted instead: what fails everywhere is
   not the fault of a worker.
"""

from __future__ import annotations

from minispark.ids import TaskKey
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.step import Step
from minispark.scheduler.workers import Worker


def record_failure(step: Step, worker: Worker, key: TaskKey) -> None:
    """Count a failure that the worker may have caused; exclude it after too many in a row."""
    settings, fit_workers = step.settings, step.state.worker_index.fit.members
    worker.failed_tasks[key.job, key.stage, key.partition] = None
    enough = worker.failures + len(worker.failed_tasks) >= settings.exclude_after > 0
    if not enough or worker.excluded_until_s is not None:
        return
    worker.clear_failures()
    if any(name != worker.name for name in fit_workers):
        worker.excluded_until_s = step.now + settings.exclude_s
        step.due(worker.excluded_until_s)
        step.state.reindex(worker)
        step.revoke_all(worker.waiting, Reason(Why.WORKER_EXCLUDED, worker.name))
    else:
        # Tasks fail on every worker, so no worker is the cause.
        for other in list(step.state.worker_index.excluded_workers.values()):
            _readmit(step, other)


def readmit(step: Step) -> None:
    """Readmit the workers whose exclusion is over."""
    for worker in list(step.state.worker_index.excluded_workers.values()):
        if worker.excluded_until_s is not None and step.now >= worker.excluded_until_s:
            _readmit(step, worker)


def _readmit(step: Step, worker: Worker) -> None:
    worker.excluded_until_s = None
    step.state.reindex(worker)
