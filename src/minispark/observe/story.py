"""A job's journal as a story: events, decisions with reasons, and the job's progress.

Covers: the steps of a story as plain values. Does not cover: the sentences (`story_words`), the
source of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minispark.journal.decisions import Decision
from minispark.journal.rows import Row
from minispark.observe.projection import fold
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import StageState
from minispark.observe.story_words import ExplainedDecision, describe_decision, describe_row
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
    """The progress of a stage, in tasks."""

    stage: int
    tasks: int
    waiting: int
    running: int
    done: int
    generation: int


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One row of the journal in words, and the job's progress after it."""

    seq: int
    at: float
    what: str
    waiting: int
    running: int
    done: int
    stages: list[StageCount]
    workers: dict[str, int]
    """Number of attempts of the job, by worker."""
    decided: list[ExplainedDecision]
    more: int = 0
    """Number of decisions that are not in the list."""


def story(rows: Iterable[Row], record: JobRecord) -> Iterator[JournalStep]:
    """Yield rows of a job in words; ``record`` has the rows before, and the rows are applied to it.

    Decisions about other jobs are left out.
    """
    for row in rows:
        fold(record, (row,))
        stages = [_count(state) for state in record.stages.values()]
        decisions = (decision for decision in row.decisions if _concerns(decision, record.job_id))
        yield JournalStep(
            seq=row.seq,
            at=row.at,
            what=describe_row(row, record.job_id),
            waiting=sum(stage.waiting for stage in stages),
            running=sum(stage.running for stage in stages),
            done=sum(stage.done for stage in stages),
            stages=stages,
            workers=record.loads(),
            decided=list(map(describe_decision, decisions)),
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
