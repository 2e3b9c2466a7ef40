"""What docs/polars.md says of each operator. A module of rules names its operators beside its code.

A module with a rule has a tuple ``OPERATORS``; the table on the page is made from all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

import minispark.plan.rules


@dataclass(frozen=True, slots=True)
class OperatorText:
    """A row of the table: what a user writes, how it is split, and what runs in one task."""

    calls: str
    split: str
    whole: str = ""
    """Forms of it that gather their input, and why; empty if there are none."""


def operators() -> Iterator[OperatorText]:
    """Return the operators of all rules."""
    for module in iter_modules(minispark.plan.rules.__path__, "minispark.plan.rules."):
        yield from getattr(import_module(module.name), "OPERATORS", ())


def operators_table() -> str:
    """Return the table of all operators in Markdown."""
    rows = sorted(
        (operator.calls, operator.split, operator.whole or "nothing") for operator in operators()
    )
    lines = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(("| operator | how it is split | what gathers |", "|---|---|---|", *lines))
