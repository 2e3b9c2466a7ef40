"""Who is there, and what the clock demands.

Covers: signs of life, leases that went astray, deadlines. Does not cover: what a loss costs
(`policy`).

Heartbeats come many times a second and mostly change nothing, so neither the journal nor a snapshot
has them: `HeartbeatTracker` is what a scheduler knows besides its `State`. No decision may read it;
it only says which events there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.scheduler.events import HeartbeatDiff, WorkerHeartbeat
from minispark.scheduler.policy import ended
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.state import JobRun, State
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings


class HeartbeatTracker:
    """When each worker was last heard, and what it last said. Volatile."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._heard: dict[str, float] = {}
        self._named: dict[str, dict[TaskKey, float]] = {}
        """Of each worker, when it last named a live attempt."""
        self._strange: dict[str, dict[str, float]] = {}
        """Of each worker, since when it has named a job that nobody knows."""
        self.due_s = inf
        """Before this nobody is overdue. Mostly too early, since each word moves the true time."""

    def hear(self, worker: str, now: float) -> None:
        """Take note that a worker speaks."""
        self._heard[worker] = now
        self.due_s = min(self.due_s, now + self._settings.heartbeat_timeout_s)

    def begin_anew(self, state: State, now: float) -> None:
        """Count every worker as just heard, with all it should hold: nobody has listened."""
        for worker in state.workers.values():
            if worker.up:
                self.hear(worker.name, now)
                self._named[worker.name] = dict.fromkeys(worker.leased, now)

    def forget(self, worker: str) -> None:
        """Let go of a worker that is DOWN."""
        for notes in (self._heard, self._named, self._strange):
            notes.pop(worker, None)

    def silent(self, state: State, now: float) -> list[Worker]:
        """Return the workers that have been silent for too long, and look when to look again."""
        limit_s = self._settings.heartbeat_timeout_s
        self.due_s = inf
        found = []
        for worker in state.workers.values():
            if not worker.up:
                continue
            due_s = self._heard.setdefault(worker.name, now) + limit_s
            if now >= due_s:
                found.append(worker)
            else:
                self.due_s = min(self.due_s, due_s)
        return found

    def facts(self, state: State, beat: WorkerHeartbeat, now: float) -> HeartbeatDiff | None:
        """Compare what a worker holds with what it should hold; None if all is well.

        A lease that it has not named for long never arrived (a poll reply or a report was lost).
        An attempt that was accepted is not unwanted: its report overtook the heartbeat.
        """
        worker = state.workers.get(beat.worker)
        if worker is None or not worker.up or worker.epoch != beat.epoch:
            return HeartbeatDiff(beat.worker, beat.epoch)
        self.hear(worker.name, now)
        names = dict.fromkeys(beat.attempts)
        said = self._named.get(worker.name, {})
        named = {
            key: now if key in names else max(since_s, said.get(key, since_s))
            for key, since_s in worker.leased.items()
        }
        self._named[worker.name] = named
        grace_s = self._settings.lost_task_grace_s
        facts = HeartbeatDiff(
            worker.name,
            worker.epoch,
            lost=tuple(key for key, last_s in named.items() if now > last_s + grace_s),
            unwanted=tuple(k for k in names if k not in worker.leased and not worker.holds(k)),
            forgotten=self._forgotten(state, worker, beat.held, now),
            full=beat.full,
            speaks=worker.suspect,
        )
        told = facts.lost or facts.unwanted or facts.forgotten or facts.speaks
        return facts if told or facts.full != worker.full else None

    def _forgotten(
        self, state: State, worker: Worker, held: tuple[str, ...], now: float
    ) -> tuple[str, ...]:
        """Return jobs without a place here that the worker has named for a while.

        Named once it may just not have heard of their end.
        """
        strange = [name for name in held if not _has_place(state, worker, name)]
        said = self._strange.get(worker.name, {})
        since = {name: said.get(name, now) for name in strange}
        limit_s = now - self._settings.lost_task_grace_s
        found = tuple(name for name, since_s in since.items() if since_s < limit_s)
        # Should it name them for as long again, it was not told.
        self._strange[worker.name] = since | dict.fromkeys(found, now)
        return found


def _has_place(state: State, worker: Worker, name: str) -> bool:
    job = state.jobs.get(name)
    if job is None or (job.ended and name not in worker.blocks):
        return _is_fetching(state, worker, name)
    return True


def _is_fetching(state: State, worker: Worker, name: str) -> bool:
    """Whether it brings blocks of a job here from a worker that leaves."""
    leaves = (w.leaving for w in state.leaving.values())
    return any(
        taker == worker.name and key.job == name
        for leave in leaves
        if leave is not None
        for key, (taker, _) in leave.moving.items()
    )


def nobody_works(state: State) -> bool:
    """Whether jobs wait for a worker to come, or for one to have room, and nothing runs."""
    if len(state.worker_index.full) < len(state.rotation):
        return False
    return not state.rotation or not any(w.leased for w in state.workers.values())


def grace_s(state: State, settings: SchedulerSettings) -> float:
    """Return how long jobs wait where nobody works."""
    return settings.no_room_grace_s if state.rotation else settings.no_worker_grace_s


def stranded(state: State, now: float, settings: SchedulerSettings) -> list[JobRun]:
    """Return the jobs that have waited too long for anybody at all to work for them."""
    grace = grace_s(state, settings)
    return [
        job
        for job in state.jobs.values()
        if job.stranded_s is not None and now >= job.stranded_s + grace
    ]


def starvation_failure(state: State, settings: SchedulerSettings) -> tuple[Failure, Reason]:
    """Return why a job is given up that no worker can run."""
    limit_s = grace_s(state, settings)
    if not state.rotation:
        absent = ended(
            "MS-223", f"no worker was there for {limit_s:g} s", "Start one with: minispark worker"
        )
        return absent, Reason(Why.NO_WORKER, limit=limit_s)
    what = " and ".join(sorted({w.full for w in state.worker_index.full.values() if w.full}))
    full = ended(
        "MS-226",
        f"no worker had room for {limit_s:g} s: their {what} is full",
        "Make room, start a worker elsewhere, or raise the limits of these.",
    )
    return full, Reason(Why.NO_ROOM, limit=limit_s)


def deadline(state: State, settings: SchedulerSettings, now: float) -> float:
    """Return when something will be due by what is remembered, infinity for never."""
    return min(*_deadlines(state, settings), next_take_back(state, now, settings), inf)


def next_take_back(state: State, now: float, settings: SchedulerSettings) -> float:
    """Return when an attempt will have waited too long behind another, infinity for never.

    Where one has by now and nobody could take it, the next event may bring somebody; without
    one it is looked again after as long.
    """
    lines, after_s = state.worker_index, settings.take_back_after_s
    name = lines.waiting.first() if lines.has_slot else None
    if name is None:
        return inf
    since_s, _ = lines.waiting.rank(name)
    return since_s + after_s if since_s + after_s > now else now + after_s


def _deadlines(state: State, settings: SchedulerSettings) -> Iterator[float]:
    if state.stuck:
        for job in state.jobs.values():
            if job.stranded_s is not None:
                yield job.stranded_s + grace_s(state, settings)
    for worker in state.worker_index.excluded_workers.values():
        if worker.excluded_until_s is not None:
            yield worker.excluded_until_s
