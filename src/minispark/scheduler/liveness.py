"""The workers that are alive, and the deadlines of the scheduler.

Covers: heartbeats, lost leases, deadlines. Does not cover: what a loss is charged as (`policy`).

Heartbeats arrive many times a second and mostly change nothing, so neither the journal nor a
snapshot has them: `HeartbeatTracker` is state of a scheduler outside of `State`. No decision may
read it; it only decides which events there are.
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
    """When each worker was last heard, and what it reported. Not persisted."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._last_heard: dict[str, float] = {}
        self._last_named: dict[str, dict[TaskKey, float]] = {}
        """By worker, when its heartbeat last named each of its live attempts."""
        self._unknown_since: dict[str, dict[str, float]] = {}
        """By worker, since when its heartbeats name each unknown job."""
        self.due_s = inf
        """Before this no worker is overdue. Often too early: each heartbeat moves the true time."""

    def hear(self, worker: str, now: float) -> None:
        """Note that a worker has sent something."""
        self._last_heard[worker] = now
        self.due_s = min(self.due_s, now + self._settings.heartbeat_timeout_s)

    def restart(self, state: State, now: float) -> None:
        """Treat every worker as just heard, with all its leases: no master was there before."""
        for worker in state.workers.values():
            if worker.up:
                self.hear(worker.name, now)
                self._last_named[worker.name] = dict.fromkeys(worker.leased, now)

    def forget(self, worker: str) -> None:
        """Forget a worker that is DOWN."""
        for notes in (self._last_heard, self._last_named, self._unknown_since):
            notes.pop(worker, None)

    def silent(self, state: State, now: float) -> list[Worker]:
        """Return the workers that were silent for too long, and update `due_s`."""
        limit_s = self._settings.heartbeat_timeout_s
        self.due_s = inf
        workers = []
        for worker in state.workers.values():
            if not worker.up:
                continue
            due_s = self._last_heard.setdefault(worker.name, now) + limit_s
            if now >= due_s:
                workers.append(worker)
            else:
                self.due_s = min(self.due_s, due_s)
        return workers

    def facts(self, state: State, beat: WorkerHeartbeat, now: float) -> HeartbeatDiff | None:
        """Compare the attempts of a worker with its leases; return None if they agree.

        A lease that the worker has not named for long is lost (a poll reply or a report was lost).
        An accepted attempt is not unwanted: its report arrived before the heartbeat.
        """
        worker = state.workers.get(beat.worker)
        if worker is None or not worker.up or worker.epoch != beat.epoch:
            return HeartbeatDiff(beat.worker, beat.epoch)
        self.hear(worker.name, now)
        names = dict.fromkeys(beat.attempts)
        last_named = self._last_named.get(worker.name, {})
        naming = {
            key: now if key in names else max(since_s, last_named.get(key, since_s))
            for key, since_s in worker.leased.items()
        }
        self._last_named[worker.name] = naming
        grace_s = self._settings.lost_task_grace_s
        facts = HeartbeatDiff(
            worker.name,
            worker.epoch,
            lost=tuple(key for key, last_s in naming.items() if now > last_s + grace_s),
            unwanted=tuple(k for k in names if k not in worker.leased and not worker.holds(k)),
            forgotten=self._forgotten(state, worker, beat.held, now),
            full=beat.full,
            speaks=worker.suspect,
        )
        changed = facts.lost or facts.unwanted or facts.forgotten or facts.speaks
        return facts if changed or facts.full != worker.full else None

    def _forgotten(
        self, state: State, worker: Worker, held: tuple[str, ...], now: float
    ) -> tuple[str, ...]:
        """Return unknown jobs that the worker has named for a while.

        When it names a job once, the message about the job's end may still be on its way.
        """
        unknown = [name for name in held if not _has_place(state, worker, name)]
        unknown_since = self._unknown_since.get(worker.name, {})
        since = {name: unknown_since.get(name, now) for name in unknown}
        limit_s = now - self._settings.lost_task_grace_s
        overdue = tuple(name for name, since_s in since.items() if since_s < limit_s)
        # If it names them for as long again, the command was lost.
        self._unknown_since[worker.name] = since | dict.fromkeys(overdue, now)
        return overdue


def _has_place(state: State, worker: Worker, name: str) -> bool:
    job = state.jobs.get(name)
    if job is None or (job.ended and name not in worker.blocks):
        return _is_fetching(state, worker, name)
    return True


def _is_fetching(state: State, worker: Worker, name: str) -> bool:
    """Whether a worker fetches blocks of a job from a worker that drains."""
    return any(
        taker == worker.name and key.job == name
        for _, leave in state.drains
        for key, (taker, _) in leave.moving.items()
    )


def has_no_worker(state: State) -> bool:
    """Whether nothing runs and no worker can take a task: there is none, or all are full."""
    if len(state.worker_index.full) < len(state.rotation):
        return False
    return not state.rotation or not any(w.leased for w in state.workers.values())


def grace_s(state: State, settings: SchedulerSettings) -> float:
    """Return how long jobs wait while no worker can take a task."""
    return settings.no_room_grace_s if state.rotation else settings.no_worker_grace_s


def stranded(state: State, now: float, settings: SchedulerSettings) -> list[JobRun]:
    """Return the jobs that have waited too long for any worker."""
    grace = grace_s(state, settings)
    return [
        job
        for job in state.jobs.values()
        if job.stranded_s is not None and now >= job.stranded_s + grace
    ]


def starvation_failure(state: State, settings: SchedulerSettings) -> tuple[Failure, Reason]:
    """Return the failure of a job that no worker can take, and its reason."""
    limit_s = grace_s(state, settings)
    if not state.rotation:
        absent = ended(
            "MS-223", f"no worker was there for {limit_s:g} s", "Start one with: minispark worker"
        )
        return absent, Reason(Why.NO_WORKER, limit=limit_s)
    resources = " and ".join(sorted({w.full for w in state.worker_index.full.values() if w.full}))
    full = ended(
        "MS-226",
        f"no worker had room for {limit_s:g} s: their {resources} is full",
        "Make room, start a worker elsewhere, or raise the limits of these.",
    )
    return full, Reason(Why.NO_ROOM, limit=limit_s)


def deadline(state: State, settings: SchedulerSettings, now: float) -> float:
    """Return the next deadline in the state, infinity for none."""
    return min(*_deadlines(state, settings), next_take_back(state, now, settings), inf)


def next_take_back(state: State, now: float, settings: SchedulerSettings) -> float:
    """Return when a waiting attempt is to be taken back, infinity for never.

    If one is due already but no worker could take it, the next event may change that; without an
    event the next check is after the same time.
    """
    index, after_s = state.worker_index, settings.take_back_after_s
    name = index.waiting.first() if index.has_slot else None
    if name is None:
        return inf
    since_s, _ = index.waiting.rank(name)
    return since_s + after_s if since_s + after_s > now else now + after_s


def _deadlines(state: State, settings: SchedulerSettings) -> Iterator[float]:
    if state.stuck:
        for job in state.jobs.values():
            if job.stranded_s is not None:
                yield job.stranded_s + grace_s(state, settings)
    for worker in state.worker_index.excluded_workers.values():
        if worker.excluded_until_s is not None:
            yield worker.excluded_until_s
