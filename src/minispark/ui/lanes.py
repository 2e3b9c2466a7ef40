"""Where each attempt stood on its worker: a lane per slot, drawn by timeline and trace.

A worker does not say on which of its slots an attempt ran; it says how long it ran. Attempts are
laid into lanes as they began, each into the lane that has been free for longest, and never into
more lanes than the worker has slots: who finds none had stood in line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minispark.observe.tables import Attempt

_SLACK_S = 0.05
"""A report is dated by its arrival: by so much the end of one may lie after the next began."""


@dataclass(frozen=True, slots=True)
class LanePosition:
    """Where and when an attempt ran. ``lane`` is None where it only stood in line."""

    attempt: Attempt
    lane: int | None
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class WorkerLanes:
    """The attempts of one worker in the order in which they began."""

    worker: str
    lanes: int
    places: tuple[LanePosition, ...]


def lanes_of(
    attempts: Iterable[Attempt], *, slots: Mapping[str, int], now: float
) -> list[WorkerLanes]:
    """Lay attempts into lanes, by worker; ``slots`` holds the workers whose slots are known."""
    by_worker: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_worker.setdefault(attempt.worker, []).append(attempt)
    return [_worker(name, by_worker[name], slots.get(name), now) for name in sorted(by_worker)]


def _worker(name: str, attempts: list[Attempt], slots: int | None, now: float) -> WorkerLanes:
    free_at: list[float] = []
    places = []
    for attempt in sorted(attempts, key=lambda one: (_begin(one), one.took_s is None)):
        begin, end = _begin(attempt), attempt.finished_at or max(now, attempt.started_at)
        lane = min(range(len(free_at)), key=free_at.__getitem__, default=None)
        if (lane is None or free_at[lane] > begin + _SLACK_S) and (
            slots is None or len(free_at) < slots
        ):
            free_at.append(begin)
            lane = len(free_at) - 1
        if lane is not None and (free_at[lane] < end or attempt.took_s is not None):
            begin = min(max(begin, free_at[lane]), end)
            free_at[lane] = max(end, free_at[lane])
        else:
            lane = None
        places.append(LanePosition(attempt, lane, begin, end))
    return WorkerLanes(name, max(len(free_at), slots or 1), tuple(places))


def _begin(attempt: Attempt) -> float:
    if attempt.took_s is None or attempt.finished_at is None:
        return attempt.started_at
    return max(attempt.started_at, attempt.finished_at - attempt.took_s)
