"""The load of each worker over the last minutes, and of the cluster over the last day.

Both are samples of the metrics in heartbeats, in memory only.
"""

from __future__ import annotations

import asyncio
from collections import deque

from minispark.clock import wall_s
from minispark.master.control.registry import Registry
from minispark.master.jobs.job_store import JobStore
from minispark.observe.cluster_load import ClusterLoad

_EVERY_S = 2.0
"""The time between two heartbeats of a worker."""
_POINTS = 60


class LoadHistory:
    """CPU and memory of workers, oldest sample first."""

    def __init__(self, registry: Registry, jobs: JobStore) -> None:
        self._registry = registry
        self._jobs = jobs
        self.cluster = ClusterLoad()
        self._samples: dict[str, deque[tuple[float, float]]] = {}

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_EVERY_S)

    def sample(self) -> None:
        """Add a sample of each worker that is not DOWN."""
        sessions = {session.worker_id: session for session in self._registry.all()}
        present = [session for session in sessions.values() if session.status != "DOWN"]
        self.cluster.add(
            wall_s(),
            slots=sum(session.slots for session in present),
            busy_slots=sum(min(len(session.leased), session.slots) for session in present),
            cpu_percent=sum(session.metrics.get("cpu_percent", 0.0) for session in present),
            memory_bytes=sum(session.metrics.get("memory_bytes", 0.0) for session in present),
            jobs=len(self._jobs.live),
        )
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
