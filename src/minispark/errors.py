"""What can go wrong, as types.

Exceptions are for the caller of an API; failures are values that travel from an executor to
the scheduler and over the wire. Neither is ever matched by its text.

::

    MinisparkError            code, message, hint and where it is
    ├── UsageError            MS-1xx  bad input that is known before anything runs
    ├── JobFailedError        MS-2xx  a job ended FAILED
    ├── JobCancelledError     MS-3xx  a job was cancelled
    ├── UnsupportedError      MS-4xx  a part of a public interface that is not built yet
    └── MasterUnreachableError MS-5xx  no master answers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from minispark.bounds import Count, Id, Items, Path, Seconds, Text

__all__ = [
    "Cancelled",
    "ErrorInfo",
    "Failure",
    "FetchFailed",
    "JobCancelledError",
    "JobFailedError",
    "MasterUnreachableError",
    "MinisparkError",
    "OutOfMemory",
    "TaskError",
    "TimedOut",
    "UnsupportedError",
    "UsageError",
    "WorkerLost",
]


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The ``error`` object of INTERFACE: one sentence, where it is, what to do."""

    code: Id
    message: Text
    node: Text | None = None
    field: Text | None = None
    file: Path | None = None
    row: Count | None = None
    hint: Text | None = None
    detail: Text | None = None
    """A user's own traceback, trimmed of ours; nothing else."""
    stage: Text | None = None
    """Where in a job it happened: `id` of a row of its stage table."""
    partition: Count | None = None
    log: Annotated[tuple[Text, ...], Items] = ()
    """The last lines that the task printed."""


class MinisparkError(Exception):
    """Root of every exception this package raises on purpose."""

    default_code = "MS-100"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        node: str | None = None,
        field: str | None = None,
        file: str | None = None,
        row: int | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.info = ErrorInfo(
            code=code or self.default_code,
            message=message,
            node=node,
            field=field,
            file=file,
            row=row,
            hint=hint,
            detail=detail,
        )

    @classmethod
    def from_info(cls, info: ErrorInfo) -> MinisparkError:
        """Build the exception that carries ``info``."""
        error = cls(info.message)
        error.info = info
        return error


class UsageError(MinisparkError):
    """Bad input that is known before anything runs."""

    default_code = "MS-101"


class JobFailedError(MinisparkError):
    """A job ended FAILED."""

    default_code = "MS-201"


class JobCancelledError(MinisparkError):
    """A job was cancelled."""

    default_code = "MS-301"


class UnsupportedError(MinisparkError, NotImplementedError):
    """A part of a public interface that is not built yet."""

    default_code = "MS-401"


class MasterUnreachableError(MinisparkError):
    """No master answers at the address given."""

    default_code = "MS-501"


@dataclass(frozen=True, slots=True)
class TaskError:
    """The task's own work raised: bad data, a plan that cannot run, a user's exception.

    ``transient`` is True for what may pass when tried again (an OSError, say).
    """

    error: ErrorInfo
    transient: bool = False
    kind: Literal["task_error"] = "task_error"


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """An input block is gone or corrupt: the task that made it must run again."""

    job: Id
    stage: Count
    generation: Count
    partition: Count
    attempt: Count
    reason: Text
    kind: Literal["fetch_failed"] = "fetch_failed"


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker or the executor process that ran the attempt is gone."""

    reason: Text
    kind: Literal["worker_lost"] = "worker_lost"


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The executor was killed before memory ran out.

    ``bound`` says which bound it was: one that the worker was given, or what has to stay free on
    the machine or in the control group.
    """

    limit_bytes: Count
    used_bytes: Count = 0
    bound: Literal["given", "machine"] = "given"
    inputs: Annotated[tuple[Text, ...], Items] = ()
    """The largest inputs of the task, with their sizes."""
    kind: Literal["out_of_memory"] = "out_of_memory"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than its limit."""

    limit_s: Seconds
    kind: Literal["timed_out"] = "timed_out"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was ended because nobody wants its result any more."""

    kind: Literal["cancelled"] = "cancelled"


Failure = TaskError | FetchFailed | WorkerLost | OutOfMemory | TimedOut | Cancelled
