"""A table with a column of every dtype, whose name is that of its kind."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl

ROWS = 120
_EPOCH = dt.datetime(1969, 12, 20)


def every_dtype() -> pl.DataFrame:
    """Return rows with nulls, NaN and -0.0, keys ``k`` and numbers ``y`` to filter by."""
    dice = random.Random(5)
    columns = {
        name: pl.Series(
            [None if dice.random() < 0.2 else draw(dice) for _ in range(ROWS)],
            dtype=dtype,
        )
        for name, (dtype, draw) in _COLUMNS.items()
    }
    keys = [("a", "b", None, "c", "d")[n * 7 % 11 % 5] for n in range(ROWS)]
    numbers = [None if n % 9 == 0 else n * 37 % 50 - 20 for n in range(ROWS)]
    return pl.DataFrame({"k": keys, "y": numbers, **columns})


def _moment(dice: random.Random) -> dt.datetime:
    return _EPOCH + dt.timedelta(minutes=dice.randint(0, 40_000))


def _float(dice: random.Random) -> float:
    return dice.choice([math.nan, -0.0, 0.0, *[dice.randint(-99, 99) / 8] * 9])


def _items(dice: random.Random) -> list[int | None]:
    return [dice.choice([None, 1, 2]) for _ in range(dice.randint(0, 3))]


def _point(dice: random.Random) -> dict[str, Any]:
    return {"x": dice.choice([None, 1, 2]), "y": dice.choice([None, "p", "q"])}


_COLUMNS: dict[str, tuple[Any, Callable[[random.Random], Any]]] = {
    "i8": (pl.Int8, lambda dice: dice.randint(-120, 120)),
    "i16": (pl.Int16, lambda dice: dice.randint(-30_000, 30_000)),
    "i64": (pl.Int64, lambda dice: dice.randint(-5, 5)),
    "i128": (pl.Int128, lambda dice: dice.randint(-(2**100), 2**100)),
    "u8": (pl.UInt8, lambda dice: dice.randint(0, 255)),
    "u64": (pl.UInt64, lambda dice: dice.randint(0, 2**40)),
    "f32": (pl.Float32, _float),
    "f64": (pl.Float64, _float),
    "flag": (pl.Boolean, lambda dice: dice.random() < 0.5),
    "dec": (pl.Decimal(12, 2), lambda dice: Decimal(dice.randint(-9999, 9999)) / 100),
    "wide": (pl.Decimal(38, 4), lambda dice: Decimal(dice.randint(-9999, 9999)) / 100),
    "text": (pl.String, lambda dice: dice.choice(["a", "b", "é", ""])),
    "raw": (pl.Binary, lambda dice: dice.choice([b"a", b"b", b""])),
    "cat": (pl.Categorical, lambda dice: dice.choice(["lo", "mid", "hi"])),
    "enum": (pl.Enum(["z", "y", "x"]), lambda dice: dice.choice("xyz")),
    "day": (pl.Date, lambda dice: _moment(dice).date()),
    "at": (pl.Datetime("ms"), _moment),
    "zoned": (pl.Datetime("us", "Europe/Madrid"), _moment),
    "span": (pl.Duration("us"), lambda dice: dt.timedelta(microseconds=dice.randint(-99, 99))),
    "clock": (pl.Time, lambda dice: _moment(dice).time()),
    "nothing": (pl.Null, lambda dice: None),
    "items": (pl.List(pl.Int64), _items),
    "pair": (pl.Array(pl.Int32, 2), lambda dice: [dice.randint(0, 2), dice.randint(0, 2)]),
    "point": (pl.Struct({"x": pl.Int64, "y": pl.String}), _point),
}
KINDS = tuple(_COLUMNS)
NESTED = ("items", "pair", "point")
