"""The input that a planner reads, and errors of planners that name it.

A planner that runs out of memory is killed before it can report, so it sends the name of each input
before it opens it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minispark.errors import ErrorInfo
from minispark.printable import shown
from minispark.settings import MIB

_MEMORY_WORDS = "memory allocation of "
"""What Polars prints when it cannot get memory; then it aborts its process."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A reader of a job, its first file, and whether that file is compressed."""

    node: str
    file: str
    compressed: bool = False


OnRead = Callable[[Reading | None], None]
"""Called with an input before it is opened, and with None after that."""


def ended(how: str, last_words: str, reading: Reading | None, *, limit_bytes: int) -> ErrorInfo:
    """Return the error of a planner that ended; ``how`` is its signal or exit code, or empty."""
    if _MEMORY_WORDS in last_words:
        return no_memory(reading, limit_bytes=limit_bytes)
    if how == "signal SIGKILL":
        return no_memory(reading, limit_bytes=None)
    message = f"the planner process ended while planning the job ({how or 'no answer'})"
    if reading is not None:
        hint = "Check that the file is valid. The log of the master has details."
        return _error("MS-130", f"{message} ", reading, hint)
    hint = (
        "An expression is probably too long or nested too deeply."
        if how.startswith("signal")
        else "See the log of the master."
    )
    return ErrorInfo("MS-130", message, hint=hint)


def timed_out(limit_s: float, reading: Reading | None) -> ErrorInfo:
    """Return the error that planning took too long."""
    message = f"planning the job timed out after {limit_s:g} s"
    if reading is None:
        return ErrorInfo("MS-131", message, hint="Use fewer or simpler nodes.")
    hint = "Check that the file is valid and can be read in that time."
    return _error("MS-131", f"{message}, ", reading, hint)


def no_memory(reading: Reading | None, *, limit_bytes: int | None) -> ErrorInfo:
    """Return the error that planning took too much memory.

    ``limit_bytes`` is None if the system has killed the planner, and -1 if it has no limit.
    """
    if limit_bytes is None:
        message = "the operating system killed the planner, probably because memory ran out"
    elif limit_bytes < 0:
        message = "planning the job takes more memory than there is"
    else:
        message = f"planning the job takes more memory than its limit of {limit_bytes // MIB:,} MB"
    if reading is None:
        return ErrorInfo("MS-169", message, hint="Make the job smaller: fewer nodes or files.")
    hint = (
        "Unpack the file and check it: it has far more data than its size suggests, or a line "
        "of it is"
        " far too long."
        if reading.compressed
        else "Check the file: one record of it is probably far too long."
    )
    return _error("MS-169", f"{message}, ", reading, hint)


def _error(code: str, begin: str, reading: Reading, hint: str) -> ErrorInfo:
    kind = "the compressed file" if reading.compressed else "the file"
    file = f"{kind} {shown(reading.file)} (node {shown(reading.node)})"
    message = f"{begin}while {file} was read"
    return ErrorInfo(code, message, node=reading.node, file=reading.file, hint=hint)
