"""How far a job is and how long it still takes, from what is known of its stages.

A stage weighs as much as the time that its tasks take together, not as its number of tasks. That
time is measured as soon as a task has ended, or has read enough of its input; before that it
follows from the bytes that the stage reads and the speed of the measured stages. So the estimate
says how sure it is: ``about`` if nearly all that is left is measured, ``at least`` if more than
that is left but not known, and no time if nothing is measured.

Pure: no clock, no state.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Sureness = Literal["about", "at least"]

_BYTE_S = 5e-9
"""Seconds for a byte where nothing is measured: 200 MB/s. Only the ratio of stages counts then."""
_LIGHT = 0.05
"""A stage that only counts line breaks takes this part of the time of one that reads rows."""
_TASK_S = 0.002
"""The shortest time of a task: it has to be sent, started and reported."""
_MIN_SHARE = 0.05
"""A smaller part of the input gives no estimate."""
_MAX_SHARE = 0.95
"""Of a task whose input says nothing, at most this is taken for done, however long it runs."""
_OVERDUE = 1.5
"""A task that has run for this many times the mean of its stage shows that the mean is too low."""
_UNKNOWN = 0.25
"""If more than this part of the time left is not measured, the rest is a lower bound."""
_SIMULATED = 500
"""Of more tasks, the time is the sum divided by the slots."""
_ALMOST = 99.9


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A running attempt: how long it has run, and the part of its input that it has read.

    ``share`` is None where the reader says nothing.
    """

    ran_s: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class StageWork:
    """What is known of the work of a stage. ``tasks`` are those that have to run."""

    tasks: int
    done: int
    done_s: float
    """Time of the tasks that are done, together."""
    bytes: float
    """Bytes that all tasks read, expected where they are not known."""
    running: tuple[RunningTask, ...] = ()
    light: bool = False
    """It only counts something in the bytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How far a job is. ``left_s`` is None if nothing is measured."""

    percent: float
    stages: tuple[float, ...]
    """The percent of each stage."""
    left_s: float | None = None
    sure: Sureness | None = None


@dataclass(frozen=True, slots=True)
class _Stage:
    work: StageWork
    task_s: float
    measured: bool

    @property
    def running(self) -> list[tuple[float, float]]:
        """The seconds that each running task has done, and those that it has left."""
        return [self._split(task) for task in self.work.running]

    def _split(self, task: RunningTask) -> tuple[float, float]:
        if task.share is not None and task.share >= _MIN_SHARE:
            return task.ran_s, task.ran_s * (1 - task.share) / task.share
        if task.ran_s <= self.task_s * _MAX_SHARE:
            return task.ran_s, self.task_s - task.ran_s
        return task.ran_s, task.ran_s * (1 - _MAX_SHARE) / _MAX_SHARE

    @property
    def waiting(self) -> int:
        """Tasks that have not begun."""
        return max(0, self.work.tasks - self.work.done - len(self.work.running))

    @property
    def done_s(self) -> float:
        return self.work.done * self.task_s + sum(done for done, _ in self.running)

    @property
    def left_s(self) -> float:
        return self.waiting * self.task_s + sum(left for _, left in self.running)

    @property
    def percent(self) -> float:
        total_s = self.done_s + self.left_s
        if self.work.done >= self.work.tasks or total_s <= 0:
            return 100.0
        return min(_ALMOST, 100.0 * self.done_s / total_s)

    @property
    def sure(self) -> bool:
        """Whether the time that is left is measured."""
        told = all(
            (task.share or 0.0) >= _MIN_SHARE or task.ran_s <= _OVERDUE * self.task_s
            for task in self.work.running
        )
        return self.measured and told

    def wall_s(self, slots: int) -> float:
        """Return the time until its last task ends, on a number of slots."""
        left = sorted((left for _, left in self.running), reverse=True)
        slots = max(1, slots, len(left))
        if self.waiting > _SIMULATED:
            return max(self.left_s / slots, *left, self.task_s)
        free_at = [0.0] * (slots - len(left)) + left
        heapq.heapify(free_at)
        for _ in range(self.waiting):
            heapq.heapreplace(free_at, free_at[0] + self.task_s)
        return max(free_at)


def estimate(stages: Sequence[StageWork], *, slots: int) -> Estimate:
    """Return how far a job is, and how long it still takes on a number of slots.

    Parameters
    ----------
    stages
        The stages of the job, in the order in which they run.
    slots
        Tasks that the workers run at a time; 0 if there is no worker: then there is no estimate.
    """
    timed = _timed(stages)
    total_s = sum(stage.done_s + stage.left_s for stage in timed)
    done_s = sum(stage.done_s for stage in timed)
    open_stages = [stage for stage in timed if stage.work.done < stage.work.tasks]
    percent = 100.0 if not open_stages else min(_ALMOST, 100.0 * done_s / max(total_s, _TASK_S))
    shares = tuple(round(stage.percent, 1) for stage in timed)
    plain = Estimate(round(percent, 1), shares)
    known_s = sum(stage.wall_s(slots) for stage in open_stages if stage.measured)
    sure_s = sum(stage.wall_s(slots) for stage in open_stages if stage.sure)
    all_s = sum(stage.wall_s(slots) for stage in open_stages)
    if slots <= 0 or known_s <= 0:
        return plain
    if all_s - sure_s <= _UNKNOWN * all_s:
        return Estimate(plain.percent, shares, all_s, "about")
    return Estimate(plain.percent, shares, known_s, "at least")


def _timed(stages: Sequence[StageWork]) -> list[_Stage]:
    """Return the stages with the time of a task: measured, or from the bytes that it reads."""
    measured = [_measured_task_s(work) for work in stages]
    pairs = [(work, task_s) for work, task_s in zip(stages, measured, strict=True) if task_s]
    read = sum(_weight(work) for work, _ in pairs)
    seconds = sum(work.tasks * task_s for work, task_s in pairs)
    byte_s = seconds / read if read > 0 else _BYTE_S
    return [
        _Stage(work, task_s, measured=True)
        if task_s
        else _Stage(work, max(_TASK_S, _weight(work) * byte_s / max(1, work.tasks)), measured=False)
        for work, task_s in zip(stages, measured, strict=True)
    ]


def _weight(work: StageWork) -> float:
    return work.bytes * (_LIGHT if work.light else 1.0)


def _measured_task_s(work: StageWork) -> float | None:
    """Return the mean time of a task, None if no task has ended or read enough."""
    told = [
        task.ran_s / task.share
        for task in work.running
        if task.share is not None and task.share >= _MIN_SHARE
    ]
    count = work.done + len(told)
    return max(_TASK_S, (work.done_s + sum(told)) / count) if count else None


def left_words(left_s: float | None, sure: Sureness | None) -> str | None:
    """Return ``about 40 s left`` or ``at least 2 min left``, None if there is no estimate."""
    if left_s is None or sure is None:
        return None
    return f"{sure} {_round_words(left_s)} left"


def _round_words(seconds: float) -> str:
    """Return a time with as many digits as an estimate deserves."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
