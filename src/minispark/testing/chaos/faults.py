"""The faults of a run and their times, drawn from a seed before the run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A kind of fault; each is repaired after a while."""

    KILL_WORKER = "kill -9 of a worker; another starts in its place"
    RESTART_WORKER = "kill -9 of a worker, started again on its port at once"
    DRAIN_WORKER = "SIGTERM to a worker, which hands over its blocks; another starts"
    STOP_WORKER = "SIGSTOP of a worker for a while"
    ZOMBIE_WORKER = "SIGSTOP of a worker until it is DOWN, then SIGCONT"
    KILL_EXECUTOR = "kill -9 of an executor"
    SEGFAULT_EXECUTOR = "SIGSEGV to an executor"
    KILL_MASTER = "kill -9 of the master, started again on its port and state"
    STOP_MASTER = "SIGSTOP of the master for a while"
    CUT_WORKER = "a worker cut off from the master"
    CUT_BLOCKS = "a worker cut off from those that read its blocks"
    CUT_ALL = "a worker cut off from everybody until it is DOWN"
    DELETE_BLOCK = "a block file deleted"
    CORRUPT_BLOCK = "bytes of a block file changed"


_WEIGHTS = {
    Fault.KILL_WORKER: 3,
    Fault.RESTART_WORKER: 3,
    Fault.DRAIN_WORKER: 3,
    Fault.STOP_WORKER: 2,
    Fault.ZOMBIE_WORKER: 2,
    Fault.KILL_EXECUTOR: 3,
    Fault.SEGFAULT_EXECUTOR: 1,
    Fault.KILL_MASTER: 3,
    Fault.STOP_MASTER: 1,
    Fault.CUT_WORKER: 2,
    Fault.CUT_BLOCKS: 2,
    Fault.CUT_ALL: 2,
    Fault.DELETE_BLOCK: 3,
    Fault.CORRUPT_BLOCK: 3,
}
_FIRST_PERCENT, _LAST_PERCENT = 3.0, 90.0
"""Later faults could strike after the end of the job."""
_SHORT_S, _LONG_S = 0.1, 1.0
_MAX_EXECUTORS = 2
"""A task that loses its executor three times fails its job, which is correct."""
_EXECUTOR_FAULTS = (Fault.KILL_EXECUTOR, Fault.SEGFAULT_EXECUTOR)


@dataclass(frozen=True, slots=True)
class FaultStep:
    """A fault for worker ``victim`` when the job's progress reaches ``after_percent``."""

    after_percent: float
    fault: Fault
    victim: int
    lasts_s: float
    """Duration, for faults without a fixed one."""
    chance: int
    """Random number that decides the rest: which block, which byte, which kind of cut."""


def draw(
    seed: int, number: int, *, faults: int, kinds: Sequence[Fault] = tuple(Fault)
) -> tuple[FaultStep, ...]:
    """Return the faults of job ``number`` under ``seed``, in order of time."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable, not secret
    steps = []
    executors = 0
    for _ in range(faults):
        allowed = [
            kind for kind in kinds if kind not in _EXECUTOR_FAULTS or executors < _MAX_EXECUTORS
        ]
        if not allowed:
            break
        fault = dice.choices(allowed, [_WEIGHTS[kind] for kind in allowed])[0]
        executors += fault in _EXECUTOR_FAULTS
        steps.append(
            FaultStep(
                after_percent=dice.uniform(_FIRST_PERCENT, _LAST_PERCENT),
                fault=fault,
                victim=dice.randrange(1 << 16),
                lasts_s=dice.uniform(_SHORT_S, _LONG_S),
                chance=dice.randrange(1 << 30),
            )
        )
    return tuple(sorted(steps, key=lambda step: step.after_percent))
