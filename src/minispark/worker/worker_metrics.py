"""The metrics of a worker: CPU, memory and counts, over all its processes.

The names are the same in ``/metrics`` and in heartbeats; counts start with the process.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from minispark.clock import monotonic_s
from minispark.errors import Cancelled
from minispark.observe.process import ProcessTree
from minispark.task.spec import TaskFailure, TaskReport

_WINDOW_S = 600.0
"""Time that latencies cover: long enough for quantiles, short enough to show a change."""
_WINDOW_TASKS = 10_000
"""Durations kept: limits what a worker of very short tasks sorts for each heartbeat."""
_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class LatencyWindow:
    """Durations of tasks that ended in the last ten minutes."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque(maxlen=_WINDOW_TASKS)
        self.count = 0
        self.sum_s = 0.0

    def add(self, duration_s: float, *, now: float) -> None:
        """Add a task that ended."""
        self._ended.append((now, duration_s))
        self.count += 1
        self.sum_s += duration_s

    def quantiles(self, *, now: float) -> dict[str, float]:
        """Return mean and quantiles (nearest rank) of the window, nothing for an empty one."""
        while self._ended and self._ended[0][0] < now - _WINDOW_S:
            self._ended.popleft()
        durations = sorted(duration_s for _, duration_s in self._ended)
        if not durations:
            return {}
        metrics = {"latency_mean_s": sum(durations) / len(durations)}
        for name, share in _QUANTILES.items():
            metrics[f"latency_{name}_s"] = durations[ceil(share * len(durations)) - 1]
        return {name: round(value, 6) for name, value in metrics.items()}


class WorkerMetrics:
    """Counts tasks and served blocks, and measures this process and its executors."""

    def __init__(self) -> None:
        self.tasks_done = 0
        self.tasks_failed = 0
        self.retries = 0
        self.blocks_served = 0
        self.bytes_served = 0
        self.latency = LatencyWindow()
        self._tree = ProcessTree()

    def started(self, attempt: int) -> None:
        """Count a start; an attempt number above 0 is a retry."""
        self.retries += attempt > 0

    def ended(self, outcome: TaskReport | TaskFailure) -> None:
        """Count an end; a cancelled attempt is neither done nor failed."""
        if isinstance(outcome, TaskReport):
            self.tasks_done += 1
            self.latency.add(outcome.duration_s, now=monotonic_s())
        elif not isinstance(outcome.failure, Cancelled):
            self.tasks_failed += 1

    def served(self, size: int) -> None:
        """Count an answer with (a part of) a block."""
        self.blocks_served += 1
        self.bytes_served += size

    def measure(self) -> dict[str, float]:
        """Return all metrics."""
        usage = self._tree.usage()
        return {
            "cpu_percent": usage.cpu_percent,
            "memory_bytes": float(usage.memory_bytes),
            "tasks_done": float(self.tasks_done),
            "tasks_failed": float(self.tasks_failed),
            "task_time_s": round(self.latency.sum_s, 6),
            "retries": float(self.retries),
            "blocks_served": float(self.blocks_served),
            "bytes_served": float(self.bytes_served),
            "cache_bytes": 0.0,
            "cache_hits": 0.0,
            "cache_misses": 0.0,
            "cache_spills": 0.0,
            **self.latency.quantiles(now=monotonic_s()),
        }
