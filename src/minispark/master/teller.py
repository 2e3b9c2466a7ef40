"""What a fact, and what was decided then, mean for the cluster: its news.

Most facts are none: tasks that are placed and end well are told by the journal of their job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from minispark.clock import wall_s
from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.journal.news import News
from minispark.journal.rows import Registration, ToldFailure
from minispark.master.book import JobBook
from minispark.master.parts import Identity
from minispark.observe.failures import error_of
from minispark.observe.words import duration_words, many
from minispark.scheduler.commands import (
    Command,
    DismissWorker,
    FinishJob,
    JobStatus,
    WorkerDown,
)
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import (
    Event,
    HeartbeatFacts,
    JobCancelRequested,
    JobSubmitted,
    MasterRestarted,
    WorkerDraining,
    WorkerRegistered,
)

__all__ = ["Teller"]


class Teller:
    """Tells each step of the scheduler before the books are changed by it."""

    def __init__(
        self, book: JobBook, identity: Identity, scheduler: Callable[[], Scheduler]
    ) -> None:
        self._book = book
        self._identity = identity
        self._scheduler = scheduler
        self._excluded: frozenset[str] = frozenset()
        self._full: dict[str, str] = {}

    def tell(self, fact: Event, said: object, commands: Sequence[Command]) -> list[News]:
        """Say what happened, in order."""
        found = [*self._of_fact(fact, said), *self._of_standing()]
        for command in commands:
            match command:
                case WorkerDown():
                    found += self._gone(command)
                case DismissWorker():
                    left = "nothing of it is needed any more, or its time to leave is over"
                    found.append(_worker(command.worker, "dismissed", f"may go: {left}"))
                case FinishJob():
                    found.append(self._ended(command))
                case _:
                    pass
        return found

    def _of_fact(self, fact: Event, said: object) -> Iterator[News]:
        match fact:
            case JobSubmitted():
                tasks = sum(
                    branch.partitions for stage in fact.job.stages for branch in stage.branches
                )
                what = f"{many(len(fact.job.stages), 'stage')}, {many(tasks, 'task')}"
                yield self._job(fact.job.job, "submitted", f"was submitted: {what}")
            case JobCancelRequested():
                yield self._job(fact.job, "cancel_requested", "somebody asked for its end")
            case WorkerRegistered():
                yield from self._lost_with(fact.worker, "registered anew")
                url = f", at {said.url}" if isinstance(said, Registration) else ""
                what = f"registered: {many(fact.slots, 'slot')}{url}"
                yield _worker(fact.worker, "registered", what)
            case WorkerDraining():
                what = "leaves: it gets no more work, and its blocks go to others"
                yield _worker(fact.worker, "draining", what)
            case HeartbeatFacts():
                yield from self._lost(fact.worker, fact.lost, "does not know them")
                yield from self._room(fact)
            case MasterRestarted():
                yield self._master_started()
            case _ if isinstance(said, ToldFailure) and said.counted:
                yield self._failed(said)
            case _:
                pass

    def _of_standing(self) -> Iterator[News]:
        """Say who is left out, and who not any more: that follows from many facts."""
        excluded = self._scheduler().excluded_workers()
        if excluded == self._excluded:
            return
        for worker in sorted(excluded - self._excluded):
            what = "gets no work for a while: too many tasks failed there in a row"
            yield _worker(worker, "excluded", what)
        up = {one.worker for one in self._scheduler().worker_status() if one.status == "UP"}
        for worker in sorted((self._excluded - excluded) & up):
            yield _worker(worker, "admitted", "gets work again")
        self._excluded = excluded

    def _master_started(self) -> News:
        scheduler = self._scheduler()
        # What an earlier life has told is not told again.
        self._excluded = scheduler.excluded_workers()
        self._full = {one.worker: one.full for one in scheduler.worker_status() if one.full}
        life, running = self._identity.master_epoch, len(self._book.live)
        goes_on = f"; {many(running, 'job')} go{'es' if running == 1 else ''} on" if running else ""
        if life == 1:
            return News("master", "started", f"the master of a new cluster started{goes_on}")
        return News("master", "restarted", f"the master started again (life {life}){goes_on}")

    def _room(self, fact: HeartbeatFacts) -> Iterator[News]:
        before = self._full.pop(fact.worker, None)
        if fact.full is not None:
            self._full[fact.worker] = fact.full
        if fact.full is not None and fact.full != before:
            yield _worker(fact.worker, "full", f"takes no more work: its {fact.full} is full")
        if fact.full is None and before is not None:
            yield _worker(fact.worker, "room", f"takes work again: its {before} has room")

    def _gone(self, command: WorkerDown) -> Iterator[News]:
        yield _worker(command.worker, "down", f"is DOWN: {command.reason}")
        self._full.pop(command.worker, None)
        yield from self._lost_with(command.worker, "is DOWN")

    def _lost_with(self, worker: str, why: str) -> Iterator[News]:
        for live in self._book.live.values():
            yield from self._lost(worker, live.record.running_on(worker), why)

    def _lost(self, worker: str, keys: Iterable[TaskKey], why: str) -> Iterator[News]:
        for job, count in Counter(key.job for key in keys).items():
            verb = "was" if count == 1 else "were"
            said = f"{many(count, 'attempt')} {verb} lost: {worker} {why}"
            yield News("attempt", "lost", said, worker, job, self._name(job))

    def _failed(self, told: ToldFailure) -> News:
        key, failure = told.report.key, told.report.failure
        why = failure.reason if isinstance(failure, FetchFailed) else error_of(failure).message
        what = f"attempt {key.attempt + 1} of task {key.partition} of stage {key.stage}"
        said = f"{what} failed: {why}"
        return News(
            "attempt", "failed", said, told.worker, key.job, self._name(key.job), key.block_id
        )

    def _ended(self, command: FinishJob) -> News:
        status, live = command.status, self._book.live.get(command.job)
        why = ""
        if status is JobStatus.FAILED and command.failure is not None:
            info = error_of(command.failure)
            if live is not None:
                info = live.record.explain(command.failure, command.key)
            why = f": {info.message}"
        took = "" if live is None else duration_words(wall_s() - live.record.submitted_at)
        said = f"{status.value} after {took}{why}" if took else f"{status.value}{why}"
        return self._job(command.job, status.value.lower(), said)

    def _job(self, job: str, kind: str, said: str) -> News:
        return News("job", kind, said, job=job, name=self._name(job))

    def _name(self, job: str) -> str | None:
        live = self._book.live.get(job)
        return None if live is None else live.record.name


def _worker(worker: str, kind: str, said: str) -> News:
    return News("worker", kind, said, worker)
