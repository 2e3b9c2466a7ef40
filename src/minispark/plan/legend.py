"""What the words of a plan mean: `legend` explains those that occur in a text of `explain`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "task": (
        r"^stage \d",
        "the work of a stage on one partition; tasks of a stage run in parallel",
    ),
    "split": (r"^  reads:  .* splits? in ", "a part of an input file"),
    "quote characters": (
        r"^  reads:  quote characters",
        "counted first, because a line break between quotes does not end a row",
    ),
    "all of": (
        r"^  reads:  all of",
        "each task reads all rows of that stage: a gather (one task) or a broadcast (several)",
    ),
    "its partition of": (
        r"^  reads:  its partition of",
        "task 3 reads partition 3 of what each task of that stage wrote",
    ),
    "the same partition of": (
        r"^  reads:  the same partition of",
        "task 3 reads what task 3 of that stage wrote; no rows move",
    ),
    "shuffle": (
        r"^  writes: shuffle by (?!ranges of)",
        "rows with equal keys go to the same partition",
    ),
    "shuffle by ranges": (
        r"^  writes: shuffle by ranges of",
        "the rows of a partition come before those of the next one, in sort order",
    ),
    "one partition a task": (
        r"^  writes: one partition",
        "a task writes its rows as one partition",
    ),
    "partial": (r"^stage \d+ \(partial", "results of each task, which a later stage combines"),
    "determinate": (r", determinate$", "a second run gives the same rows in the same order"),
    "unordered": (r", unordered$", "a second run gives the same rows, perhaps in another order"),
    "indeterminate": (
        r", indeterminate$",
        "a second run may give other rows; after a loss, the stages that read them run again too",
    ),
    "pushed": (
        r"^  pushed: ",
        "columns, filters and limits that later stages need, applied where files are read",
    ),
    "cached": (r"^  cached: ", "the stage's rows are kept, and read again in place of a run"),
    "whole": (r"^  whole:  ", "why all rows of the stage go to one task of the next one"),
}
"""The pattern of each word in a line of a plan, and what the word means."""


def legend(plan: str) -> str:
    """Return one line for each word of ``plan`` that needs an explanation."""
    meanings = {
        word: meaning
        for word, (pattern, meaning) in _WORDS.items()
        if re.search(pattern, plan, re.MULTILINE)
    }
    width = max(map(len, meanings), default=0)
    return "\n".join(f"  {word:<{width}}  {meaning}" for word, meaning in meanings.items())
