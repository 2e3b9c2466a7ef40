"""The documents of a job's page and timeline, made on request and cached while they are fresh."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from minispark.clock import monotonic_s, wall_s
from minispark.master.control.components import Components
from minispark.master.http.models import NodeResult
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.recovery.history import JobHistory
from minispark.master.views.explanations import Explanations
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import JobStatus
from minispark.ui import JobPage, JobPageInputs, OutputFiles, Timeline, job_page_of, timeline_of

_END = -1
"""The version of a job that has ended."""
_CACHED = 8
"""Documents in memory; one of a large job is some MB."""
_FRESH_S = 0.4
"""Shortest time between two documents of a running job, for all viewers together."""
_FRESH_FACTOR = 10.0
"""A document of a running job is fresh for this many times the time that it took to make: viewers
get at most a tenth of the event loop."""

Document = TypeVar("Document")


class _DocumentCache(Generic[Document]):
    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[int, float, Document]] = OrderedDict()
        """By job: version, until when the document does for a later version too, document."""

    def get(self, job: str, version: int) -> Document | None:
        entry = self._entries.get(job)
        if entry is None:
            return None
        cached_version, until_s, document = entry
        is_fresh = cached_version == version or (version != _END and monotonic_s() < until_s)
        return document if is_fresh else None

    def put(self, job: str, version: int, document: Document, *, took_s: float) -> Document:
        until_s = monotonic_s() + max(_FRESH_S, _FRESH_FACTOR * took_s)
        self._entries[job] = (version, until_s, document)
        self._entries.move_to_end(job)
        while len(self._entries) > _CACHED:
            self._entries.popitem(last=False)
        return document


class JobPages:
    """Returns documents of jobs.

    The document of a running job is made on the event loop, where the record changes. A finished
    job does not change, so a thread makes its document.
    """

    def __init__(self, components: Components, history: JobHistory) -> None:
        self._jobs = components.jobs
        self._registry = components.registry
        self._history = history
        self._pages: _DocumentCache[JobPage] = _DocumentCache()
        self._timelines: _DocumentCache[Timeline] = _DocumentCache()
        self.explanations = Explanations(history)

    async def page(self, job: str) -> JobPage:
        """Return everything that the page of a job shows.

        Raises
        ------
        RefusedError
            There is no such job.
        """

        def make(record: JobRecord) -> JobPage:
            return job_page_of(record, self._inputs(job, record), now=wall_s())

        return await self._document(self._pages, job, make)

    async def timeline(self, job: str) -> Timeline:
        """Return all attempts of a job, in lanes."""
        slots = self._slots()
        return await self._document(
            self._timelines, job, lambda record: timeline_of(record, slots=slots, now=wall_s())
        )

    async def _document(
        self, cache: _DocumentCache[Document], job: str, make: Callable[[JobRecord], Document]
    ) -> Document:
        view, ended = self._jobs.view(job), self._jobs.outcome(job) is not None
        document = cache.get(job, _END if ended else view.version)
        if document is not None:
            return document
        record = await self._history.record(job)
        if ended:
            return cache.put(job, _END, await asyncio.to_thread(make, record), took_s=0.0)
        start = monotonic_s()
        document = make(record)
        return cache.put(job, view.version, document, took_s=monotonic_s() - start)

    def _inputs(self, job: str, record: JobRecord) -> JobPageInputs:
        up = self._registry.slots_up()
        outcome = self._jobs.outcome(job)
        if outcome is not None:
            return replace(_finished_inputs(outcome, record), up=up)
        return JobPageInputs(
            view=self._jobs.view(job),
            rows=self._jobs.stage_rows(job),
            metrics=self._jobs.metrics(job, now=wall_s()),
            running=self._jobs.live[job].progress.running(record, now=wall_s()),
            up=up,
        )

    def _slots(self) -> dict[str, int]:
        return {session.worker_id: session.slots for session in self._registry.all()}


def _finished_inputs(outcome: FinishedJob, record: JobRecord) -> JobPageInputs:
    succeeded = outcome.view.status is JobStatus.SUCCEEDED
    return JobPageInputs(
        view=outcome.view,
        rows=record.stage_rows() if "stages" in outcome.missing else outcome.stages,
        metrics=record.metrics() if "metrics" in outcome.missing else outcome.metrics,
        outputs=[NodeResult.of(result) for result in outcome.results] if succeeded else [],
        files=[
            OutputFiles(**sink.model_dump(exclude={"files"}), files=len(sink.files))
            for sink in outcome.sinks
        ],
    )
