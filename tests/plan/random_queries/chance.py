"""Draws from a seed, over the columns of a frame.

A column whose name begins with ``x_`` holds floats that depend on the order of summation: they are
compared with a tolerance, and never decide which rows there are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

LOOSE = "x_"

Test = Callable[[pl.DataType], bool]


def _number(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or dtype.is_decimal()


_KINDS: dict[str, Test] = {
    "any": lambda dtype: True,
    "number": _number,
    "integer": lambda dtype: dtype.is_integer(),
    "float": lambda dtype: dtype.is_float(),
    "decimal": lambda dtype: dtype.is_decimal(),
    "text": lambda dtype: dtype == pl.String,
    "boolean": lambda dtype: dtype == pl.Boolean,
    "date": lambda dtype: dtype == pl.Date,
    "moment": lambda dtype: dtype == pl.Datetime,
    "duration": lambda dtype: dtype == pl.Duration,
    "temporal": lambda dtype: dtype.is_temporal(),
    "category": lambda dtype: dtype in (pl.Categorical, pl.Enum),
    "categorical": lambda dtype: dtype == pl.Categorical,
    "list": lambda dtype: dtype == pl.List,
    "numbers": lambda dtype: dtype == pl.List(pl.Int64),
    "words": lambda dtype: dtype == pl.List(pl.String),
    "struct": lambda dtype: dtype == pl.Struct,
    "array": lambda dtype: isinstance(dtype, pl.Array) and len(dtype.shape) == 1,
    "binary": lambda dtype: dtype == pl.Binary,
    "flat": lambda dtype: not dtype.is_nested(),
    "ordered": lambda dtype: not dtype.is_nested() and dtype not in (pl.Binary, pl.Null),
}


class NothingToTakeError(Exception):
    """The frame has no column of the kind that is needed."""


@dataclass(slots=True)
class Chance:
    """Draws from a seed, over the columns of the frame as it is at present."""

    dice: random.Random
    schema: Mapping[str, pl.DataType] = field(default_factory=dict)
    ordered: bool = True
    """Whether Polars promises the order of the rows."""
    names: int = 0

    def of(self, kind: str) -> list[str]:
        """Return the columns of a kind; none whose floats are inexact."""
        return [
            name
            for name, dtype in self.schema.items()
            if _KINDS[kind](dtype) and not name.startswith(LOOSE)
        ]

    def column(self, *kinds: str) -> str:
        """Draw one column of these kinds and return its name."""
        names = [name for kind in kinds for name in self.of(kind)]
        if not names:
            raise NothingToTakeError
        return self.dice.choice(names)

    def columns(self, kind: str, low: int, high: int) -> list[str]:
        """Draw several columns, in the order of the frame."""
        names = self.of(kind)
        if len(names) < low:
            raise NothingToTakeError
        drawn = set(self.dice.sample(names, min(len(names), self.dice.randint(low, high))))
        return [name for name in names if name in drawn]

    def chance(self, share: float) -> bool:
        """Return True in a share of the cases."""
        return self.dice.random() < share

    def pick(self, values: Sequence[str]) -> str:
        """Draw one of these texts."""
        return self.dice.choice(values)

    def name(self, prefix: str = "n") -> str:
        """Return a column name that is new in this query."""
        self.names += 1
        return f"{prefix}{self.names}"
