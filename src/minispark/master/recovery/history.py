"""What happened to a job, attempt by attempt and event by event, also long after its end.

A job at work is asked; one that has ended is told again from the journal, which keeps its rows
as long as the job is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from minispark.clock import monotonic_s
from minispark.journal.cluster_event import About, read_news
from minispark.journal.journal import Journal, JournalEvent
from minispark.journal.rows import Row
from minispark.master.http.http_errors import no_such_job
from minispark.master.http.models import EventView, NewsList, NewsView, TaskView
from minispark.master.jobs.job_store import JobStore
from minispark.observe.projection import fold, read_rows
from minispark.observe.record import JobRecord
from minispark.wire.messages import GraphMessage

_KEPT = 4
"""Records of ended jobs that are kept once told: whoever asks for a page asks for the next."""
_PAGE = 500
_QUIET_S = 15.0
"""A stream says something at least so often: proxies close what is silent."""


class JobHistory:
    """Reads a journal for those who watch."""

    def __init__(self, journal: Journal, book: JobStore) -> None:
        self._journal = journal
        self._book = book
        self._told: dict[str, JobRecord] = {}

    async def tasks(self, job: str, *, limit: int, after: str | None) -> list[TaskView]:
        """Return attempts in the order in which they were launched, after one of them.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        record = await self.record(job)
        attempts = list(record.attempts.values())
        start = 0
        if after is not None:
            names = [attempt.key.block_id for attempt in attempts]
            start = names.index(after) + 1 if after in names else len(names)
        return [TaskView.of(attempt, record) for attempt in attempts[start : start + limit]]

    async def events(self, job: str, *, limit: int, after: int) -> list[EventView]:
        """Return what the journal has of a job, after an event.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._book.outcome(job)
        rows = await self._rows(job, limit=limit, after=after)
        return await asyncio.to_thread(lambda: [EventView.of(row) for row in rows])

    async def rows(self, job: str, *, limit: int, after: int) -> list[Row]:
        """Return what the journal has of a job, after a row, for those who fold it.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._book.outcome(job)
        stored = await self._rows(job, limit=limit, after=after)
        return await asyncio.to_thread(lambda: list(read_rows(stored)))

    async def count(self, job: str, *, before: int | None = None) -> int:
        """Return how many events the journal has of a job, or has before one.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._book.outcome(job)
        return await asyncio.to_thread(self._journal.count_events, job, before=before)

    async def news(self, *, about: About | None, after: int | None, limit: int) -> NewsList:
        """Return what happened in the cluster, newest first, before a line of it."""
        found = await asyncio.to_thread(
            read_news, self._journal.path, about=about, before=after, limit=limit + 1
        )
        page = [
            NewsView.of(line, kept=line.news.job is not None and self._book.knows(line.news.job))
            for line in found[:limit]
        ]
        return NewsList(events=page, after=page[-1].id if len(found) > limit else None)

    async def plan(self, job: str) -> str:
        """Return the plan of a job, a `GraphMessage` as JSON.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._book.outcome(job)
        stored = await asyncio.to_thread(self._journal.read_graph, job)
        if stored is None:
            raise no_such_job(job)
        return stored

    async def stream(self, job: str, *, after: int) -> AsyncIterator[str]:
        """Yield the events of a job as server-sent events, until it has ended.

        Ask `events` first: a job that is not known is not said here.
        """
        said_s = monotonic_s()
        while not self._book.closed:
            seen, ended = self._book.view(job).version, self._book.outcome(job) is not None
            rows = await self._rows(job, limit=_PAGE, after=after)
            for row in rows:
                after, said_s = row.seq, monotonic_s()
                data = EventView.of(row).model_dump_json()
                yield f"id: {row.seq}\nevent: {row.kind}\ndata: {data}\n\n"
            if ended and not rows:
                return
            if not rows:
                if monotonic_s() - said_s >= _QUIET_S:
                    said_s = monotonic_s()
                    yield ": nothing new\n\n"
                await self._book.wait(job, seen=seen, wait_s=_QUIET_S)

    async def _rows(self, job: str, *, limit: int, after: int) -> list[JournalEvent]:
        return await asyncio.to_thread(self._journal.read_events, job, after=after, limit=limit)

    async def record(self, job: str) -> JobRecord:
        """Return the record of a job, made again from the journal where it has ended.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if self._book.outcome(job) is None:
            return self._book.live[job].record
        if job not in self._told:
            self._told[job] = await asyncio.to_thread(self._tell, await self.new_record(job))
            while len(self._told) > _KEPT:
                del self._told[next(iter(self._told))]
        return self._told[job]

    async def new_record(self, job: str) -> JobRecord:
        """Return a record of a job to which no row was applied.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if self._book.outcome(job) is None:
            return JobRecord(job, "", self._book.live[job].graph, 0.0)
        stored = await self.plan(job)
        graph = await asyncio.to_thread(GraphMessage.model_validate_json, stored)
        return JobRecord(job, "", graph.graph, 0.0)

    def _tell(self, record: JobRecord) -> JobRecord:
        job, after = record.job_id, 0
        while rows := self._journal.read_events(job, after=after, limit=_PAGE):
            fold(record, read_rows(rows))
            after = rows[-1].seq
        outcome = self._book.ended.get(job)
        if outcome is not None:
            view = outcome.view
            record.name, record.submitted_at = view.name, view.submitted_at
            record.finished(view.status, view.error, view.finished_at or 0.0)
        return record
