"""Expressions of random queries, as Python text."""

from __future__ import annotations

from collections.abc import Sequence

from tests.plan.random_queries.chance import LOOSE, Chance
from tests.plan.random_queries.templates import (
    ANY_AGGREGATES,
    BOOLEAN_AGGREGATES,
    BY_KIND,
    INEXACT,
    NUMBER_AGGREGATES,
    ORDERED_AGGREGATES,
    POSITIONAL,
    ROW_AGGREGATES,
    ROW_NUMBER_AGGREGATES,
    WHOLE,
)


def _col(name: str) -> str:
    return f"pl.col({name!r})"


def elementwise(c: Chance, *, depth: int = 1) -> str:
    """Return an expression of one value for each row, from that row alone."""
    kind = c.pick([kind for kind in BY_KIND if c.of(kind)] or ["any"])
    column = _col(c.column(kind))
    return "(" + _written(c, c.pick(BY_KIND[kind]), column, kind, depth) + ")"


def _written(c: Chance, template: str, column: str, kind: str, depth: int) -> str:
    other = _col(c.column(kind))
    inner = predicate(c, depth=depth - 1) if "{p}" in template else ""
    return template.format(
        a=column, b=other, o=_col(c.column("any")), n=c.dice.randint(-5, 12), p=inner
    )


def predicate(c: Chance, *, depth: int = 1) -> str:
    """Return a condition on one row."""
    options = []
    if c.of("number"):
        name = _col(c.column("number"))
        options += [f"({name} > {c.dice.randint(-20, 60)})", f"({name} <= {c.dice.randint(-5, 9)})"]
    if c.of("integer"):
        name = _col(c.column("integer"))
        options += [f"({name} % 3 != 1)", f"{name}.is_in([0, 1, 2, 5, 8])"]
    if c.of("text"):
        name = _col(c.column("text"))
        options += [f"{name}.str.contains('b')", f"({name} != 'a')", f"({name} >= 'b')"]
    if c.of("boolean"):
        options.append(_col(c.column("boolean")))
    if c.of("date"):
        options.append(f"({_col(c.column('date'))} > pl.date(2024, 3, 10))")
    if c.of("category"):
        options.append(f"({_col(c.column('category'))}.cast(pl.String) == 'hi')")
    name = _col(c.column("any"))
    options += [f"{name}.is_null()", f"{name}.is_not_null()"]
    chosen = c.pick(options)
    if depth > 0 and c.chance(0.35):
        chosen = f"({chosen} {c.pick('&|')} {predicate(c, depth=depth - 1)})"
    return f"(~{chosen})" if c.chance(0.1) else chosen


def key(c: Chance, kind: str = "flat") -> str:
    """Return an expression to group by, often a plain column."""
    name = c.column(kind)
    if c.chance(0.75):
        return _col(name)
    if c.of("integer") and c.chance(0.5):
        return f"({_col(c.column('integer'))} % 4).alias({c.name('key')!r})"
    return f"{_col(name)}.is_null().alias({c.name('key')!r})"


def aggregate(c: Chance, *, rows: bool | None = None, scalar: bool = False) -> str:
    """Return an aggregate with its name; one that looks at the order of rows only if ``rows``."""
    rows = c.ordered if rows is None else rows
    options: list[tuple[str, tuple[str, ...]]] = [("any", ANY_AGGREGATES)]
    if c.of("number"):
        options += [("number", NUMBER_AGGREGATES)] * 3
    if c.of("ordered"):
        options.append(("ordered", ORDERED_AGGREGATES))
    if c.of("boolean"):
        options.append(("boolean", BOOLEAN_AGGREGATES))
    if rows and not scalar:
        options.append(("any", ROW_AGGREGATES))
        options += [("number", ROW_NUMBER_AGGREGATES)] if c.of("number") else []
    kind, templates = c.dice.choice(options)
    text = _written(c, c.pick(templates), _col(c.column(kind)), kind, 0)
    if scalar and (".head(" in text or "sort().head" in text):
        text = f"{_col(c.column(kind))}.count()"
    return _named(c, text)


def _named(c: Chance, text: str) -> str:
    loose = any(part in text for part in INEXACT)
    return f"({text}).alias({c.name(LOOSE if loose else 'n')!r})"


def whole(c: Chance) -> str:
    """Return an expression that needs all rows, in any order."""
    return _window(c, WHOLE)


def positional(c: Chance) -> str:
    """Return an expression that depends on the order of the rows."""
    return _window(c, POSITIONAL if c.chance(0.8) else WHOLE)


def _window(c: Chance, templates: Sequence[str]) -> str:
    name = c.column("number")
    text = c.pick(templates).format(
        a=_col(name),
        b=_col(c.column("number")),
        g=_col(c.column("flat")),
        h=_col(c.column("flat")),
        o=_col(c.column("ordered")),
    )
    loose = (
        any(part in text for part in ("mean(", "rolling_", "ewm", "interpolate"))
        and "> " not in text
    )
    return f"({text}).alias({c.name(LOOSE if loose else 'w')!r})"
