"""A random query as Python text, made from a seed and a number."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import polars.selectors as cs
from polars.exceptions import PanicException, PolarsError
from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.step import Step, put_in_order
from tests.plan.random_queries.steps import STEPS

from minispark.settings import PlanSettings

MAX_ROWS = 60_000
"""Joins that give more rows are left out: the checks would take their time for nothing new."""
FAULTS = (PolarsError, PanicException, TypeError, ValueError, OverflowError, AttributeError)
"""What Polars raises for a query that it does not take."""

SETTINGS = {
    "three, broadcast": PlanSettings(single_task_bytes=0, parallelism=3),
    "three, hash": PlanSettings(single_task_bytes=0, parallelism=3, broadcast_bytes=0),
    "by bytes": PlanSettings(
        single_task_bytes=0, split_bytes=160_000, reduce_bytes=400_000, broadcast_bytes=0
    ),
    "one": PlanSettings(single_task_bytes=0, parallelism=1),
}


@dataclass(frozen=True, slots=True)
class RandomQuery:
    """Statements that make ``q`` from the tables, and how it is cut."""

    lines: tuple[str, ...]
    ordered: bool
    settings: str

    @property
    def text(self) -> str:
        """The statements as a program."""
        return "\n".join(self.lines)


def build(lines: tuple[str, ...], tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Run statements over the tables and return ``q``."""
    names: dict[str, Any] = {"pl": pl, "cs": cs, **tables}
    exec("\n".join(lines), names)  # noqa: S102
    frame: pl.LazyFrame = names["q"]
    return frame


def random_query(seed: int, number: int, tables: Mapping[str, pl.LazyFrame]) -> RandomQuery:
    """Draw a query; the same seed and number always give the same one."""
    dice = random.Random(f"{seed}/{number}")
    settings = dice.choices(list(SETTINGS), [4, 4, 3, 1])[0]
    source = dice.choices(["t", "c", "j", "m", "r"], [8, 3, 3, 1, 1])[0]
    lines: tuple[str, ...] = (f"q = {source}",)
    chance = Chance(dice, dict(tables[source].collect_schema()))
    if dice.random() < 0.7:
        names = chance.columns("any", 3, 8)
        lines = (f"q = {source}.select({names!r})",)
        chance.schema = {name: chance.schema[name] for name in names}
    for _ in range(dice.choice([1, 2, 2, 3, 3, 4, 5])):
        lines = _extended(chance, lines, tables)
    return RandomQuery(lines, chance.ordered, settings)


def _extended(
    chance: Chance, lines: tuple[str, ...], tables: Mapping[str, pl.LazyFrame]
) -> tuple[str, ...]:
    """Add a step that Polars takes, and put the rows in order before it now and then."""
    for _ in range(12):
        tried = lines
        ordered = chance.ordered
        try:
            if not ordered and chance.chance(0.25):
                tried = (*tried, put_in_order(chance).text)
                chance.schema = dict(build(tried, tables).collect_schema())
                chance.ordered = True
            step = _drawn(chance)
            tried = (*tried, step.text)
            frame = build(tried, tables)
            schema = dict(frame.collect_schema())
            if schema and not (_multiplies(step) and _too_large(frame)):
                chance.schema, chance.ordered = schema, step.ordered
                return tried
        except (NothingToTakeError, *FAULTS):
            pass
        chance.schema = dict(build(lines, tables).collect_schema())
        chance.ordered = ordered
    return lines


def _drawn(chance: Chance) -> Step:
    (maker,) = chance.dice.choices(list(STEPS), list(STEPS.values()))
    return maker(chance)


def _multiplies(step: Step) -> bool:
    return any(word in step.text for word in ("join", "JOIN", "explode", "concat", "over("))


def _too_large(frame: pl.LazyFrame) -> bool:
    rows = frame.select(pl.len()).collect(engine="in-memory")
    return bool(rows.item() > MAX_ROWS)
