"""What a worker has to report: outcomes of attempts, and blocks that it fetched for others.

Reports are kept until the master has answered. One that the master cannot take is sent in smaller
parts, and becomes a failure of its task where it is alone.
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
"""Outcomes in one message: a long break of the master must not make one huge one."""
_LINGER_S = 0.05
"""How long outcomes wait for more to go with them while no slot and no job waits for them
(`ReportQueue._more_come`): for tasks of a few milliseconds the messages would cost more than the
work."""
_LINGER_STEP_S = 0.01
_NOT_SENT = "MS-227"

_log = logger("worker")


class ReportQueue:
    """Outcomes and moved blocks that the master has not confirmed, oldest first.

    ``in_line`` counts the attempts of each job's stages that wait for a slot.
    """

    def __init__(self, in_line: Callable[[], Counter[tuple[str, int]]]) -> None:
        self._in_line = in_line
        self._outcomes: list[TaskReport | TaskFailure] = []
        self._moved: list[TaskKey] = []
        self._batch = _MAX_REPORTS
        """Outcomes in the next message: fewer after one that the master refused."""
        self._something = asyncio.Event()

    @property
    def attempts(self) -> tuple[TaskKey, ...]:
        """The attempts whose outcomes are here."""
        return tuple(outcome.key for outcome in self._outcomes)

    def ended(self, outcome: TaskReport | TaskFailure) -> None:
        """Add the outcome of an attempt."""
        self._outcomes.append(outcome)
        self._something.set()

    def has_moved(self, key: TaskKey) -> None:
        """Add a block that was brought here."""
        self._moved.append(key)
        self._something.set()

    def clear(self) -> None:
        """Drop everything: a new epoch begins."""
        self._outcomes.clear()
        self._moved.clear()

    async def next(self) -> tuple[list[TaskReport | TaskFailure], list[TaskKey]]:
        """Wait until there is something to report, and a moment more for what comes with it."""
        while True:
            await self._something.wait()
            until_s = monotonic_s() + _LINGER_S
            while not self._moved and self._more_come() and monotonic_s() < until_s:
                await asyncio.sleep(_LINGER_STEP_S)
            if self._outcomes or self._moved:
                return self._outcomes[: self._batch], self._moved[:_MAX_REPORTS]
            self._something.clear()

    def confirmed(self, outcomes: int, moved: int) -> None:
        """Drop what the master has answered: so many from the front."""
        self._batch = _MAX_REPORTS
        del self._outcomes[:outcomes]
        del self._moved[:moved]

    def refused(self, outcomes: int, error: ReportRefusedError) -> None:
        """Send fewer outcomes at a time; one alone becomes a failure that the master can take."""
        if outcomes > 1:
            self._batch = outcomes // 2
            return
        if not outcomes:
            self._moved.clear()  # The master asks for the blocks again.
            return
        outcome = self._outcomes.pop(0)
        _log.error("report_refused", reason=str(error), **task_fields(outcome.key))
        if not _is_substitute(outcome):
            self._outcomes.insert(0, _substitute(outcome, error))

    def _more_come(self) -> bool:
        """Whether all that ended ended well, and of its stages more is in line here than that.

        So no slot waits for the answer, and no job for the last tasks of a stage.
        """
        ended = Counter((outcome.key.job, outcome.key.stage) for outcome in self._outcomes)
        in_line = self._in_line()
        well = all(isinstance(outcome, TaskReport) for outcome in self._outcomes)
        return well and all(count < in_line[stage] for stage, count in ended.items())


def _substitute(outcome: TaskReport | TaskFailure, error: ReportRefusedError) -> TaskFailure:
    """Return a failure in place of an outcome that cannot be sent."""
    info = ErrorInfo(
        _NOT_SENT,
        f"the report of a task cannot be sent to the master: {error}",
        hint="See what the task raises or returns; if it is nothing unusual, report it.",
    )
    return TaskFailure(outcome.key, TaskError(info), outcome.inputs, outcome.duration_s)


def _is_substitute(outcome: TaskReport | TaskFailure) -> bool:
    return (
        isinstance(outcome, TaskFailure)
        and isinstance(outcome.failure, TaskError)
        and outcome.failure.error.code == _NOT_SENT
    )
