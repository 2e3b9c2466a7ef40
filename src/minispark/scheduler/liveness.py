"""Who is there, and what the clock demands.

Covers: heartbeats, leases that went astray, deadlines. Does not cover: what a loss costs
(`policy`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import inf

from minispark.ids import TaskKey
from minispark.scheduler.state import Job, State, Worker
from minispark.settings import SchedulerSettings

__all__ = ["deadline", "next_take_back", "overdue", "reconcile", "stranded"]


def overdue(state: State, now: float, settings: SchedulerSettings) -> list[Worker]:
    """Return the workers that have been silent for too long."""
    limit = settings.heartbeat_timeout_s
    return [w for w in state.rotation.values() if now >= w.seen_s + limit]


def stranded(state: State, now: float, settings: SchedulerSettings) -> list[Job]:
    """Return the jobs that have waited too long for any worker at all."""
    grace = settings.no_worker_grace_s
    return [
        job
        for job in state.jobs.values()
        if job.stranded_s is not None and now >= job.stranded_s + grace
    ]


def reconcile(
    worker: Worker, named: Collection[TaskKey], now: float, settings: SchedulerSettings
) -> tuple[list[TaskKey], list[TaskKey]]:
    """Compare what a worker holds with what it should hold.

    Returns the leases that it lost (a poll reply or a report that never arrived) and the
    attempts that it holds for nobody. An attempt that was accepted is neither: its report
    overtook the heartbeat.
    """
    names = dict.fromkeys(named)
    lost = [
        key
        for key, last_s in worker.leased.items()
        if key not in names and now > last_s + settings.lost_task_grace_s
    ]
    unwanted = [key for key in names if key not in worker.leased and not worker.holds(key)]
    return lost, unwanted


def deadline(state: State, settings: SchedulerSettings) -> float:
    """Return when something must be done if nothing happens, infinity for never."""
    return min(_deadlines(state, settings), default=inf)


def next_take_back(state: State, now: float, settings: SchedulerSettings) -> float:
    """Return when an attempt will have waited too long behind another, infinity for never.

    One that has by now found nobody to take it: the next event may bring somebody.
    """
    if not any(worker.has_slot for worker in state.rotation.values()):
        return inf
    due = (lease.since_s + settings.take_back_after_s for lease in state.waiting())
    return min((due_s for due_s in due if due_s > now), default=inf)


def _deadlines(state: State, settings: SchedulerSettings) -> Iterator[float]:
    for worker in state.rotation.values():
        yield worker.seen_s + settings.heartbeat_timeout_s
    if not state.rotation:
        for job in state.jobs.values():
            if job.stranded_s is not None:
                yield job.stranded_s + settings.no_worker_grace_s
