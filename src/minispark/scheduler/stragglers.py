"""Which attempts are stragglers: so slow that a second attempt beside them may be faster.

1. At least ``speculation_quantile`` of the stage's tasks are done: before that "slow" is not known.
2. The attempt has had its slot for ``speculation_multiplier`` times the median of its stage, and
   for ``speculation_min_s``.
3. Never in an indeterminate stage: a second run may give other rows, or do something twice. Any
   stage with a Python function that was not declared deterministic is indeterminate.
4. A task has at most two attempts at a time, and an attempt gets a second one only once.
5. Only if a slot is free and nothing else is ready, on a fit worker on which the task has not
   failed.

Covers: rules 1 to 4 and when they become true. Does not cover: launching (`launching`), which of
the two is accepted (`reports`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from minispark.plan.stages import Label
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, State
from minispark.settings import SchedulerSettings


def note(state: State, job: JobRun, stage: StageRun, settings: SchedulerSettings) -> None:
    """Register a stage as a candidate after a task of it became done, or lost its block."""
    if settings.speculation and stage.is_closing(settings.speculation_quantile):
        state.speculation_candidates[job.name, stage.id] = None
        since_s = next(iter(stage.started.values()), inf)
        state.next_straggler_check_s = min(
            state.next_straggler_check_s, since_s + straggler_after_s(stage, settings)
        )


def look_from_s(state: State, settings: SchedulerSettings) -> float:
    """Return the time before which no attempt can be a straggler."""
    if not state.speculation_candidates:
        return inf
    return min(state.next_straggler_check_s, state.begun_s + settings.speculation_min_s)


def stages(state: State, settings: SchedulerSettings) -> Iterator[StageRun]:
    """Yield the stages that may have stragglers."""
    for name, number in list(state.speculation_candidates):
        job = state.jobs.get(name)
        stage = None if job is None else job.stages.get(number)
        if stage is None or not stage.is_closing(settings.speculation_quantile):
            del state.speculation_candidates[name, number]
        elif stage.label is not Label.INDETERMINATE:
            yield stage


def straggler_after_s(stage: StageRun, settings: SchedulerSettings) -> float:
    """Return how long an attempt of a stage may run before it is a straggler."""
    typical_s = stage.typical_s or 0.0
    return max(settings.speculation_min_s, settings.speculation_multiplier * typical_s)


def deadline(state: State, settings: SchedulerSettings, now: float) -> float:
    """Return when an attempt will be a straggler, infinity for never."""
    if state.runnable_jobs or not state.worker_index.fit.free:
        return inf
    due = (
        since_s + straggler_after_s(stage, settings)
        for stage in stages(state, settings)
        for since_s in stage.started.values()
    )
    return min((due_s for due_s in due if due_s > now), default=inf)
