"""The load of each worker over the last minutes, for the page of workers.

It is a sample of the metrics in heartbeats, in memory only.
"""

from __future__ import annotations

import asyncio
from collections import deque

from minispark.master.control.registry import Registry

_EVERY_S = 2.0
"""The time between two heartbeats of a worker."""
_POINTS = 60


class LoadHistory:
    """CPU and memory of workers, oldest sample first."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._samples: dict[str, deque[tuple[float, float]]] = {}

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_EVERY_S)

    def sample(self) -> None:
        """Add a sample of each worker that is not DOWN."""
        sessions = {session.worker_id: session for session in self._registry.all()}
        for worker, session in sessions.items():
            if session.status != "DOWN":
                metrics = session.metrics
                load = metrics.get("cpu_percent", 0.0), metrics.get("memory_bytes", 0.0)
                self._samples.setdefault(worker, deque(maxlen=_POINTS)).append(load)
        for worker in self._samples.keys() - sessions.keys():
            del self._samples[worker]

    def of(self, worker: str) -> tuple[list[float], list[float]]:
        """Return the samples of a worker: CPU percents, and bytes of memory."""
        points = self._samples.get(worker, ())
        return [cpu for cpu, _ in points], [memory for _, memory in points]
