"""The attempts and events of a job, also after its end.

The record of a finished job is folded from the journal, which has its rows as long as the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from minispark.clock import monotonic_s, wall_s
from minispark.journal.cluster_event import EventQuery, read_news
from minispark.journal.journal import Journal, JournalEvent
from minispark.journal.rows import Row
from minispark.master.http import models
from minispark.master.jobs.job_store import JobStore, no_such_job
from minispark.observe.listing import ListPage, ListQuery, select
from minispark.observe.projection import fold, read_rows
from minispark.observe.record import JobRecord
from minispark.observe.task_list import ATTEMPT_COLUMNS, AttemptRow
from minispark.wire.messages import GraphMessage
from minispark.wire.origin import JobSource

_CACHED = 4
"""Records of finished jobs in memory: after one page a client usually reads the next."""
_PAGE = 500
_KEEPALIVE_S = 15.0
"""Longest silence of a stream: proxies close silent connections."""


class JobHistory:
    """Reads the journal for clients."""

    def __init__(self, journal: Journal, jobs: JobStore) -> None:
        self._journal = journal
        self._jobs = jobs
        self._records: dict[str, JobRecord] = {}

    async def tasks(self, job: str, query: ListQuery) -> ListPage[models.TaskView]:
        """Return a page of attempts; without an order, as they were launched.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        record = await self.record(job)
        rows = [AttemptRow(attempt, record) for attempt in record.attempts.values()]
        page = select(rows, query, ATTEMPT_COLUMNS)
        live = self._jobs.live.get(job)
        running = {} if live is None else live.progress.running(record, now=wall_s())
        views = [
            models.TaskView.of(attempt, record, running.get(attempt.key))
            for attempt, _ in page.rows
        ]
        return ListPage(views, page.after, page.total)

    async def events(self, job: str, *, limit: int, after: int) -> models.EventList:
        """Return a page of a job's events in the journal.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._jobs.outcome(job)
        rows = await self._rows(job, limit=limit + 1, after=after)
        page = await asyncio.to_thread(lambda: [models.EventView.of(row) for row in rows[:limit]])
        return models.EventList(
            job_id=job, events=page, after=page[-1].seq if len(rows) > limit else None
        )

    async def rows(self, job: str, *, limit: int, after: int) -> list[Row]:
        """Return rows of a job after a number.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._jobs.outcome(job)
        stored = await self._rows(job, limit=limit, after=after)
        return await asyncio.to_thread(lambda: list(read_rows(stored)))

    async def count(self, job: str, *, before: int | None = None) -> int:
        """Return the number of a job's events in the journal, all or those before a number.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._jobs.outcome(job)
        return await asyncio.to_thread(self._journal.count_events, job, before=before)

    async def news(self, query: EventQuery, *, limit: int) -> models.NewsList:
        """Return a page of cluster events, newest first."""
        events = await asyncio.to_thread(read_news, self._journal.path, query, limit=limit + 1)
        page = [
            models.NewsView.of(
                event, kept=event.news.job is not None and self._jobs.knows(event.news.job)
            )
            for event in events[:limit]
        ]
        return models.NewsList(events=page, after=page[-1].id if len(events) > limit else None)

    async def plan(self, job: str) -> str:
        """Return the plan of a job, a `GraphMessage` as JSON.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        self._jobs.outcome(job)
        stored = await asyncio.to_thread(self._journal.read_graph, job)
        if stored is None:
            raise no_such_job(job)
        return stored

    async def source(self, job: str) -> JobSource | None:
        """Return the text of a job, None if it was submitted as a plan.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        kind = self._jobs.view(job).source
        text = await asyncio.to_thread(self._journal.read_source, job)
        return None if kind is None or text is None else JobSource(kind, text)

    async def stream(self, job: str, *, after: int) -> AsyncIterator[str]:
        """Yield the events of a job as server-sent events, until it has ended.

        The job must exist: the status of the response is sent before the first event.
        """
        sent_s = monotonic_s()
        while not self._jobs.closed:
            version, ended = self._jobs.view(job).version, self._jobs.outcome(job) is not None
            rows = await self._rows(job, limit=_PAGE, after=after)
            for row in rows:
                after, sent_s = row.seq, monotonic_s()
                data = models.EventView.of(row).model_dump_json()
                yield f"id: {row.seq}\nevent: {row.kind}\ndata: {data}\n\n"
            if ended and not rows:
                return
            if not rows:
                if monotonic_s() - sent_s >= _KEEPALIVE_S:
                    sent_s = monotonic_s()
                    yield ": nothing new\n\n"
                await self._jobs.wait(job, seen=version, wait_s=_KEEPALIVE_S)

    async def _rows(self, job: str, *, limit: int, after: int) -> list[JournalEvent]:
        return await asyncio.to_thread(self._journal.read_events, job, after=after, limit=limit)

    async def record(self, job: str) -> JobRecord:
        """Return the record of a job; that of a finished one is folded from the journal.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if self._jobs.outcome(job) is None:
            return self._jobs.live[job].record
        if job not in self._records:
            self._records[job] = await asyncio.to_thread(self._fold, await self.new_record(job))
            while len(self._records) > _CACHED:
                del self._records[next(iter(self._records))]
        return self._records[job]

    async def new_record(self, job: str) -> JobRecord:
        """Return an empty record of a job.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if self._jobs.outcome(job) is None:
            return JobRecord(job, "", self._jobs.live[job].graph, 0.0)
        stored = await self.plan(job)
        graph = await asyncio.to_thread(GraphMessage.model_validate_json, stored)
        return JobRecord(job, "", graph.graph, 0.0)

    def _fold(self, record: JobRecord) -> JobRecord:
        job, after = record.job_id, 0
        while rows := self._journal.read_events(job, after=after, limit=_PAGE):
            fold(record, read_rows(rows))
            after = rows[-1].seq
        finished = self._jobs.ended.get(job)
        if finished is not None:
            view = finished.view
            record.name, record.submitted_at = view.name, view.submitted_at
            record.finished(view.status, view.error, view.finished_at or 0.0)
        return record
