"""What each way to fail costs, and what ends the job: one table.

A failure inside a task is a matter of attempts; lost output is a matter of lineage. An attempt
charges at most once, because its report is accepted at most once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    FetchFailed,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)

__all__ = ["POLICY", "Cause", "Charge", "Rule", "cause_of", "ended"]


class Cause(StrEnum):
    """Why an attempt, or a block, is gone."""

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
    """On which of a task's accounts a failure goes, and which setting bounds it."""

    ATTEMPT = "max_attempts"
    LOSS = "max_task_losses"
    FETCH = "max_fetch_failures"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    ``hopeless``: no retry at all. ``certain``: the same sentence a second time, or nobody else
    to ask, ends the job before the account is empty. ``elsewhere``: other workers are asked
    first. ``blames``: it may be the worker; so many tasks in a row, and it is left out.
    """

    charge: Charge
    hopeless: bool = False
    certain: bool = False
    elsewhere: bool = False
    blames: bool = False


POLICY: Final[Mapping[Cause, Rule]] = {
    Cause.BAD_DATA: Rule(Charge.ATTEMPT, hopeless=True),
    Cause.OWN_ERROR: Rule(Charge.ATTEMPT, certain=True, elsewhere=True),
    Cause.PASSING_ERROR: Rule(Charge.ATTEMPT, elsewhere=True, blames=True),
    Cause.OUT_OF_MEMORY: Rule(Charge.ATTEMPT, elsewhere=True, blames=True),
    Cause.TIMED_OUT: Rule(Charge.ATTEMPT, elsewhere=True, blames=True),
    Cause.EXECUTOR_LOST: Rule(Charge.ATTEMPT, elsewhere=True, blames=True),
    Cause.CANCELLED: Rule(Charge.LOSS),
    Cause.WORKER_DOWN: Rule(Charge.LOSS),
    Cause.LEASE_LOST: Rule(Charge.LOSS),
    Cause.INPUT_GONE: Rule(Charge.FETCH),
}


def cause_of(failure: Failure) -> Cause:
    """Return the row of a failure that an attempt reported."""
    match failure:
        case TaskError(transient=True):
            return Cause.PASSING_ERROR
        case TaskError():
            return Cause.OWN_ERROR if failure.error.file is None else Cause.BAD_DATA
        case OutOfMemory():
            return Cause.OUT_OF_MEMORY
        case TimedOut():
            return Cause.TIMED_OUT
        case WorkerLost():
            return Cause.EXECUTOR_LOST
        case Cancelled():
            return Cause.CANCELLED
        case FetchFailed():
            return Cause.INPUT_GONE
        case _:
            assert_never(failure)


def ended(code: str, message: str, hint: str) -> TaskError:
    """Build the failure of a job that the scheduler itself gives up."""
    return TaskError(ErrorInfo(code, message, hint=hint))
