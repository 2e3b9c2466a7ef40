"""How a worker is: CPU, memory and what it did, over all its processes."""

from __future__ import annotations

import psutil

from minispark.errors import Cancelled
from minispark.task.spec import TaskFailure, TaskReport

__all__ = ["Vitals"]


class Vitals:
    """Counts what ended and measures this process and its executors."""

    def __init__(self) -> None:
        self.tasks_done = 0
        self.tasks_failed = 0
        self.retries = 0
        self._processes: dict[psutil.Process, psutil.Process] = {}
        self.measure()

    def started(self, attempt: int) -> None:
        """Note a start; every attempt of a task but the first (0) is a retry."""
        self.retries += attempt > 0

    def ended(self, outcome: TaskReport | TaskFailure) -> None:
        """Note an end; a cancelled attempt is neither done nor failed."""
        if isinstance(outcome, TaskReport):
            self.tasks_done += 1
        elif not isinstance(outcome.failure, Cancelled):
            self.tasks_failed += 1

    def measure(self) -> dict[str, float]:
        """Return CPU percent since the last call (100 is one core), memory and counts.

        Memory that processes share (mapped blocks) is counted once for each of them.
        """
        own = psutil.Process()
        found = [own, *own.children(recursive=True)]
        # The same objects must be asked again: a new one knows no earlier reading.
        self._processes = {process: self._processes.get(process, process) for process in found}
        cpu_percent = memory_bytes = 0.0
        for process in self._processes.values():
            try:
                cpu_percent += process.cpu_percent(interval=None)
                memory_bytes += process.memory_info().rss
            except psutil.Error:
                continue
        return {
            "cpu_percent": round(cpu_percent, 1),
            "memory_bytes": memory_bytes,
            "tasks_done": float(self.tasks_done),
            "tasks_failed": float(self.tasks_failed),
            "retries": float(self.retries),
            "cache_bytes": 0.0,
        }
