"""The story of a job as a document: step by step what was known and decided."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from minispark.observe.story import Line, Step, story

__all__ = ["MAX_LINES", "StoryDocument", "story_document"]

MAX_LINES = 2_000
"""Lines of the journal that are told on a page: each sums up all tasks before it."""
_MAX_DEEDS = 40
_MAX_WORKERS = 12


class ToldStage(BaseModel):
    """How far a stage was."""

    stage: int
    tasks: int
    running: int
    done: int


class ToldDeed(BaseModel):
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


class StoryDocument(BaseModel):
    """The steps of a job; ``cut`` where there are more lines than are told here."""

    job_id: str
    steps: list[ToldStep]
    cut: bool


def story_document(job: str, lines: Iterable[Line], *, cut: bool) -> StoryDocument:
    """Tell a job's lines."""
    return StoryDocument(job_id=job, steps=[_told(s) for s in story(lines, job=job)], cut=cut)


def _told(step: Step) -> ToldStep:
    knew = step.knew
    busy = sorted(knew.workers.items(), key=lambda pair: (-pair[1], pair[0]))[:_MAX_WORKERS]
    return ToldStep(
        seq=step.seq,
        at=step.at,
        what=step.what,
        waiting=knew.waiting,
        running=knew.running,
        done=knew.done,
        stages=[
            ToldStage(stage=s.stage, tasks=s.tasks, running=s.running, done=s.done)
            for s in knew.stages
        ],
        workers=dict(busy),
        decided=[ToldDeed(sentence=d.sentence, rule=d.rule) for d in step.decided[:_MAX_DEEDS]],
        more=max(0, len(step.decided) - _MAX_DEEDS),
    )
