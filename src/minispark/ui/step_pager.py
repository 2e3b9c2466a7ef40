"""The story of a job as pages of steps."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from heapq import nsmallest

from pydantic import BaseModel, TypeAdapter

from minispark.journal.rows import Row
from minispark.observe.record import JobRecord
from minispark.observe.story import JournalStep, story

STEPS_PER_PAGE = 250
"""Steps in one page: about 150 kB, created in some 20 ms."""
_MAX_DECISIONS = 40
_MAX_WORKERS = 12


_steps: TypeAdapter[list[JournalStep]] = TypeAdapter(list[JournalStep])


class StoryDocument(BaseModel):
    """Consecutive steps of a job; ``first`` is the number of the first step, from 1."""

    job_id: str
    first: int
    total: int
    """Number of all steps of the job."""
    steps: list[JournalStep]


class StepPager:
    """The story of a job, page by page; it takes each row once and in order.

    ``record`` must be new; the rows are applied to it.
    """

    def __init__(self, record: JobRecord) -> None:
        self.last_seq = 0
        """Number of the last row."""
        self._record = record
        self._pages: list[bytes] = []
        """Full pages, as compressed JSON: there may be many, and steps are similar."""
        self._open: list[JournalStep] = []

    @property
    def count(self) -> int:
        """Number of steps so far."""
        return len(self._pages) * STEPS_PER_PAGE + len(self._open)

    def take(self, rows: Iterable[Row]) -> None:
        """Add the steps of the next rows."""
        for step in story(rows, self._record):
            self._open.append(_bounded(step))
            self.last_seq = step.seq
            if len(self._open) == STEPS_PER_PAGE:
                self._pages.append(zlib.compress(_steps.dump_json(self._open), 1))
                self._open = []

    def page(self, step: int, *, total: int) -> StoryDocument:
        """Return the page with a step, or the last page."""
        number = (max(1, min(step, self.count)) - 1) // STEPS_PER_PAGE
        steps = self._open
        if number < len(self._pages):
            steps = _steps.validate_json(zlib.decompress(self._pages[number]))
        first = number * STEPS_PER_PAGE + 1
        return StoryDocument(
            job_id=self._record.job_id, first=first, total=max(total, self.count), steps=list(steps)
        )


def _bounded(step: JournalStep) -> JournalStep:
    """Return a step with only its busiest workers and first decisions."""
    busy = nsmallest(_MAX_WORKERS, step.workers.items(), key=lambda pair: (-pair[1], pair[0]))
    return replace(
        step,
        workers=dict(busy),
        decided=step.decided[:_MAX_DECISIONS],
        more=max(0, len(step.decided) - _MAX_DECISIONS),
    )
