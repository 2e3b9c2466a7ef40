"""The text and the exit code of a failure.

::

    error[MS-164]: there is no column "wrod"
      node agg, field key
      hint: did you mean "word"?
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from minispark.errors import (
    ErrorInfo,
    JobFailedError,
    MasterUnreachableError,
    MinisparkError,
    UnsupportedError,
    UsageError,
)
from minispark.printable import printable, printable_lines
from minispark.program import as_typed

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
_NOT_USAGE = frozenset(
    {"MS-140", "MS-142", "MS-143", "MS-144", "MS-149", "MS-158", "MS-159"},
)
"""A right request for a job or worker that is not there or not ready, or at a busy time."""


def exit_code(error: BaseException) -> int:
    """Return the exit code for ``error``."""
    match error:
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED
        case JobFailedError():
            # First, since a FileNotFoundError in a task raises a JobFailedError that is both.
            return FAILED
        case UsageError() if error.info.code in _NOT_USAGE:
            return FAILED
        case UsageError() | UnsupportedError() | FileNotFoundError():
            return USAGE
        case MasterUnreachableError():
            return UNREACHABLE
        case typer.TyperException():
            return int(getattr(error, "exit_code", USAGE))
        case _:
            return FAILED


def explain_failure(error: BaseException, *, with_traceback: bool = False) -> int:
    """Print ``error`` to standard error and return its exit code."""
    if with_traceback:
        sys.stderr.write(printable_lines("".join(traceback.format_exception(error))))
    match error:
        case KeyboardInterrupt() | typer.Abort():
            text = str(error).replace("\n", "; ") if isinstance(error, KeyboardInterrupt) else ""
            sys.stderr.write(": ".join(filter(None, ("interrupted", printable(text)))) + "\n")
        case BrokenPipeError() if not isinstance(error, MinisparkError):
            # The reader of our output has ended: do not write again at exit. (A job may also fail
            # with a broken pipe; that error is both.)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case typer.TyperException() if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{_usage_message(error)}\n")
        case _:
            colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
            sys.stderr.write(render(_info_of(error), colour=colour))
            page = getattr(error, "job_url", None)
            if page is not None:
                sys.stderr.write(f"  see {printable(page)}\n")
    return exit_code(error)


def render(info: ErrorInfo, *, colour: bool = False) -> str:
    """Return the lines of an error: what went wrong, where, and what to do."""
    head = printable(f"error[{info.code}]")
    if colour:
        head = f"\x1b[1;31m{head}\x1b[0m"
    first, *more = info.message.splitlines() or [""]
    lines = [f"{head}: {printable(first)}", *(f"  | {printable(line)}" for line in more if line)]
    places = [
        printable(f"{name} {value}")
        for name, value in (
            ("node", info.node),
            ("field", info.field),
            ("file", info.file),
            ("row", info.row),
        )
        if value is not None
    ]
    if places:
        lines.append("  " + ", ".join(places))
    if info.detail:
        lines.extend(f"  | {printable(line)}" for line in info.detail.rstrip().splitlines())
    if info.hint:
        lines.append(f"  hint: {printable(as_typed(info.hint))}")
    return "\n".join(lines) + "\n"


def _info_of(error: BaseException) -> ErrorInfo:
    match error:
        case MinisparkError():
            return error.info
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "minispark"
            # Typer shows the prefix that pydantic puts before the message of an invalid choice.
            message = _usage_message(error).replace(": Value error, ", ": ", 1)
            return ErrorInfo("MS-101", message, hint=f"`{command} --help` lists what it takes")
        case OSError() if error.filename is not None:
            return ErrorInfo("MS-104", error.strerror or str(error), file=str(error.filename))
        case _:
            return _unexpected(error)


def _unexpected(error: BaseException) -> ErrorInfo:
    from polars.exceptions import PanicException

    message = f"{type(error).__name__}: {error}"
    if isinstance(error, PanicException):
        message = f"Polars stopped with an internal error: {error}"
    return ErrorInfo("MS-100", message, hint="add --debug to see where it comes from")


def _usage_message(error: typer.TyperException) -> str:
    return str(getattr(error, "format_message", lambda: str(error))())
