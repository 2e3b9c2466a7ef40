"""Makes what is shown of a job, at work or ended, and keeps what was made while it holds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from minispark.clock import monotonic_s, wall_s
from minispark.master.control.components import Components
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.recovery.history import JobHistory
from minispark.master.views.explanations import Explanations
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import JobStatus
from minispark.ui import (
    JobPage,
    JobPageInputs,
    OutputFiles,
    OutputRows,
    Timeline,
    job_page_of,
    timeline_of,
)

_END = -1
"""The version of a job that has ended."""
_KEPT = 8
"""Jobs that are looked at again and again; of the largest it is some MB each."""
_FRESH_S = 0.4
"""However many look at a running job, it is summed up so often at most."""
_SHARE = 10.0
"""A document of a running job does for so many times the time that it took: a tenth of the event
loop is what those who watch get."""

Made = TypeVar("Made")


class _Kept(Generic[Made]):
    """Documents by job, with the version they are of and the time when they were made."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, float, Made]] = OrderedDict()
        """By job: version, until when it does for a later version too, document."""

    def get(self, job: str, version: int) -> Made | None:
        known = self._kept.get(job)
        if known is None:
            return None
        of, until_s, made = known
        does = of == version or (version != _END and monotonic_s() < until_s)
        return made if does else None

    def put(self, job: str, version: int, made: Made, *, took_s: float) -> Made:
        until_s = monotonic_s() + max(_FRESH_S, _SHARE * took_s)
        self._kept[job] = (version, until_s, made)
        self._kept.move_to_end(job)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made


class JobPages:
    """Answers with documents of jobs.

    A job at work is summed up on the event loop, which alone changes it; one that has ended does
    not change, so that is done beside it.
    """

    def __init__(self, parts: Components, history: JobHistory) -> None:
        self._parts = parts
        self._history = history
        self._sheets: _Kept[JobPage] = _Kept()
        self._timelines: _Kept[Timeline] = _Kept()
        self.stories = Explanations(history)

    async def sheet(self, job: str) -> JobPage:
        """Return everything that the page of a job shows.

        Raises
        ------
        RefusedError
            There is no such job.
        """

        def make(record: JobRecord) -> JobPage:
            return job_page_of(record, self._shown(job, record), now=wall_s())

        return await self._made(self._sheets, job, make)

    async def timeline(self, job: str) -> Timeline:
        """Return all attempts of a job, laid into lanes."""
        slots = self._slots()
        return await self._made(
            self._timelines, job, lambda record: timeline_of(record, slots=slots, now=wall_s())
        )

    async def _made(self, kept: _Kept[Made], job: str, make: Callable[[JobRecord], Made]) -> Made:
        book = self._parts.jobs
        view, ended = book.view(job), book.outcome(job) is not None
        known = kept.get(job, _END if ended else view.version)
        if known is not None:
            return known
        record = await self._history.record(job)
        start = monotonic_s()
        if ended:
            made = await asyncio.to_thread(make, record)
            return kept.put(job, _END, made, took_s=0.0)
        made = make(record)
        return kept.put(job, view.version, made, took_s=monotonic_s() - start)

    def _shown(self, job: str, record: JobRecord) -> JobPageInputs:
        book = self._parts.jobs
        outcome = book.outcome(job)
        if outcome is not None:
            return replace(_shown_outcome(outcome, record), up=self._up())
        return JobPageInputs(
            up=self._up(),
            view=book.view(job),
            rows=book.stage_rows(job),
            metrics=book.metrics(job, now=wall_s()),
        )

    def _up(self) -> int:
        return sum(entry.slots for entry in self._parts.registry.up())

    def _slots(self) -> dict[str, int]:
        return {entry.worker_id: entry.slots for entry in self._parts.registry.all()}


def _shown_outcome(outcome: FinishedJob, record: JobRecord) -> JobPageInputs:
    return JobPageInputs(
        view=outcome.view,
        rows=record.stage_rows() if "stages" in outcome.missing else outcome.stages,
        metrics=record.metrics() if "metrics" in outcome.missing else outcome.metrics,
        outputs=[
            OutputRows(
                node=result.node,
                columns=list(result.columns),
                rows=result.rows,
                bytes=sum(block.meta.length for block in result.blocks),
            )
            for result in outcome.results
            if outcome.view.status is JobStatus.SUCCEEDED
        ],
        files=[
            OutputFiles(**sink.model_dump(exclude={"files"}), files=len(sink.files))
            for sink in outcome.sinks
        ],
    )
