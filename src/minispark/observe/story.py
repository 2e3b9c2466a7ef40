"""A job's journal as a story: what happened, what the scheduler knew then, what it decided and why.

Covers: `Storyteller` and what it returns, plain values. Does not cover: the sentences
(`story_words`), what is known of the job meanwhile (`story_state`), where the rows come from.

The journal names events and decisions, no reasons: the rule behind a decision is what can be told
from the rows before it. See ``docs/states.md`` for the rules themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minispark.journal.rows import Row
from minispark.observe.story_state import Known, Progress
from minispark.observe.story_words import Deed, Together, happening, tell
from minispark.scheduler.commands import ReportAccepted, ReportDropped


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One row of the journal, told."""

    seq: int
    at: float
    what: str
    knew: Known
    """When it decided: with what had happened, before what it did."""
    decided: tuple[Deed, ...]


class Storyteller:
    """Tells the rows of one job, oldest first, one after the other.

    ``job`` is the one that they were asked for: decisions about other jobs, which a row may hold
    too, are left out.
    """

    def __init__(self, job: str | None = None) -> None:
        self._progress = Progress(job)

    def tell(self, row: Row) -> JournalStep:
        """Tell the next row."""
        progress = self._progress
        what = happening(progress, row)
        progress.take(row)
        knew = progress.known()
        together = Together(row)
        decided: list[Deed] = []
        for decision in row.decisions:
            if isinstance(decision, ReportAccepted | ReportDropped):
                continue  # Part of what happened.
            if progress.concerns(decision):
                decided.append(tell(progress, decision, together))
                progress.carry_out(decision)
        return JournalStep(row.seq, row.at, what, knew, tuple(decided))


def story(rows: Iterable[Row], *, job: str | None = None) -> list[JournalStep]:
    """Tell all rows of one job."""
    teller = Storyteller(job)
    return [teller.tell(row) for row in rows]
