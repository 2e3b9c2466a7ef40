"""Turns what a task raised into a failure that the scheduler can act on.

Polars' own messages run over many lines of advice for other situations; what a user gets is one
sentence. A traceback goes along only where the user's own function raised.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

import minispark
from minispark.blocks.errors import BlockUnavailable
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

PANIC_CODE = "MS-215"
"""Polars itself broke; nobody knows which of its locks are still held."""

_OVER_ROWS = frozenset({"MS-211", "MS-212", "MS-232", "MS-233"})
"""What the data, a function of the user, the header of a file or one of its records brought."""
_SENTENCE_CHARS = 300
_TEXTS = (
    "message",
    "node",
    "field",
    "file",
    "hint",
    "detail",
    "exception_message",
)
_DETAIL_CHARS = 8_000
"""A traceback of runaway recursion has a thousand frames; nobody reads them."""
_OS_ERROR = re.compile(r"\(os error (?P<number>\d+)\)(: (?P<file>[^\n]+))?")
"""How Polars tells of an error of the system, in an OSError without a number or in another."""
_NOT_THE_USERS = (
    f"{Path(pl.__file__).parent}{os.sep}",
    f"{Path(minispark.__file__).parent}{os.sep}",
    "<frozen ",
)


def failure_of(error: BaseException) -> Failure:
    """Return the failure that stands for ``error``, its texts without known secrets."""
    failure = _failure(error)
    if isinstance(failure, TaskError):
        info = failure.error
        if not isinstance(error, MinisparkError):
            info = caused_by(error, info)
        return replace(failure, error=_printable(masked_error(info)))
    if isinstance(failure, FetchFailed):
        return replace(failure, reason=_encodable(failure.reason))
    return failure


def error_over_rows(error: Exception) -> ErrorInfo | None:
    """Return the error of a task that other rows would not have met, None for any other."""
    failure = failure_of(error)
    if isinstance(failure, TaskError) and failure.error.code in _OVER_ROWS:
        return failure.error
    return None


def _printable(info: ErrorInfo) -> ErrorInfo:
    """Return an error whose texts can be sent: JSON holds no half of a surrogate pair.

    Python has them in names of files that are no UTF-8, and users' functions raise what they like.
    """
    texts = {name: getattr(info, name) for name in _TEXTS}
    changed: dict[str, Any] = {name: _encodable(text) for name, text in texts.items() if text}
    return replace(info, **changed)


def _encodable(text: str) -> str:
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
            return _of_os_error(error)
        case PanicException():
            message = f"Polars stopped with an internal error: {sentence(error)}"
            return TaskError(ErrorInfo(PANIC_CODE, message))
        case PolarsError():
            if is_of_system(error):
                return _of_os_error(error)
            return TaskError(ErrorInfo("MS-211", sentence(error), detail=_user_traceback(error)))
        case _:
            message = f"{type(error).__name__}: {sentence(error)}".rstrip(": ")
            return TaskError(ErrorInfo("MS-212", message, detail=_user_traceback(error)))


def is_of_system(error: BaseException) -> bool:
    """Tell whether the disk or the network is to blame, and not the data."""
    return isinstance(error, OSError) or _OS_ERROR.search(text_of(error)) is not None


def errno_of(error: BaseException) -> int | None:
    """Return the number of an error of the system, also one that Polars reports."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = _OS_ERROR.search(text_of(error))
    return None if told is None else int(told["number"])


def sentence(error: BaseException) -> str:
    """Return the first line of what an exception says, shortened."""
    lines = text_of(error).strip().splitlines()
    first = lines[0].strip() if lines else ""
    return first if len(first) <= _SENTENCE_CHARS else f"{first[:_SENTENCE_CHARS]}..."


def _of_os_error(error: OSError | PolarsError) -> TaskError:
    number, what, file = None, sentence(error), None
    told = _OS_ERROR.search(text_of(error))
    if isinstance(error, OSError) and error.errno is not None:
        number, what = error.errno, error.strerror or what
        file = None if error.filename is None else str(error.filename)
    elif told is not None:
        number, file = int(told["number"]), told["file"]
        what = os.strerror(number)
    message = what if file is None else f"{what}: {file}"
    hint = "free some space" if number in (errno.ENOSPC, errno.EDQUOT) else None
    return TaskError(ErrorInfo("MS-214", message, file=file, hint=hint), transient=True)


def _user_traceback(error: BaseException) -> str | None:
    """Return the traceback without our frames and Polars', None if nothing is left."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_THE_USERS)
    ]
    if not frames:
        return None
    said = text_of(error).split("\n\nThis error occurred in the following expression")[0]
    text = "".join(
        [
            "Traceback (most recent call last):\n",
            *traceback.format_list(frames),
            f"{type(error).__name__}: {said}",
        ]
    )
    if error.__cause__ is not None:
        below = _user_traceback(error.__cause__)
        if below is not None:
            text = f"{below}\n\nwhich caused\n\n{text}"
    return text if len(text) <= _DETAIL_CHARS else f"...{text[-_DETAIL_CHARS:]}"
