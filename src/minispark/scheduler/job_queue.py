"""Whose task is next: the order of the jobs that have one ready.

1. ``fifo``: the oldest job's.
2. ``fair``: that of the job with the fewest leased attempts for its weight. Among equals that of
   the one that was given the least for its weight so far: on a single slot nothing else can tell.
   A job that comes, or comes back, begins where the others are and is owed nothing for the past.
3. A job of which nothing is leased need not stand behind what a job that has more was given
   ahead: that is called back (`launching.preempt_prefetched`).

Covers: the order, kept as it changes. It is made of the jobs and is in no snapshot.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from minispark.scheduler.lazy_heap import LazyHeap
from minispark.scheduler.prefetch import prefetch_depth
from minispark.scheduler.stage import StageRun
from minispark.settings import SchedulerSettings


class Claim(Protocol):
    """What a job's turn hangs on."""

    name: str
    number: int
    weight: float
    leased: int
    given: float

    @property
    def head(self) -> StageRun | None:
        """The stage of its next task."""
        ...


class JobQueue:
    """The jobs that have a task ready, whose turn it is first."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._fair = settings.policy == "fair"
        self._rankings: dict[int, LazyHeap] = {}
        """By how many attempts of the stage that is next may wait on one worker; none is empty."""
        self._ahead: dict[str, int] = {}

    def see(self, job: Claim) -> None:
        """Let a hungry job stand where it now belongs."""
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
        """Let a job go that wants nothing now."""
        ahead = self._ahead.pop(job, None)
        if ahead is not None:
            self._rankings[ahead].drop(job)
            if not self._rankings[ahead]:
                del self._rankings[ahead]

    @property
    def furthest(self) -> int:
        """The worst place in a worker's line that somebody's next task may have, -1 for nobody."""
        return max(self._rankings, default=-1)

    def needs_slot(self, job: str) -> bool:
        """Whether the next task of a job waits on no worker, but for a free slot."""
        return not self._ahead[job]

    def first(self, *, but: Collection[str] = (), place: float = 0) -> str | None:
        """Return the job whose turn it is, of those not in ``but``.

        Passed over are those whose next task may wait on a worker, but not at this ``place`` in
        its line.
        """
        if len(self._rankings) == 1:
            ((ahead, ranking),) = self._rankings.items()
            return ranking.first(but=but) if ahead >= place or not ahead else None
        found = [
            (ranking.rank(name), name)
            for ahead, ranking in self._rankings.items()
            if ahead >= place or not ahead
            if (name := ranking.first(but=but)) is not None
        ]
        return min(found)[1] if found else None

    def has_too_much(self, job: Claim, beside: Claim) -> bool:
        """Whether ``job`` should give up an attempt that waits, so that ``beside`` gets its first.

        Not if it would then be the one with less.
        """
        if not self._fair:
            return job.number > beside.number
        return (job.leased - 1) / job.weight >= 1 / beside.weight
