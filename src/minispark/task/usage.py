"""What a task uses of its process: CPU time, memory, bytes that Polars moves to disk.

For a process that runs one task at a time and nothing else (an executor). Where the system has no
``/proc`` (macOS) only CPU time is measured. A task costs about 10 us.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minispark.task.spec import TaskUsage

_PROC = Path("/proc/self")
_RESET_PEAK = b"5"
"""Written to ``clear_refs`` it sets the peak of resident memory to the present value."""
_SMALL_SPILL_BYTES = 64 << 10
"""Fewer bytes are lines that a task prints."""


class UsageMeter:
    """Measures one task after another."""

    def __init__(self) -> None:
        self._status = _open("status", os.O_RDONLY)
        self._io = _open("io", os.O_RDONLY)
        self._reset = _open("clear_refs", os.O_WRONLY)
        self._cpu_s = 0.0
        self._spilled = 0
        self._read_before: int | None = None
        self._peak_is_known = False

    def begin(self) -> None:
        """Begin to measure a task."""
        self._cpu_s, self._spilled, self._peak_is_known = _cpu_s(), 0, False
        self._read_before = None
        if self._reset is not None:
            with suppress(OSError):
                os.pwrite(self._reset, _RESET_PEAK, 0)
                self._peak_is_known = True

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Count the bytes that the process writes within the block: a query writes no output."""
        before = self._field(self._io, b"wchar:")
        self._read_before = self._field(self._io, b"rchar:")
        yield
        after = self._field(self._io, b"wchar:")
        if before is not None and after is not None and after - before >= _SMALL_SPILL_BYTES:
            self._spilled += after - before

    def bytes_read(self) -> int | None:
        """Return the bytes that the process has read since `collecting` began; from any thread."""
        before, now = self._read_before, self._field(self._io, b"rchar:")
        return None if before is None or now is None else max(0, now - before)

    def usage(self) -> TaskUsage:
        """Return what the task has used since `begin`."""
        peak = self._field(self._status, b"VmHWM:") if self._peak_is_known else None
        return TaskUsage(
            cpu_s=round(max(0.0, _cpu_s() - self._cpu_s), 6),
            peak_memory_bytes=None if peak is None else peak * 1024,
            bytes_spilled=self._spilled,
        )

    def _field(self, descriptor: int | None, name: bytes) -> int | None:
        """Return the number after a name in a file of ``/proc``."""
        if descriptor is None:
            return None
        try:
            text = os.pread(descriptor, 4096, 0)
            return int(text[text.index(name) + len(name) :].split(None, 1)[0])
        except (OSError, ValueError):
            return None


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _open(name: str, flags: int) -> int | None:
    """Open a file of ``/proc``, for as long as the process lives; None if there is none."""
    try:
        return os.open(_PROC / name, flags | os.O_CLOEXEC)
    except OSError:
        return None
