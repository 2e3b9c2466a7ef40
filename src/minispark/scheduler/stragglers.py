"""Which attempts take so much longer than others that a second one beside them may pay.

1. At least ``speculation_quantile`` of the stage's tasks are done: before that its rest cannot be
   slow.
2. The attempt has had its slot for ``speculation_multiplier`` times the median of its stage, and
   for ``speculation_min_s``.
3. Never in an indeterminate stage: a second run may give other rows, or do something twice.
   Whatever runs a Python function that was not declared deterministic is such a stage.
4. Never a third one, and no other beside one that had one already: what outlived its second
   attempt is waited for.
5. Only where a slot is free and nothing else is ready, on a worker that is fit and on which the
   task has not failed.

Covers: rules 1 to 4 and when they come true. Does not cover: launching (`launching`), who wins
(`reports`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from minispark.scheduler.spec import StageLabel
from minispark.scheduler.state import Stage, State
from minispark.settings import SchedulerSettings

__all__ = ["deadline", "patience_s", "stages"]


def stages(state: State, settings: SchedulerSettings) -> Iterator[Stage]:
    """Yield the stages that may have stragglers."""
    if not settings.speculation:
        return
    for job in state.jobs.values():
        for stage in job.ordered if job.leased else ():
            total = len(stage.tasks)
            late = stage.done < total and stage.done >= settings.speculation_quantile * total
            if late and stage.times_s and stage.label is not StageLabel.INDETERMINATE:
                yield stage


def patience_s(stage: Stage, settings: SchedulerSettings) -> float:
    """Return how long an attempt of a stage may run before it is a straggler."""
    typical_s = stage.typical_s or 0.0
    return max(settings.speculation_min_s, settings.speculation_multiplier * typical_s)


def deadline(state: State, settings: SchedulerSettings, now: float) -> float:
    """Return when an attempt will be a straggler by all that is known, infinity for never."""
    if state.hungry or not state.lines.fit.free:
        return inf
    due = (
        since_s + patience_s(stage, settings)
        for stage in stages(state, settings)
        for since_s in stage.started.values()
    )
    return min((due_s for due_s in due if due_s > now), default=inf)
