"""Failures as errors for users: a sentence, a code, a hint."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import assert_never

from minispark import errors
from minispark.settings import MIB


@dataclass(frozen=True, slots=True)
class FailureLocation:
    """The task of a failure, and the last lines that its attempt printed."""

    stage: int
    name: str
    partition: int
    nodes: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


def error_of(failure: errors.Failure, location: FailureLocation | None = None) -> errors.ErrorInfo:
    """Return the error that a failure is for the user, with its location."""
    info = _meaning(failure)
    if location is None:
        return info
    message = info.message
    if isinstance(failure, errors.Cancelled):
        message = "the attempt was cancelled: its task ran elsewhere, or the job ended"
    elif not isinstance(failure, errors.TaskError):
        message = (
            f"{message} (stage {location.stage}, {location.name}, partition {location.partition})"
        )
    return replace(
        info,
        message=message,
        node=info.node or (location.nodes[0] if len(location.nodes) == 1 else None),
        stage=f"stage-{location.stage}",
        partition=location.partition,
        log=location.log,
    )


def error_kind(error: errors.ErrorInfo) -> tuple[str | None, ...]:
    """Return a key that is the same for errors of a job that differ only in data.

    Data are values and names in quotes (but not columns), words with digits, paths, and what
    follows a semicolon. If a function of the user raised, its lines decide, not its words.
    """
    frames = tuple(_FRAME.findall(error.detail or ""))
    words = frames or (_REPEATED.sub("*", _DATA.sub("*", error.message.partition(";")[0])),)
    return (error.stage, error.code, error.node, error.field, error.exception, *words)


_FRAME = re.compile(r"^  File .*$", re.MULTILINE)
_DATA = re.compile(
    r"""(?<!column )(?:"[^"]*"|'[^']*')|[^\s"'`()\[\],]*(?:\d|/)[^\s"'`()\[\],]*""",
)
_REPEATED = re.compile(r"\*(?:, \*)+")


def _meaning(failure: errors.Failure) -> errors.ErrorInfo:
    match failure:
        case errors.TaskError():
            return failure.error
        case errors.FetchFailed():
            return errors.ErrorInfo(
                "MS-202",
                f"the output of stage {failure.stage}, partition {failure.partition}, was lost "
                f"and could not be computed again: {failure.reason}",
                hint="See the log of the worker that stored it; its disk may be full or broken.",
            )
        case errors.WorkerLost():
            return errors.ErrorInfo(
                "MS-203",
                f"the job could not continue: {failure.reason}",
                hint="Start a worker with: minispark worker",
            )
        case errors.OutOfMemory():
            return _out_of_memory(failure)
        case errors.TimedOut():
            return errors.ErrorInfo(
                "MS-205",
                f"a task timed out after {failure.limit_s:g} s",
                hint="Give tasks more time with --task-timeout, or use more partitions.",
            )
        case errors.Cancelled():
            return errors.ErrorInfo("MS-301", "the job was cancelled")


def _out_of_memory(failure: errors.OutOfMemory) -> errors.ErrorInfo:
    size = f"{failure.limit_bytes // MIB} MB"
    match failure.bound:
        case "given":
            bound = f"over its memory limit of {size}"
        case "machine":
            bound = f"too far: less than {size} of memory was left on the machine or in its group"
        case _:
            assert_never(failure.bound)
    used = f"; it used {failure.used_bytes // MIB} MB" if failure.used_bytes else ""
    inputs = f"; it read {', '.join(failure.inputs)}" if failure.inputs else ""
    return errors.ErrorInfo(
        "MS-204",
        f"a task went {bound}{used}{inputs}",
        hint="Give the workers more with --memory-limit-mb, or use more partitions.",
    )
