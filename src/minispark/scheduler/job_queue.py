"""Which job's task is next: the order of the jobs with a ready task, and how far ahead of a slot.

1. ``fifo``: the oldest job.
2. ``fair``: the job with the fewest leased attempts for its weight; among equals the job that got
   the fewest attempts for its weight so far, which decides on a single slot. A job that is new, or
   has ready tasks again, starts where the others are and is owed nothing for the past.
3. A job without a leased attempt need not wait for prefetched attempts of a job that has more:
   those are called back (`launching.preempt_prefetched`).
4. Short tasks are leased ahead of a free slot, so that the slot does not wait for a round trip: up
   to ``prefetch_s`` of work and ``max_prefetch`` attempts. Long tasks are not.

Covers: the order, updated at each change. It is an index over the jobs and is in no snapshot. Does
not cover: which worker (`placement`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from minispark.scheduler.lazy_heap import LazyHeap
from minispark.scheduler.stage import StageRun
from minispark.settings import SchedulerSettings

_MIN_MEAN_S: Final = 1e-6


class Claim(Protocol):
    """The values of a job that its order depends on."""

    name: str
    number: int
    weight: float
    leased: int
    given: float

    @property
    def head(self) -> StageRun | None:
        """Stage of the next task."""
        ...


class JobQueue:
    """The jobs with a ready task, in order."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._fair = settings.policy == "fair"
        self._rankings: dict[int, LazyHeap] = {}
        """Heaps by prefetch depth of the next task's stage; no heap is empty."""
        self._ahead: dict[str, int] = {}

    def see(self, job: Claim) -> None:
        """Insert a job with a ready task, or update its position."""
        head = job.head
        ahead = 0 if head is None else prefetch_depth(head, self._settings)
        if self._ahead.get(job.name) != ahead:
            self.forget(job.name)
            self._ahead[job.name] = ahead
            if ahead not in self._rankings:
                self._rankings[ahead] = LazyHeap()
        fair = (job.leased / job.weight, job.given, job.number)
        self._rankings[ahead].put(job.name, fair if self._fair else (job.number,))

    def forget(self, job: str) -> None:
        """Remove a job without a ready task."""
        ahead = self._ahead.pop(job, None)
        if ahead is not None:
            self._rankings[ahead].drop(job)
            if not self._rankings[ahead]:
                del self._rankings[ahead]

    @property
    def furthest(self) -> int:
        """Largest queue position that the next task of a job may have, -1 without jobs."""
        return max(self._rankings, default=-1)

    def needs_slot(self, job: str) -> bool:
        """Whether the job's next task must not be prefetched."""
        return not self._ahead[job]

    def first(self, *, but: Collection[str] = (), place: float = 0) -> str | None:
        """Return the first job that is not in ``but``.

        Jobs whose next task may be prefetched, but not at queue position ``place``, are skipped.
        """
        if len(self._rankings) == 1:
            ((ahead, ranking),) = self._rankings.items()
            return ranking.first(but=but) if ahead >= place or not ahead else None
        candidates = [
            (ranking.rank(name), name)
            for ahead, ranking in self._rankings.items()
            if ahead >= place or not ahead
            if (name := ranking.first(but=but)) is not None
        ]
        return min(candidates)[1] if candidates else None

    def should_yield(self, job: Claim, other: Claim) -> bool:
        """Whether ``job`` should give up a waiting attempt, so that ``beside`` gets its first one.

        Not if ``job`` would have less than ``beside`` then.
        """
        if not self._fair:
            return job.number > other.number
        return (job.leased - 1) / job.weight >= 1 / other.weight


def prefetch_depth(stage: StageRun, settings: SchedulerSettings) -> int:
    """Return how many attempts of a stage may wait for the slots of one worker.

    It is a power of two, unless a setting limits it, so that it changes seldom and has few values.
    """
    if stage.prefetch_depth is None:
        stage.prefetch_depth = _compute_depth(stage, settings)
    return stage.prefetch_depth


def _compute_depth(stage: StageRun, settings: SchedulerSettings) -> int:
    typical_s = stage.typical_s
    if typical_s is None:
        return min(settings.first_prefetch, settings.max_prefetch)
    if typical_s > settings.prefetch_task_s:
        return 0
    # With a few long tasks among many empty ones the median may be 0 while the mean is not.
    fill = int(settings.prefetch_s / max(stage.mean_s, _MIN_MEAN_S))
    power = 1 << max(0, fill.bit_length() - 1)
    return min(settings.max_prefetch, max(settings.first_prefetch, power))
