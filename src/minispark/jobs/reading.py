"""Which input a planner reads, so that its end can be explained by it.

A planner that runs out of memory is killed and can say nothing any more, so it says before each
reader what it is going to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minispark.errors import ErrorInfo
from minispark.jobs.suggest import shown
from minispark.settings import MIB

_MEMORY_WORDS = "memory allocation of "
"""What Polars prints when it cannot get memory; then it aborts its process."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A node that reads, its first file, and whether that is compressed."""

    node: str
    file: str
    compressed: bool = False


OnRead = Callable[[Reading | None], None]
"""Is called with what is read next, and with None after it was read."""


def ended(how: str, last_words: str, reading: Reading | None, *, limit_bytes: int) -> ErrorInfo:
    """Say why a planner ended: ``how`` is its signal or exit code, if it ended by itself."""
    if _MEMORY_WORDS in last_words:
        return no_memory(reading, limit_bytes=limit_bytes)
    if how == "signal SIGKILL":
        return no_memory(reading, limit_bytes=None)
    message = f"planning the job ended the planner ({how or 'no answer'})"
    if reading is not None:
        message += f" while {_named(reading)} was read"
        hint = "Is the file what it should be? The log of the master says more."
        return ErrorInfo("MS-130", message, node=reading.node, file=reading.file, hint=hint)
    hint = (
        "An expression is probably too long or nested too deeply."
        if how.startswith("signal")
        else "The log of the master says why."
    )
    return ErrorInfo("MS-130", message, hint=hint)


def timed_out(limit_s: float, reading: Reading | None) -> ErrorInfo:
    """Say that planning took too long."""
    message = f"planning the job timed out after {limit_s:g} s"
    if reading is None:
        return ErrorInfo("MS-131", message, hint="Use fewer or simpler nodes.")
    message += f", while {_named(reading)} was read"
    hint = "Is the file what it should be, and can it be read in that time?"
    return ErrorInfo("MS-131", message, node=reading.node, file=reading.file, hint=hint)


def no_memory(reading: Reading | None, *, limit_bytes: int | None) -> ErrorInfo:
    """Say that planning took too much memory.

    ``limit_bytes`` is None where the system has killed the planner, and -1 where it has no limit.
    """
    if limit_bytes is None:
        what = "the system killed the planner, as it does when memory runs out"
    elif limit_bytes < 0:
        what = "planning the job takes more memory than there is"
    else:
        what = f"planning the job takes more memory than its limit of {limit_bytes // MIB:,} MB"
    if reading is None:
        return ErrorInfo("MS-169", what, hint="Make the job smaller: fewer nodes or files.")
    hint = (
        "Unpack the file and look at it: it holds far more than its size says, or one line of it is"
        " far too long."
        if reading.compressed
        else "Look at the file: one record of it is probably far too long."
    )
    message = f"{what}, while {_named(reading)} was read"
    return ErrorInfo("MS-169", message, node=reading.node, file=reading.file, hint=hint)


def _named(reading: Reading) -> str:
    kind = "the compressed file" if reading.compressed else "the file"
    return f"{kind} {shown(reading.file)} (node {shown(reading.node)})"
