"""The load of the cluster over the last day, as means of minutes; in memory, of limited size."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pydantic import BaseModel

_MINUTE_S = 60.0
_KEPT = 24 * 60
"""Minutes kept: a day, about 200 kB."""


class LoadMean(BaseModel):
    """The mean load of the cluster over a minute."""

    at: float
    """When the minute began."""
    slots: float
    busy_slots: float
    cpu_percent: float
    """Of all workers; 100 is one core."""
    memory_bytes: float
    """Of all workers."""
    jobs: float
    """Running jobs."""


class LoadList(BaseModel):
    """The load of the cluster, minute by minute, oldest first. The last minute has not ended."""

    minutes: list[LoadMean]


class ClusterLoad:
    """Takes samples of the load; keeps only means of minutes."""

    def __init__(self) -> None:
        self._minutes: deque[LoadMean] = deque(maxlen=_KEPT)
        self._sums: list[float] = []
        self._count = 0
        self._began_at = -1.0

    def add(
        self,
        at: float,
        *,
        slots: int,
        busy_slots: int,
        cpu_percent: float,
        memory_bytes: float,
        jobs: int,
    ) -> None:
        """Add a sample; ``at`` is in seconds since the epoch."""
        began_at = at - at % _MINUTE_S
        if began_at != self._began_at:
            if self._count:
                self._minutes.append(self._mean())
            self._began_at, self._sums, self._count = began_at, [0.0] * 5, 0
        sample = (slots, busy_slots, cpu_percent, memory_bytes, jobs)
        self._sums = [total + value for total, value in zip(self._sums, sample, strict=True)]
        self._count += 1

    def minutes(self) -> list[LoadMean]:
        """Return the means, oldest first, with that of the present minute."""
        return [*self._minutes, self._mean()] if self._count else list(self._minutes)

    def _mean(self) -> LoadMean:
        slots, busy, cpu, memory, jobs = (round(s / self._count, 2) for s in self._sums)
        return LoadMean(
            at=self._began_at,
            slots=slots,
            busy_slots=busy,
            cpu_percent=cpu,
            memory_bytes=memory,
            jobs=jobs,
        )


def thin(minutes: Sequence[LoadMean], *, points: int = 240) -> list[LoadMean]:
    """Return at most about ``points`` means for a plot: of equal numbers of minutes each."""
    step = -(-len(minutes) // points) or 1
    groups = [minutes[start : start + step] for start in range(0, len(minutes), step)]
    return [_mean_of(group) for group in groups]


def _mean_of(group: Sequence[LoadMean]) -> LoadMean:
    names = [name for name in LoadMean.model_fields if name != "at"]
    means = {name: sum(getattr(each, name) for each in group) / len(group) for name in names}
    return LoadMean(at=group[0].at, **means)
