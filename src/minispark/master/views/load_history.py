"""The load of each worker over the last minutes, for the page of workers.

Kept in memory only: what a worker says of itself in its heartbeats, sampled.
"""

from __future__ import annotations

import asyncio
from collections import deque

from minispark.master.control.registry import Registry

_EVERY_S = 2.0
"""As often as a worker speaks."""
_POINTS = 60


class LoadHistory:
    """CPU and memory of workers, oldest first."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen: dict[str, deque[tuple[float, float]]] = {}

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_EVERY_S)

    def sample(self) -> None:
        """Note the load of all workers that are there."""
        present = {entry.worker_id: entry for entry in self._registry.all()}
        for worker, entry in present.items():
            if entry.status != "DOWN":
                point = (
                    entry.metrics.get("cpu_percent", 0.0),
                    entry.metrics.get("memory_bytes", 0.0),
                )
                self._seen.setdefault(worker, deque(maxlen=_POINTS)).append(point)
        for worker in [worker for worker in self._seen if worker not in present]:
            del self._seen[worker]

    def of(self, worker: str) -> tuple[list[float], list[float]]:
        """Return CPU percents and bytes of memory."""
        points = self._seen.get(worker, ())
        return [cpu for cpu, _ in points], [memory for _, memory in points]
