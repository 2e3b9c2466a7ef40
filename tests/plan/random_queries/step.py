"""A step of a random query: Python text that makes ``q`` from ``q``.

A maker of steps that raises `NothingToTakeError` does not fit the frame as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.plan.random_queries.chance import LOOSE, Chance, NothingToTakeError


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, and whether the rows that it gives are in a promised order."""

    text: str
    ordered: bool


def put_in_order(c: Chance) -> Step:
    """Sort by every column: rows that stay ties are equal."""
    inexact = [name for name in c.schema if name.startswith(LOOSE)]
    drop = f".drop({inexact!r})" if inexact else ""
    if len(inexact) == len(c.schema):
        raise NothingToTakeError
    return Step(f"q = q{drop}.sort(pl.all(), maintain_order=True)", ordered=True)


def require_order(c: Chance) -> None:
    """Refuse a frame whose rows have no promised order."""
    if not c.ordered:
        raise NothingToTakeError


def require_exact(c: Chance) -> None:
    """Refuse a frame with floats that depend on the order of summation."""
    if any(name.startswith(LOOSE) for name in c.schema):
        raise NothingToTakeError
