"""The story of a job as a document: step by step what was known and decided."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from heapq import nsmallest

from pydantic import BaseModel, TypeAdapter

from minispark.journal.rows import Row
from minispark.observe.story import JournalStep, Storyteller

STEPS_PER_PAGE = 250
"""Steps that are asked for at a time: about 150 kB, told in some 20 ms."""
_MAX_DEEDS = 40
_MAX_WORKERS = 12


class ToldStage(BaseModel, from_attributes=True):
    """How far a stage was."""

    stage: int
    tasks: int
    running: int
    done: int


class ToldDeed(BaseModel, from_attributes=True):
    """What was decided, and by which rule."""

    sentence: str
    rule: str


class ToldStep(BaseModel):
    """One line of the journal, told."""

    seq: int
    at: float
    what: str
    waiting: int
    running: int
    done: int
    stages: list[ToldStage]
    workers: dict[str, int]
    """The busiest workers and how many attempts of the job each had."""
    decided: list[ToldDeed]
    more: int = 0
    """Decisions that are not listed."""


_steps: TypeAdapter[list[ToldStep]] = TypeAdapter(list[ToldStep])


class StoryDocument(BaseModel):
    """Steps of a job that follow each other: ``first`` is the number of the first, from 1."""

    job_id: str
    first: int
    total: int
    """How many there are in all."""
    steps: list[ToldStep]


class StepPager:
    """The story of a job, told page by page; lines are taken in order and once."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.last = 0
        """Number of the last line that was told."""
        self._teller = Storyteller(job)
        self._pages: list[bytes] = []
        """Pages that are full, as JSON and packed: steps are much alike, and there may be many."""
        self._open: list[ToldStep] = []

    @property
    def told(self) -> int:
        """How many steps were told."""
        return len(self._pages) * STEPS_PER_PAGE + len(self._open)

    def take(self, rows: Iterable[Row]) -> None:
        """Tell more."""
        for row in rows:
            self._open.append(_told(self._teller.tell(row)))
            self.last = row.seq
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
            job_id=self.job, first=first, total=max(total, self.told), steps=list(steps)
        )


def _told(step: JournalStep) -> ToldStep:
    knew = step.knew
    busy = nsmallest(_MAX_WORKERS, knew.workers.items(), key=lambda pair: (-pair[1], pair[0]))
    return ToldStep(
        seq=step.seq,
        at=step.at,
        what=step.what,
        waiting=knew.waiting,
        running=knew.running,
        done=knew.done,
        stages=[ToldStage.model_validate(stage) for stage in knew.stages],
        workers=dict(busy),
        decided=[ToldDeed.model_validate(deed) for deed in step.decided[:_MAX_DEEDS]],
        more=max(0, len(step.decided) - _MAX_DEEDS),
    )
