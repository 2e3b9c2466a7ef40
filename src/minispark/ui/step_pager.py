"""The story of a job as a document: step by step what happened and was decided."""

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
"""Steps that are asked for at a time: about 150 kB, told in some 20 ms."""
_MAX_DEEDS = 40
_MAX_WORKERS = 12


_steps: TypeAdapter[list[JournalStep]] = TypeAdapter(list[JournalStep])


class StoryDocument(BaseModel):
    """Steps of a job that follow each other: ``first`` is the number of the first, from 1."""

    job_id: str
    first: int
    total: int
    """How many there are in all."""
    steps: list[JournalStep]


class StepPager:
    """The story of a job, page by page; rows are taken in order and once.

    ``record`` is a new one, which is folded meanwhile.
    """

    def __init__(self, record: JobRecord) -> None:
        self.last = 0
        """Number of the last line that was told."""
        self._record = record
        self._pages: list[bytes] = []
        """Pages that are full, as JSON and packed: steps are much alike, and there may be many."""
        self._open: list[JournalStep] = []

    @property
    def told(self) -> int:
        """How many steps were told."""
        return len(self._pages) * STEPS_PER_PAGE + len(self._open)

    def take(self, rows: Iterable[Row]) -> None:
        """Tell more."""
        for step in story(rows, self._record):
            self._open.append(_bounded(step))
            self.last = step.seq
            if len(self._open) == STEPS_PER_PAGE:
                self._pages.append(zlib.compress(_steps.dump_json(self._open), 1))
                self._open = []

    def page(self, step: int, *, total: int) -> StoryDocument:
        """Return the page that has a step, or the last that there is."""
        number = (max(1, min(step, self.told)) - 1) // STEPS_PER_PAGE
        steps = self._open
        if number < len(self._pages):
            steps = _steps.validate_json(zlib.decompress(self._pages[number]))
        first = number * STEPS_PER_PAGE + 1
        return StoryDocument(
            job_id=self._record.job_id, first=first, total=max(total, self.told), steps=list(steps)
        )


def _bounded(step: JournalStep) -> JournalStep:
    """Return a step with its busiest workers and first decisions only."""
    busy = nsmallest(_MAX_WORKERS, step.workers.items(), key=lambda pair: (-pair[1], pair[0]))
    return replace(
        step,
        workers=dict(busy),
        decided=step.decided[:_MAX_DEEDS],
        more=max(0, len(step.decided) - _MAX_DEEDS),
    )
