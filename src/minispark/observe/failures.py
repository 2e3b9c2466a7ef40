"""Failures as the one sentence that a user reads."""

from __future__ import annotations

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
from minispark.settings import MIB

__all__ = ["error_of"]


def error_of(failure: Failure) -> ErrorInfo:
    """Say what a failure means to the user whose job it ended."""
    match failure:
        case TaskError():
            return failure.error
        case FetchFailed():
            return ErrorInfo(
                "MS-202",
                f"the output of stage {failure.stage}, partition {failure.partition}, was lost "
                f"and could not be made again: {failure.reason}",
                hint="See the log of the worker that held it; its disk may be full or broken.",
            )
        case WorkerLost():
            return ErrorInfo(
                "MS-203",
                f"the work could not go on: {failure.reason}",
                hint="Start a worker with: minispark worker",
            )
        case OutOfMemory():
            return ErrorInfo(
                "MS-204",
                f"a task went over its memory limit of {failure.limit_bytes // MIB} MB",
                hint="Give the workers more with --memory-limit-mb, or use more partitions.",
            )
        case TimedOut():
            return ErrorInfo(
                "MS-205",
                f"a task timed out after {failure.limit_s:g} s",
                hint="Give tasks more time with --task-timeout, or use more partitions.",
            )
        case Cancelled():
            return ErrorInfo("MS-301", "the job was cancelled")
