"""What the running attempts of a job have read so far, beside the record of the job.

It comes with the heartbeats of workers and is in memory only: it is shown to people, and it is not
in the journal. A master that was started again knows it after the next heartbeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minispark.ids import TaskKey
from minispark.observe.estimate import Estimate, RunningTask, estimate
from minispark.observe.record import JobRecord
from minispark.observe.stage_work import works
from minispark.observe.views import JobView
from minispark.task.spec import TaskProgress

_MIN_INTERVAL_S = 1.0
"""Shortest time between two versions of a view that only progress changed, for all workers."""
_MOST = 0.99


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """The progress of a running attempt at the time of a view."""

    ran_s: float
    bytes_read: int
    rows_read: int
    """Rows of the source nodes so far."""
    share: float | None


@dataclass(slots=True)
class LiveProgress:
    """The progress of one running job. ``now`` is in seconds since the epoch in all methods."""

    version: int = 0
    """Added to the version of the record."""
    _attempts: dict[TaskKey, tuple[TaskProgress, float]] = field(default_factory=dict)
    _by_worker: dict[str, tuple[TaskKey, ...]] = field(default_factory=dict)
    _changed_at: float = 0.0
    _percent: float = 0.0
    _lost: int = 0

    def update(self, worker: str, progress: Iterable[TaskProgress], *, now: float) -> bool:
        """Take what a worker says of all its attempts of the job; return if views change now."""
        for key in self._by_worker.pop(worker, ()):
            self._attempts.pop(key, None)
        attempts = tuple(progress)
        if attempts:
            self._by_worker[worker] = tuple(each.key for each in attempts)
            self._attempts.update((each.key, (each, now)) for each in attempts)
        if not attempts or now - self._changed_at < _MIN_INTERVAL_S:
            return False
        self._changed_at = now
        self.version += 1
        return True

    def has(self, worker: str) -> bool:
        """Whether there is progress of a worker's attempts."""
        return worker in self._by_worker

    def running(self, record: JobRecord, *, now: float) -> dict[TaskKey, RunningAttempt]:
        """Return the progress of the attempts that run; queued ones have none."""
        sources = [node for node, reads in record.graph.flow.items() if not reads]
        found = {}
        for key, (progress, at) in self._attempts.items():
            attempt = record.attempts.get(key)
            if attempt is not None and attempt.finished_at is None:
                found[key] = _running(progress, sources, since_s=max(0.0, now - at))
        return found

    def view(self, record: JobRecord, *, slots: int, now: float) -> JobView:
        """Return the view of the job with its progress; ``slots`` are those of all workers."""
        view = record.view()
        if record.ended:
            return view
        running = self.running(record, now=now)
        work = works(record.stages.values(), _ahead(running))
        found = estimate(work, slots=0 if view.workers_waiting else slots)
        totals = [state.totals for state in record.stages.values()]
        sources = [node for node, reads in record.graph.flow.items() if not reads]
        return view.model_copy(
            update={
                "progress": self._not_back(found, record),
                "stages": [
                    stage.model_copy(update={"progress": max(stage.progress, percent)})
                    for stage, percent in zip(view.stages, found.stages, strict=True)
                ],
                "left_s": None if found.left_s is None else round(found.left_s, 1),
                "left_sure": found.sure,
                "tasks_running": len(running),
                "rows_read": sum(total.nodes[node] for total in totals for node in sources)
                + sum(attempt.rows_read for attempt in running.values()),
                "bytes_read": sum(total.bytes_read for total in totals)
                + sum(
                    attempt.bytes_read
                    for key, attempt in running.items()
                    if record.stages[key.stage].scans_rows
                ),
                "input_bytes": record.graph.input_bytes,
                "version": view.version + self.version,
            }
        )

    def _not_back(self, found: Estimate, record: JobRecord) -> float:
        """Return the percent; it only goes back after tasks that were done must run again."""
        lost = sum(state.generation + state.relaunches for state in record.stages.values())
        if lost <= self._lost:
            self._percent = max(self._percent, found.percent)
        else:
            self._percent = found.percent
        self._lost = lost
        return self._percent


def _running(progress: TaskProgress, sources: Iterable[str], *, since_s: float) -> RunningAttempt:
    rows = sum(progress.nodes.get(node, 0) for node in sources)
    share = progress.share
    if progress.expected_rows and rows:
        share = min(_MOST, rows / progress.expected_rows)
    return RunningAttempt(progress.ran_s + since_s, progress.bytes_read, rows, share)


def _ahead(running: Mapping[TaskKey, RunningAttempt]) -> dict[int, dict[int, RunningTask]]:
    """Return the running tasks by stage and partition; of two attempts, the one that is ahead."""
    found: dict[int, dict[int, RunningTask]] = {}
    for key, attempt in running.items():
        others = found.setdefault(key.stage, {})
        other = others.get(key.partition)
        if other is None or (attempt.share or 0.0) > (other.share or 0.0):
            others[key.partition] = RunningTask(attempt.ran_s, attempt.share)
    return found
