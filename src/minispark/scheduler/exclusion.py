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
from minispark.scheduler.work import Work
from minispark.scheduler.workers import Worker

__all__ = ["readmit", "strike"]


def strike(work: Work, worker: Worker, key: TaskKey) -> None:
    """Note a failure that may be the worker's; so many in a row, and it is left out."""
    settings, fit = work.settings, work.state.lines.fit.members
    worker.strikes[key.job, key.stage, key.partition] = None
    enough = worker.struck + len(worker.strikes) >= settings.exclude_after > 0
    if not enough or worker.excluded_until_s is not None:
        return
    worker.acquit()
    if any(name != worker.name for name in fit):
        worker.excluded_until_s = work.now + settings.exclude_s
        work.due(worker.excluded_until_s)
        work.state.see(worker)
        work.call_back_line(worker)
    else:
        # It is so everywhere: then it is not the workers, and one is as good as another.
        for other in list(work.state.lines.barred.values()):
            _readmit(work, other)


def readmit(work: Work) -> None:
    """Give work again to those that were left out for long enough."""
    for worker in list(work.state.lines.barred.values()):
        if worker.excluded_until_s is not None and work.now >= worker.excluded_until_s:
            _readmit(work, worker)


def _readmit(work: Work, worker: Worker) -> None:
    worker.excluded_until_s = None
    work.state.see(worker)
