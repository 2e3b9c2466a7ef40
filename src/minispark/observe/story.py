"""A job's journal as a story: what happened, what was decided and why, how far the job was.

Covers: `story` and what it yields, plain values. Does not cover: the sentences
(`story_words`), where the rows come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minispark.journal.decisions import Decision
from minispark.journal.rows import Row
from minispark.observe.projection import fold
from minispark.observe.record import JobRecord
from minispark.observe.story_words import Deed, happening, tell
from minispark.observe.tables import StageState
from minispark.scheduler.commands import (
    CancelTask,
    CommitJob,
    FinishJob,
    LaunchTask,
    ReleaseJob,
    ReportAccepted,
    ReportDropped,
)


@dataclass(frozen=True, slots=True)
class StageCount:
    """How far a stage is, in tasks."""

    stage: int
    tasks: int
    waiting: int
    running: int
    done: int
    generation: int


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One row of the journal in words, and how far the job was after it."""

    seq: int
    at: float
    what: str
    waiting: int
    running: int
    done: int
    stages: list[StageCount]
    workers: dict[str, int]
    """How many attempts of the job each worker has."""
    decided: list[Deed]
    more: int = 0
    """Decisions that are not listed."""


def story(rows: Iterable[Row], record: JobRecord) -> Iterator[JournalStep]:
    """Yield the next rows of a job in words; ``record`` has those before, and is folded.

    Decisions about other jobs, which a row may hold too, are left out.
    """
    for row in rows:
        fold(record, (row,))
        stages = [_count(state) for state in record.stages.values()]
        decisions = (decision for decision in row.decisions if _concerns(decision, record.job_id))
        yield JournalStep(
            seq=row.seq,
            at=row.at,
            what=happening(row, record.job_id),
            waiting=sum(stage.waiting for stage in stages),
            running=sum(stage.running for stage in stages),
            done=sum(stage.done for stage in stages),
            stages=stages,
            workers=record.loads(),
            decided=list(map(tell, decisions)),
        )


def _count(state: StageState) -> StageCount:
    tasks, running, done = state.stage.partitions, len(state.running), state.tasks_there
    waiting = tasks - running - done
    return StageCount(state.stage.id, tasks, waiting, running, done, state.generation)


def _concerns(decision: Decision, job: str) -> bool:
    """Whether a decision is about a job, or about no job."""
    match decision:
        case ReportAccepted() | ReportDropped():
            return False  # Part of what happened.
        case LaunchTask(key=key) | CancelTask(key=key):
            return key.job == job
        case CommitJob() | FinishJob() | ReleaseJob():
            return decision.job == job
        case _:
            return True
