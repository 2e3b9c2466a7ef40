"""CPU and memory of a process and its children."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from minispark.clock import monotonic_s

_MIN_WINDOW_S = 1.0
"""An earlier call gets the last result: over a shorter time CPU is mostly noise, and two readers
would shorten each other's time."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU percent since the last measurement (100 is one core), and memory."""

    cpu_percent: float
    memory_bytes: int


class ProcessTree:
    """Measures this process and its descendants.

    Memory that processes share (mapped blocks) counts once for each of them.
    """

    def __init__(self) -> None:
        self._processes: dict[psutil.Process, psutil.Process] = {}
        self._measured_s = 0.0
        self._usage = self._measure()

    def usage(self) -> Usage:
        """Return the usage of all processes together."""
        if monotonic_s() - self._measured_s >= _MIN_WINDOW_S:
            self._usage = self._measure()
        return self._usage

    def _measure(self) -> Usage:
        self._measured_s = monotonic_s()
        own = psutil.Process()
        tree = [own, *own.children(recursive=True)]
        # The same objects again: CPU percent needs the earlier reading of the object.
        self._processes = {process: self._processes.get(process, process) for process in tree}
        cpu_percent, memory_bytes = 0.0, 0
        for process in self._processes.values():
            try:
                cpu_percent += process.cpu_percent(interval=None)
                memory_bytes += process.memory_info().rss
            except psutil.Error:
                continue
        return Usage(round(cpu_percent, 1), memory_bytes)
