"""What the master writes into its journal.

Kinds of rows: the scheduler's events, each with what was decided then (``events``, ``rows``);
``commit_job`` (the manifest of what is about to be published) and ``job_published`` (what was).
Polls and heartbeats that change nothing write nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from minispark.clock import wall_s
from minispark.journal.decisions import decisions_of, encode_command
from minispark.journal.journal import Journal
from minispark.journal.rows import (
    CommitRow,
    EventRow,
    Evidence,
    Manifest,
    PublishedRow,
    Row,
    SinkOutput,
    job_of,
    jobs_of,
)
from minispark.scheduler.commands import Command
from minispark.scheduler.events import Event, JobCommitted, JobSubmitted


class JournalWriter:
    """Writes to a journal in the master's terms; ``live`` names the running jobs."""

    def __init__(self, journal: Journal, live: Callable[[], Iterable[str]]) -> None:
        self._journal = journal
        self._live = live

    def step(
        self,
        event: Event,
        now: float,
        commands: Sequence[Command],
        *,
        evidence: Evidence | None,
        excluded: frozenset[str],
    ) -> Row:
        """Append one step of the scheduler; return its row, for the readers."""
        happening = event if evidence is None else evidence
        job, seq, at = job_of(event), self._journal.seq + 1, wall_s()
        decisions = decisions_of(commands)
        jobs = jobs_of(happening, job, decisions, self._live)
        row = Row(seq, at, job, happening, decisions, excluded, jobs)
        self._journal.event(
            event.kind,
            EventRow.model_construct(event) if evidence is None else evidence,
            job=job,
            at=at,
            now=now,
            commands=[encode_command(command) for command in commands] or None,
            mentions=[other for other in jobs if other != job],
            synced=isinstance(event, JobSubmitted | JobCommitted),
        )
        return row

    def commit(self, job: str, manifests: list[Manifest]) -> None:
        """Append what is about to be published."""
        payload = CommitRow(manifests=manifests)
        self._journal.event("commit_job", payload, job=job, at=wall_s(), synced=True)

    def published(self, job: str, sinks: list[SinkOutput]) -> None:
        """Append what was published."""
        self._journal.event("job_published", PublishedRow(sinks=sinks), job=job, at=wall_s())
