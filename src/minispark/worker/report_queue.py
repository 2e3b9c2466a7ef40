"""The reports of a worker: outcomes of attempts, and blocks that it copied from others.

Reports stay until the master has answered. A message that the master refuses is sent again in
smaller parts; a single outcome that it refuses becomes a failure of its task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo, TaskError
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.task.spec import TaskFailure, TaskReport
from minispark.worker.rpc import ReportRefusedError

_MAX_REPORTS = 256
"""Outcomes in one message, so that a long outage of the master does not end in a huge one."""
_LINGER_S = 0.05
"""How long outcomes wait for more of them while no slot and no job waits for the answer
(`ReportQueue._more_come`): for tasks of a few milliseconds single messages would cost more than the
work."""
_LINGER_STEP_S = 0.01
_NOT_SENT = "MS-227"

_log = logger("worker")


class ReportQueue:
    """Outcomes and moved blocks that the master has not confirmed, oldest first.

    ``queue_counts`` returns how many attempts wait for a slot, by job and stage.
    """

    def __init__(self, queue_counts: Callable[[], Counter[tuple[str, int]]]) -> None:
        self._queue_counts = queue_counts
        self._outcomes: list[TaskReport | TaskFailure] = []
        self._moved: list[TaskKey] = []
        self._batch_size = _MAX_REPORTS
        """Outcomes in the next message: fewer after one that the master refused."""
        self._ready = asyncio.Event()

    @property
    def attempts(self) -> tuple[TaskKey, ...]:
        """The attempts with an outcome in the queue."""
        return tuple(outcome.key for outcome in self._outcomes)

    def add(self, outcome: TaskReport | TaskFailure) -> None:
        """Add the outcome of an attempt."""
        self._outcomes.append(outcome)
        self._ready.set()

    def add_moved(self, key: TaskKey) -> None:
        """Add a block that was copied to this worker."""
        self._moved.append(key)
        self._ready.set()

    def clear(self) -> None:
        """Drop everything: a new epoch begins."""
        self._outcomes.clear()
        self._moved.clear()

    async def next(self) -> tuple[list[TaskReport | TaskFailure], list[TaskKey]]:
        """Wait for something to report, and a moment for more; return outcomes and moved blocks."""
        while True:
            await self._ready.wait()
            until_s = monotonic_s() + _LINGER_S
            while not self._moved and self._more_come() and monotonic_s() < until_s:
                await asyncio.sleep(_LINGER_STEP_S)
            if self._outcomes or self._moved:
                return self._outcomes[: self._batch_size], self._moved[:_MAX_REPORTS]
            self._ready.clear()

    def confirm(self, outcomes: int, moved: int) -> None:
        """Drop this many outcomes and moved blocks from the front: the master has them."""
        self._batch_size = _MAX_REPORTS
        del self._outcomes[:outcomes]
        del self._moved[:moved]

    def refused(self, outcomes: int, error: ReportRefusedError) -> None:
        """Send fewer outcomes at a time; turn a single one into a failure that can be sent."""
        if outcomes > 1:
            self._batch_size = outcomes // 2
            return
        if not outcomes:
            self._moved.clear()  # The master asks for these blocks again.
            return
        outcome = self._outcomes.pop(0)
        _log.error("report_refused", reason=str(error), **task_fields(outcome.key))
        if not _is_substitute(outcome):
            self._outcomes.insert(0, _substitute(outcome, error))

    def _more_come(self) -> bool:
        """Whether all outcomes are successes, and more attempts of their stages wait than ended.

        Then no slot waits for the answer, and no job for the last tasks of a stage.
        """
        ended = Counter((outcome.key.job, outcome.key.stage) for outcome in self._outcomes)
        waiting = self._queue_counts()
        succeeded = all(isinstance(outcome, TaskReport) for outcome in self._outcomes)
        return succeeded and all(count < waiting[stage] for stage, count in ended.items())


def _substitute(outcome: TaskReport | TaskFailure, error: ReportRefusedError) -> TaskFailure:
    """Return a failure in place of an outcome that cannot be sent."""
    info = ErrorInfo(
        _NOT_SENT,
        f"the report of a task cannot be sent to the master: {error}",
        hint="Check what the task raises or returns; if it is nothing unusual, report this.",
    )
    return TaskFailure(outcome.key, TaskError(info), outcome.inputs, outcome.duration_s)


def _is_substitute(outcome: TaskReport | TaskFailure) -> bool:
    return (
        isinstance(outcome, TaskFailure)
        and isinstance(outcome.failure, TaskError)
        and outcome.failure.error.code == _NOT_SENT
    )
