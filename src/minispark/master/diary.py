"""What the master writes into its journal, and how a job's book entry is made of it again.

Kinds of rows: the scheduler's facts, each with what was decided then (``events``, ``rows``);
``commit_job`` (the manifest of what is about to be published) and ``job_published`` (what was).
Polls and heartbeats that change nothing write nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from minispark.clock import wall_s
from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.journal.journal import Journal, JournalEvent
from minispark.journal.news import News
from minispark.journal.rows import (
    SECOND,
    Fact,
    Manifest,
    Registration,
    Said,
    Submission,
    ToldFailure,
    ToldSuccess,
    decision,
    jobs_of,
)
from minispark.master.book import LiveJob
from minispark.master.outcome import SinkOutput
from minispark.scheduler.commands import Command
from minispark.scheduler.events import (
    Event,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    WorkerRegistered,
)

__all__ = ["Diary", "retell"]


class _Commit(BaseModel):
    manifests: list[Manifest]


class _Published(BaseModel):
    sinks: list[SinkOutput]


class Diary:
    """Writes to a journal in the master's terms; ``live`` names the jobs at work.

    ``tell`` says what a fact, what was said of it and the decisions mean for the cluster.
    """

    def __init__(
        self,
        journal: Journal,
        live: Callable[[], Iterable[str]],
        tell: Callable[[Event, object, Sequence[Command]], list[News]],
    ) -> None:
        self._journal = journal
        self._live = live
        self._tell = tell

    def step(self, fact: Event, now: float, commands: list[Command], said: object) -> None:
        """Note one step of the scheduler; ``said`` is what the fact was made of."""
        job = _job_of(fact)
        about: Iterable[str] = jobs_of(commands, self._live)
        if isinstance(fact, WorkerRegistered):
            about = self._live()  # An earlier life of the worker may have run their tasks.
        self._journal.event(
            fact.kind,
            Fact.model_construct(fact) if said is None else said,
            job=job,
            at=wall_s(),
            now=now,
            commands=[decision(command) for command in commands] or None,
            mentions=[other for other in about if other != job],
            news=self._tell(fact, said, commands),
            synced=isinstance(fact, JobSubmitted | JobCommitted),
        )

    def commit(self, job: str, manifests: list[Manifest]) -> None:
        """Note what is about to be published."""
        payload = _Commit(manifests=manifests)
        self._journal.event("commit_job", payload, job=job, at=wall_s(), synced=True)

    def published(self, job: str, sinks: list[SinkOutput]) -> None:
        """Note what was published."""
        self._journal.event("job_published", _Published(sinks=sinks), job=job, at=wall_s())


def retell(
    jobs: Mapping[str, LiveJob], row: JournalEvent, said: Said | None, decided: Sequence[Any]
) -> None:
    """Tell the books of jobs again what happened, one row after the other.

    ``said`` is what a worker told (`rows.said_of`), ``decided`` what the scheduler made of it.
    """
    live = jobs.get(row.job)
    if isinstance(said, Registration):
        _retell_loss(jobs, said.worker, "it registered anew", row.at)
    elif live is not None and isinstance(said, Submission):
        live.begins_with(said.found, row.at)
    elif live is not None and isinstance(said, ToldSuccess | ToldFailure):
        _retell_report(live, said, row.at)
    elif live is not None and row.kind == "commit_job":
        live.manifests = _Commit.model_validate_json(row.payload).manifests
    elif live is not None and row.kind == "job_published":
        live.sinks = _Published.model_validate_json(row.payload).sinks
    for kind, *about in decided:
        if kind in ("launch_task", "cancel_task"):
            worker, key = about[0], TaskKey.parse(about[1])
            live = jobs.get(key.job)
            if live is None:
                continue
            if kind == "launch_task":
                live.record.launched(key, worker, row.at, speculative=SECOND in about)
            else:
                live.record.failed(key, Cancelled(), worker, row.at)
        elif kind == "worker_down":
            _retell_loss(jobs, about[0], about[1], row.at)


def _retell_report(live: LiveJob, said: ToldSuccess | ToldFailure, at: float) -> None:
    if not said.counted:
        return
    if isinstance(said, ToldSuccess):
        live.succeeded(said.report, said.worker, at)
    else:
        live.failed(said.report, said.worker, at)


def _retell_loss(jobs: Mapping[str, LiveJob], worker: str, reason: str, at: float) -> None:
    for live in jobs.values():
        live.record.worker_lost(worker, reason, at)


def _job_of(fact: Event) -> str:
    match fact:
        case JobSubmitted():
            return fact.job.job
        case JobCancelRequested() | JobCommitted() | JobCommitFailed() | JobReleased():
            return fact.job
        case TaskSucceeded() | TaskFailed():
            return fact.key.job
        case _:
            return ""
