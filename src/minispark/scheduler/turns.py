"""Whose task is next: the order of the jobs that have one ready.

1. ``fifo``: the oldest job's.
2. ``fair``: that of the job with the fewest leased attempts for its weight. Among equals that of
   the one that was given the least for its weight so far: on a single slot nothing else can tell.
   A job that comes, or comes back, begins where the others are and is owed nothing for the past.
3. A job of which nothing is leased need not stand behind what a job that has more was given
   ahead: that is called back (`launching.make_way`).

Covers: the order, kept as it changes. It is made of the jobs and is in no snapshot.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from minispark.scheduler.ranking import Ranking

__all__ = ["Turns"]


class Claim(Protocol):
    """What a job's turn hangs on."""

    name: str
    number: int
    weight: float
    leased: int
    given: float


class Turns:
    """The jobs that have a task ready, whose turn it is first."""

    def __init__(self, policy: Literal["fair", "fifo"] = "fair") -> None:
        self._fair = policy == "fair"
        self._ranking = Ranking()

    def see(self, job: Claim) -> None:
        """Let a hungry job stand where it now belongs."""
        fair = (job.leased / job.weight, job.given, job.number)
        self._ranking.put(job.name, fair if self._fair else (job.number,))

    def forget(self, job: str) -> None:
        """Let a job go that wants nothing now."""
        self._ranking.drop(job)

    def first(self, *, but: Collection[str] = ()) -> str | None:
        """Return the job whose turn it is, of those not in ``but``."""
        return self._ranking.first(but=but)

    def has_too_much(self, job: Claim, beside: Claim) -> bool:
        """Whether ``job`` should give up an attempt that waits, so that ``beside`` gets its first.

        Not if it would then be the one with less.
        """
        if not self._fair:
            return job.number > beside.number
        return (job.leased - 1) / job.weight >= 1 / beside.weight
