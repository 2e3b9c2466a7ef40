"""One task: its states, and its counters over all attempts.

Covers: states, the table of arrows between them. Does not cover: when an arrow is taken (`core`),
what makes a task needed (`lineage`).

`IDLE` is the hub: after any loss of an attempt or a block the task is idle again, and the scheduler
decides again whether it must run.
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
    """Not needed: not yet, not any more, or not decided yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Needed, but some of its input is missing."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Needed, with complete input: in the queue."""


@dataclass(frozen=True, slots=True)
class Leased:
    """An attempt is queued or running on a worker. ``inputs`` are (stage, generation)."""

    key: TaskKey
    worker: str
    inputs: tuple[tuple[int, int], ...] = ()
    since_s: float = 0.0
    speculative: bool = False
    """Whether it was started beside a slow attempt."""
    raced: bool = False
    """Whether a second attempt beside it has ended: it gets no other."""


@dataclass(frozen=True, slots=True)
class Racing:
    """Two attempts run, because the first is slow. The first report is accepted."""

    first: Leased
    second: Leased


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt was accepted and its block can be read."""

    key: TaskKey
    worker: str
    receipt: Receipt
    moved_s: float | None = None
    """When the block came to this worker from another one."""
    found: bool = False
    """Whether it is of an earlier job, in a cache that may drop it at any time."""


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
    """A bug in the scheduler: an arrow that is not in the table."""


@dataclass(slots=True)
class Task:
    """A task and its counters, which only grow."""

    state: TaskState = IDLE
    attempts: int = 0
    """Attempts launched so far, and the number of the next one."""
    charged: int = 0
    """Attempts that failed by the task itself."""
    losses: int = 0
    """Attempts or blocks that were lost with a worker."""
    refetched: int = 0
    """Attempts that found an input block gone."""
    error_messages: tuple[str, ...] = ()
    """Error messages of attempts in which the task itself raised."""
    exit_reasons: tuple[str, ...] = ()
    """Exit reasons of executor processes that this task killed."""
    avoid: tuple[str, ...] = ()
    """Workers on which it failed: they are avoided while there is another."""
    why: Reason | None = FIRST
    """Why its next attempt is launched; None in a snapshot of the first release."""
    published_receipt: Receipt | None = None
    """Receipt of an output that readers of this generation may have read."""

    def move(self, to: TaskState) -> None:
        """Take an arrow of the table; raise IllegalMoveError for any other, changing nothing."""
        if (type(self.state), type(to)) not in TASK_ARROWS:
            msg = f"a task cannot go from {self.state} to {to}"
            raise IllegalMoveError(msg)
        self.state = to

    def avoid_worker(self, worker: str) -> None:
        """Prefer other workers for the next attempt."""
        if worker not in self.avoid:
            self.avoid = (*self.avoid, worker)
