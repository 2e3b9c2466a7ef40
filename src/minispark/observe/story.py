"""A job's journal as a story: what happened, what the scheduler knew then, what it decided and why.

Covers: `Storyteller` and what it returns, plain values. Does not cover: the sentences
(`story_words`), what is known of the job meanwhile (`story_state`), where the lines come from.

The journal names facts and decisions, no reasons: the rule behind a decision is what can be told
from the lines before it. See ``docs/states.md`` for the rules themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from minispark.observe.story_state import Known, Progress
from minispark.observe.story_words import Deed, Together, happening, tell

__all__ = ["Deed", "Known", "Line", "Step", "StoryLine", "Storyteller", "story"]


class Line(Protocol):
    """A line of the journal, as ``GET /api/v1/jobs/{id}/events`` gives it."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def kind(self) -> str:
        """What happened, in a word."""

    @property
    def at(self) -> float:
        """When, in seconds since the epoch."""

    @property
    def payload(self) -> Any:
        """What happened, in full."""

    @property
    def decisions(self) -> list[Any]:
        """What was decided then: lists, a command's kind first."""


@dataclass(frozen=True, slots=True)
class StoryLine:
    """A line of the journal as a plain value."""

    seq: int
    kind: str
    at: float
    payload: Any
    decisions: list[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the journal, told."""

    seq: int
    at: float
    what: str
    knew: Known
    """When it decided: with what had happened, before what it did."""
    decided: tuple[Deed, ...]


class Storyteller:
    """Tells the lines of one job, oldest first, one after the other.

    ``job`` is the one that they were asked for: decisions about other jobs, which a line may hold
    too, are left out.
    """

    def __init__(self, job: str | None = None) -> None:
        self._progress = Progress(job)

    def tell(self, line: Line) -> Step:
        """Tell the next line."""
        progress = self._progress
        what = happening(progress, line.kind, line.payload)
        progress.take(line.kind, line.payload)
        knew = progress.known()
        together = Together(line.kind, line.decisions)
        decided: list[Deed] = []
        for kind, *about in line.decisions:
            if progress.concerns(kind, about):
                decided.append(tell(progress, kind, about, together))
                progress.carry_out(kind, about)
        return Step(line.seq, line.at, what, knew, tuple(decided))


def story(events: Iterable[Line], *, job: str | None = None) -> list[Step]:
    """Tell all lines of one job."""
    teller = Storyteller(job)
    return [teller.tell(line) for line in events]
