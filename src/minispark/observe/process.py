"""What a process and its children take of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from minispark.clock import monotonic_s

_MIN_WINDOW_S = 1.0
"""Whoever asks again sooner gets the last answer: over a shorter time CPU is mostly noise, and two
readers would cut each other's time short."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU percent over the last moments (100 is one core), and memory."""

    cpu_percent: float
    memory_bytes: int


class ProcessTree:
    """Measures this process and all that it started.

    Memory that processes share (mapped blocks) is counted once for each of them.
    """

    def __init__(self) -> None:
        self._processes: dict[psutil.Process, psutil.Process] = {}
        self._measured_s = 0.0
        self._usage = self._measure()

    def usage(self) -> Usage:
        """Return what they take."""
        if monotonic_s() - self._measured_s >= _MIN_WINDOW_S:
            self._usage = self._measure()
        return self._usage

    def _measure(self) -> Usage:
        self._measured_s = monotonic_s()
        own = psutil.Process()
        found = [own, *own.children(recursive=True)]
        # The same objects must be asked again: a new one knows no earlier reading.
        self._processes = {process: self._processes.get(process, process) for process in found}
        cpu_percent, memory_bytes = 0.0, 0
        for process in self._processes.values():
            try:
                cpu_percent += process.cpu_percent(interval=None)
                memory_bytes += process.memory_info().rss
            except psutil.Error:
                continue
        return Usage(round(cpu_percent, 1), memory_bytes)
