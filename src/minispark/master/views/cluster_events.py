"""The events of the cluster, created from rows.

Most rows give none: launches and successful attempts are in the story of their job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from minispark.errors import FetchFailed
from minispark.formatting import duration_words, many
from minispark.ids import TaskKey
from minispark.journal.cluster_event import ClusterEvent
from minispark.journal.rows import FailureRow, Registration, Row, Submission
from minispark.master.control.components import Components
from minispark.observe.failures import error_of
from minispark.observe.story_words import reason_words
from minispark.scheduler.commands import DismissWorker, FinishJob, JobStatus, WorkerDown
from minispark.scheduler.events import (
    HeartbeatDiff,
    JobCancelRequested,
    MasterRestarted,
    WorkerDraining,
)

_PUBLISHED = frozenset((WorkerDown, DismissWorker, FinishJob))
"""Decisions that give an event."""


class EventPublisher:
    """Writes the events of each row, before the row changes the records."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._book = parts.jobs
        self._up: frozenset[str] = frozenset()
        self._excluded: frozenset[str] = frozenset()
        self._full: dict[str, str] = {}

    def apply(self, row: Row) -> None:
        """Write the events of a row; after an exception the publisher's state is as before."""
        before = (self._up, self._excluded, dict(self._full))
        try:
            lines = self._lines(row)
        except Exception:
            self._up, self._excluded, self._full = before
            raise
        if lines:
            self._parts.journal.news(lines, at=row.at)

    def _lines(self, row: Row) -> list[ClusterEvent]:
        events = [*self._of_happening(row), *self._of_standing(row.excluded)]
        if _PUBLISHED.isdisjoint(map(type, row.decisions)):
            return events
        for decision in row.decisions:
            match decision:
                case WorkerDown():
                    events += self._worker_down(decision)
                case DismissWorker():
                    why = reason_words(decision.reason)
                    events.append(_worker(decision.worker, "dismissed", f"may leave: {why}"))
                case FinishJob():
                    events.append(self._ended(decision, row.at))
                case _:
                    pass
        return events

    def _of_happening(self, row: Row) -> Iterator[ClusterEvent]:
        fact = row.happening
        match fact:
            case Submission():
                tasks = sum(
                    branch.partitions for stage in fact.job.stages for branch in stage.branches
                )
                words = f"{many(len(fact.job.stages), 'stage')}, {many(tasks, 'task')}"
                yield self._job(fact.job.job, "submitted", f"was submitted: {words}")
            case JobCancelRequested():
                yield self._job(fact.job, "cancel_requested", "cancellation was requested")
            case Registration():
                self._up |= {fact.worker}
                yield from self._lost_with(fact.worker, "registered again")
                words = f"registered: {many(fact.slots, 'slot')}, at {fact.url}"
                yield _worker(fact.worker, "registered", words)
            case WorkerDraining():
                self._up -= {fact.worker}
                words = "is draining: it gets no more tasks, and its blocks move to other workers"
                yield _worker(fact.worker, "draining", words)
            case HeartbeatDiff():
                yield from self._lost(fact.worker, fact.lost, "does not have them")
                yield from self._room(fact)
            case MasterRestarted():
                yield self._master_started()
            case FailureRow() if row.accepted:
                yield self._failed(fact)
            case _:
                pass

    def _of_standing(self, excluded: frozenset[str]) -> Iterator[ClusterEvent]:
        """Yield the workers that were excluded or readmitted."""
        if excluded == self._excluded:
            return
        for worker in sorted(excluded - self._excluded):
            words = "gets no tasks for now: too many tasks in a row failed on it"
            yield _worker(worker, "excluded", words)
        for worker in sorted((self._excluded - excluded) & self._up):
            yield _worker(worker, "admitted", "gets tasks again")
        self._excluded = excluded

    def _master_started(self) -> ClusterEvent:
        scheduler = self._parts.scheduler
        # Events of an earlier master are not repeated.
        self._excluded = scheduler.excluded_workers()
        status = scheduler.worker_status()
        self._up = frozenset(worker.worker for worker in status if worker.status == "UP")
        self._full = {worker.worker: worker.full for worker in status if worker.full}
        life, running = self._parts.identity.master_epoch, len(self._book.live)
        goes_on = f"; {many(running, 'job')} go{'es' if running == 1 else ''} on" if running else ""
        if life == 1:
            return ClusterEvent(
                "master", "started", f"the master of a new cluster started{goes_on}"
            )
        return ClusterEvent("master", "restarted", f"the master restarted (run {life}){goes_on}")

    def _room(self, fact: HeartbeatDiff) -> Iterator[ClusterEvent]:
        before = self._full.pop(fact.worker, None)
        if fact.full is not None:
            self._full[fact.worker] = fact.full
        if fact.full is not None and fact.full != before:
            yield _worker(fact.worker, "full", f"accepts no more tasks: its {fact.full} is full")
        if fact.full is None and before is not None:
            yield _worker(fact.worker, "room", f"accepts tasks again: its {before} has room")

    def _worker_down(self, command: WorkerDown) -> Iterator[ClusterEvent]:
        yield _worker(command.worker, "down", f"is DOWN: {reason_words(command.reason)}")
        self._up -= {command.worker}
        self._full.pop(command.worker, None)
        yield from self._lost_with(command.worker, "is DOWN")

    def _lost_with(self, worker: str, why: str) -> Iterator[ClusterEvent]:
        for live in self._book.live.values():
            yield from self._lost(worker, live.record.running_on(worker), why)

    def _lost(self, worker: str, keys: Iterable[TaskKey], why: str) -> Iterator[ClusterEvent]:
        for job, count in Counter(key.job for key in keys).items():
            verb = "was" if count == 1 else "were"
            sentence = f"{many(count, 'attempt')} {verb} lost: {worker} {why}"
            yield ClusterEvent("attempt", "lost", sentence, worker, job, self._name(job))

    def _failed(self, row: FailureRow) -> ClusterEvent:
        key, failure = row.report.key, row.report.failure
        why = failure.reason if isinstance(failure, FetchFailed) else error_of(failure).message
        attempt = f"attempt {key.attempt_number} of task {key.partition} of stage {key.stage}"
        sentence = f"{attempt} failed: {why}"
        return ClusterEvent(
            "attempt", "failed", sentence, row.worker, key.job, self._name(key.job), key.block_id
        )

    def _ended(self, command: FinishJob, at: float) -> ClusterEvent:
        status, live = command.status, self._book.live.get(command.job)
        why = ""
        if status is JobStatus.FAILED and command.failure is not None:
            info = error_of(command.failure)
            if live is not None:
                info = live.record.explain(command.failure, command.key)
            why = f": {info.message}"
        took = "" if live is None else duration_words(at - live.record.submitted_at)
        sentence = f"{status.value} after {took}{why}" if took else f"{status.value}{why}"
        return self._job(command.job, status.value.lower(), sentence)

    def _job(self, job: str, kind: str, sentence: str) -> ClusterEvent:
        return ClusterEvent("job", kind, sentence, job=job, name=self._name(job))

    def _name(self, job: str) -> str | None:
        live = self._book.live.get(job)
        return None if live is None else live.record.name


def _worker(worker: str, kind: str, sentence: str) -> ClusterEvent:
    return ClusterEvent("worker", kind, sentence, worker)
