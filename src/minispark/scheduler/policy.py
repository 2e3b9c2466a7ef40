"""The table of failures: what each one is charged as, and which ones end the job.

A failure inside a task is handled by `attempts`, lost output by `lineage`. An attempt is charged at
most once, because its report is accepted at most once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from minispark import errors


class Cause(StrEnum):
    """Why an attempt or a block was lost."""

    BAD_DATA = "bad data"
    OWN_ERROR = "the task's own error"
    PASSING_ERROR = "an error that may pass"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    EXECUTOR_LOST = "executor lost"
    CANCELLED = "cancelled by the worker"
    WORKER_DOWN = "worker down"
    LEASE_LOST = "lease lost"
    INPUT_GONE = "input gone"


class Charge(StrEnum):
    """The counter of a task that a failure increases, named by the setting that limits it."""

    ATTEMPT = "max_attempts"
    LOSS = "max_task_losses"
    FETCH = "max_fetch_failures"


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One row of the table.

    ``fatal``: there is no retry. ``fatal_if_repeated``: the same message a second time, or no other
    worker to try, ends the job before the limit of the counter. ``elsewhere``: other workers are
    tried first. ``blames_worker``: the worker may be the cause; after several such tasks in a row
    it is excluded.
    """

    charge: Charge
    fatal: bool = False
    fatal_if_repeated: bool = False
    elsewhere: bool = False
    blames_worker: bool = False


POLICY: Final[Mapping[Cause, FailureRule]] = {
    Cause.BAD_DATA: FailureRule(Charge.ATTEMPT, fatal=True),
    Cause.OWN_ERROR: FailureRule(Charge.ATTEMPT, fatal_if_repeated=True, elsewhere=True),
    Cause.PASSING_ERROR: FailureRule(Charge.ATTEMPT, elsewhere=True, blames_worker=True),
    Cause.OUT_OF_MEMORY: FailureRule(Charge.ATTEMPT, elsewhere=True, blames_worker=True),
    Cause.TIMED_OUT: FailureRule(Charge.ATTEMPT, elsewhere=True, blames_worker=True),
    Cause.EXECUTOR_LOST: FailureRule(Charge.ATTEMPT, elsewhere=True, blames_worker=True),
    Cause.CANCELLED: FailureRule(Charge.LOSS),
    Cause.WORKER_DOWN: FailureRule(Charge.LOSS),
    Cause.LEASE_LOST: FailureRule(Charge.LOSS),
    Cause.INPUT_GONE: FailureRule(Charge.FETCH),
}


def cause_of(failure: errors.Failure) -> Cause:
    """Return the cause of a failure that an attempt reported."""
    match failure:
        case errors.TaskError(transient=True):
            return Cause.PASSING_ERROR
        case errors.TaskError():
            return Cause.OWN_ERROR if failure.error.file is None else Cause.BAD_DATA
        case errors.OutOfMemory():
            return Cause.OUT_OF_MEMORY
        case errors.TimedOut():
            return Cause.TIMED_OUT
        case errors.WorkerLost():
            return Cause.EXECUTOR_LOST
        case errors.Cancelled():
            return Cause.CANCELLED
        case errors.FetchFailed():
            return Cause.INPUT_GONE
        case _:
            assert_never(failure)


def ended(code: str, message: str, hint: str) -> errors.TaskError:
    """Return the failure of a job that the scheduler ends."""
    return errors.TaskError(errors.ErrorInfo(code, message, hint=hint))
