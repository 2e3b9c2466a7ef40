"""Turns what a task raised into a failure that the scheduler can act on.

Polars' own messages run over many lines of advice for other situations; a user gets one sentence.
A traceback is added only if the user's own function raised.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from dataclasses import replace
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

import minispark
from minispark.blocks.meta import BlockUnavailable
from minispark.errors import (
    ErrorInfo,
    Failure,
    FetchFailed,
    MinisparkError,
    TaskError,
    caused_by,
    text_of,
)
from minispark.masks import masked_error
from minispark.printable import cut

PANIC_CODE = "MS-215"
"""Polars itself panicked; it may still hold some of its locks."""

_OVER_ROWS = frozenset({"MS-211", "MS-212", "MS-232", "MS-233"})
"""Codes of errors that depend on rows: data, a function of the user, a header, a record."""
_SENTENCE_CHARS = 300
_DETAIL_CHARS = 8_000
"""A traceback of endless recursion has a thousand frames."""
_OS_ERROR = re.compile(r"\(os error (?P<number>\d+)\)(: (?P<file>[^\n]+))?")
"""How Polars reports an error of the system, in an OSError without a number or in another class."""
_OUR_FILES = (
    f"{Path(pl.__file__).parent}{os.sep}",
    f"{Path(minispark.__file__).parent}{os.sep}",
    "<frozen ",
)


def failure_of(error: BaseException) -> Failure:
    """Return the failure that stands for ``error``, with known secrets masked."""
    failure = _failure(error)
    if isinstance(failure, TaskError):
        info = failure.error
        if not isinstance(error, MinisparkError):
            info = caused_by(error, info)
        return replace(failure, error=masked_error(info).map_texts(_encodable))
    if isinstance(failure, FetchFailed):
        return replace(failure, reason=_encodable(failure.reason))
    return failure


def error_over_rows(error: Exception) -> ErrorInfo | None:
    """Return the error of a task if it depends on the rows that the task read, else None."""
    failure = failure_of(error)
    if isinstance(failure, TaskError) and failure.error.code in _OVER_ROWS:
        return failure.error
    return None


def _encodable(text: str) -> str:
    """Return a text that JSON can hold, which is without half surrogate pairs.

    Python has them in names of files that are no UTF-8, and in what users' functions raise.
    """
    return text.encode(errors="backslashreplace").decode()


def _failure(error: BaseException) -> Failure:
    match error:
        case BlockUnavailable(key=key, reason=reason):
            return FetchFailed(
                key.job, key.stage, key.generation, key.partition, key.attempt, reason
            )
        case MinisparkError():
            return TaskError(error.info)
        case MemoryError():
            message = "the task ran out of memory"
            return TaskError(ErrorInfo("MS-213", message), transient=True)
        case OSError():
            return _system_failure(error)
        case PanicException():
            message = f"Polars stopped with an internal error: {first_line(error)}"
            return TaskError(ErrorInfo(PANIC_CODE, message))
        case PolarsError():
            if is_system_error(error):
                return _system_failure(error)
            return TaskError(ErrorInfo("MS-211", first_line(error), detail=_user_traceback(error)))
        case _:
            message = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
            return TaskError(ErrorInfo("MS-212", message, detail=_user_traceback(error)))


def is_system_error(error: BaseException) -> bool:
    """Whether the disk or the network caused an error, not the data."""
    return isinstance(error, OSError) or _OS_ERROR.search(text_of(error)) is not None


def errno_of(error: BaseException) -> int | None:
    """Return the number of an error of the system, also of one that Polars reports, else None."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _OS_ERROR.search(text_of(error))
    return None if match is None else int(match["number"])


def first_line(error: BaseException, chars: int = _SENTENCE_CHARS) -> str:
    """Return the first line of the text of an exception, shortened."""
    lines = text_of(error).strip().splitlines()
    return cut(lines[0].strip() if lines else "", chars)


def _system_failure(error: OSError | PolarsError) -> TaskError:
    number, reason, file = errno_of(error), first_line(error), None
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or reason
        file = None if error.filename is None else str(error.filename)
    elif (match := _OS_ERROR.search(text_of(error))) is not None:
        reason, file = os.strerror(int(match["number"])), match["file"]
    message = reason if file is None else f"{reason}: {file}"
    hint = "free some space" if number in (errno.ENOSPC, errno.EDQUOT) else None
    return TaskError(ErrorInfo("MS-214", message, file=file, hint=hint), transient=True)


def _user_traceback(error: BaseException) -> str | None:
    """Return the traceback without our frames and Polars', None if nothing is left."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OUR_FILES)
    ]
    if not frames:
        return None
    message = text_of(error).split("\n\nThis error occurred in the following expression")[0]
    calls = "".join(traceback.format_list(frames))
    text = f"Traceback (most recent call last):\n{calls}{type(error).__name__}: {message}"
    if error.__cause__ is not None:
        cause = _user_traceback(error.__cause__)
        if cause is not None:
            text = f"{cause}\n\nwhich caused\n\n{text}"
    return text if len(text) <= _DETAIL_CHARS else f"...{text[-_DETAIL_CHARS:]}"
