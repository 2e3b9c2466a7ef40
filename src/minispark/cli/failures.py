"""What a failure looks like on a terminal, and which exit code it has.

::

    error[MS-164]: there is no column "wrod"
      node agg, field key
      hint: did you mean "word"?
"""

from __future__ import annotations

import os
import sys

import typer

from minispark.errors import (
    ErrorInfo,
    JobFailedError,
    MasterUnreachableError,
    MinisparkError,
    UnsupportedError,
    UsageError,
)
from minispark.printable import printable

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


def exit_code(error: BaseException) -> int:
    """Return the exit code for ``error``."""
    match error:
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED
        case JobFailedError():
            # Before the others: it may be a FileNotFoundError too, raised in a task.
            return FAILED
        case UsageError() | UnsupportedError() | FileNotFoundError():
            return USAGE
        case MasterUnreachableError():
            return UNREACHABLE
        case typer.TyperException():
            return int(getattr(error, "exit_code", USAGE))
        case _:
            return FAILED


def explain_failure(error: BaseException) -> int:
    """Print ``error`` to standard error and return the exit code."""
    match error:
        case KeyboardInterrupt() | typer.Abort():
            sys.stderr.write("interrupted\n")
        case MinisparkError():
            sys.stderr.write(render(error.info, colour=_colour()))
        case BrokenPipeError():
            # Whoever read our output has left; a message would only reach the terminal by chance.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case typer.TyperException():
            _explain_usage(error)
        case OSError() if error.filename is not None:
            info = ErrorInfo("MS-104", (error.strerror or str(error)), file=str(error.filename))
            sys.stderr.write(render(info, colour=_colour()))
        case _:
            sys.stderr.write(render(_unexpected(error), colour=_colour()))
    return exit_code(error)


def _unexpected(error: BaseException) -> ErrorInfo:
    from polars.exceptions import PanicException

    what = f"{type(error).__name__}: {error}"
    if isinstance(error, PanicException):
        what = f"Polars stopped with an internal error: {error}"
    return ErrorInfo("MS-100", what, hint="add --debug to see where it comes from")


def render(info: ErrorInfo, *, colour: bool = False) -> str:
    """Return the lines that say what went wrong, where it is and what to do."""
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
        lines.append(f"  hint: {printable(info.hint)}")
    return "\n".join(lines) + "\n"


def _explain_usage(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    message = str(getattr(error, "format_message", lambda: str(error))())
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(message + "\n")
        return
    command = context.command_path if context is not None else "minispark"
    # Typer shows what pydantic puts before the words of a choice that there is not.
    message = message.replace(": Value error, ", ": ", 1)
    info = ErrorInfo("MS-101", message, hint=f"`{command} --help` lists what it takes")
    sys.stderr.write(render(info, colour=_colour()))


def _colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
