"""One task: the states it goes through and what is remembered over its attempts.

Covers: states, the table of arrows between them. Does not cover: when an arrow is taken (`core`),
what makes a task needed (`lineage`).

`IDLE` is the hub: whatever goes wrong with an attempt or a block, the task is idle again, and
whether it runs once more is asked anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.ids import TaskKey
from minispark.scheduler.reasons import FIRST, Reason


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody needs its rows now: not yet, not any more, or it is about to be asked again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Needed, and some of its input is not there."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Needed, its input is there: in the queue."""


@dataclass(frozen=True, slots=True)
class Leased:
    """An attempt is queued or running on a worker. ``inputs`` are (stage, generation)."""

    key: TaskKey
    worker: str
    inputs: tuple[tuple[int, int], ...] = ()
    since_s: float = 0.0
    speculative: bool = False
    """It was the second of two."""
    raced: bool = False
    """It had a second beside it, and outlived it: it gets no other."""


@dataclass(frozen=True, slots=True)
class Racing:
    """Two attempts run, since the first takes long. Whichever report comes first is accepted."""

    first: Leased
    second: Leased


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt was accepted and its block can be read."""

    key: TaskKey
    worker: str
    receipt: Receipt
    moved_s: float | None = None
    """When it came there from another worker."""
    found: bool = False
    """It is of an earlier job, out of a cache that may drop it at any time."""


Live = Leased | Racing
TaskState = Idle | Waiting | Ready | Leased | Racing | Done

IDLE: Final = Idle()
WAITING: Final = Waiting()
READY: Final = Ready()

TASK_ARROWS: Final[Mapping[tuple[type, type], str]] = {
    (Idle, Waiting): "needed, input incomplete",
    (Idle, Ready): "needed, input complete",
    (Idle, Done): "found in a cache",
    (Waiting, Ready): "input complete",
    (Waiting, Idle): "no longer needed",
    (Ready, Waiting): "input lost",
    (Ready, Idle): "no longer needed",
    (Ready, Leased): "launched",
    (Leased, Done): "report accepted",
    (Leased, Idle): "failed, lost, taken back or rolled back",
    (Leased, Racing): "second attempt launched",
    (Racing, Leased): "one of the two failed, was lost or taken back",
    (Racing, Done): "report accepted, the other cancelled",
    (Racing, Idle): "rolled back",
    (Done, Idle): "block lost or rolled back",
}


def leases_in(state: TaskState) -> tuple[Leased, ...]:
    """Return the live attempts of a task."""
    match state:
        case Leased():
            return (state,)
        case Racing(first, second):
            return first, second
        case _:
            return ()


class IllegalMoveError(Exception):
    """A defect of the scheduler: an arrow that is not in the table."""


@dataclass(slots=True)
class Task:
    """A task and its memory. Attempt numbers and charges only grow."""

    state: TaskState = IDLE
    attempts: int = 0
    """Attempts launched so far: the number of the next one."""
    charged: int = 0
    """Attempts that were the task's own fault."""
    losses: int = 0
    """Attempts or blocks that were lost with a worker."""
    refetched: int = 0
    """Attempts that found an input block gone."""
    error_messages: tuple[str, ...] = ()
    """What its attempts failed with, where the task's own work raised."""
    exit_reasons: tuple[str, ...] = ()
    """How the executors ended that it ended."""
    avoid: tuple[str, ...] = ()
    """Workers on which it failed: not asked again while there is another."""
    why: Reason | None = FIRST
    """Why its next attempt is launched; None where the first release did not keep it."""
    published_receipt: Receipt | None = None
    """Receipt of an output that consumers of this generation may have read."""

    def move(self, to: TaskState) -> None:
        """Take an arrow of the table; raise IllegalMoveError for any other, changing nothing."""
        if (type(self.state), type(to)) not in TASK_ARROWS:
            msg = f"a task cannot go from {self.state} to {to}"
            raise IllegalMoveError(msg)
        self.state = to

    def avoid_worker(self, worker: str) -> None:
        """Ask somebody else next time, if there is anybody."""
        if worker not in self.avoid:
            self.avoid = (*self.avoid, worker)
