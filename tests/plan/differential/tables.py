"""The tables of the suite: every dtype, with nulls, NaN, -0.0 and repeated keys; and odd shapes."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

ROWS = 120
_RIGHT_ROWS = 50
_GROUP = 24
_DAY = dt.date(2024, 2, 20)
_NOON = dt.datetime(2024, 2, 20, 12)

MAIN_SCHEMA: dict[str, Any] = {
    "id": pl.Int64,
    "g": pl.Int64,
    "k": pl.Int32,
    "s": pl.String,
    "f": pl.Float64,
    "h": pl.Float32,
    "i8": pl.Int8,
    "u": pl.UInt32,
    "b": pl.Boolean,
    "cat": pl.Categorical,
    "en": pl.Enum(["z", "y", "x"]),
    "dec": pl.Decimal(12, 2),
    "day": pl.Date,
    "at": pl.Datetime("us", "Europe/Madrid"),
    "tm": pl.Time,
    "dur": pl.Duration("us"),
    "bin": pl.Binary,
    "nul": pl.Null,
    "big": pl.Int128,
    "ls": pl.List(pl.Int64),
    "lw": pl.List(pl.String),
    "st": pl.Struct({"x": pl.Int64, "y": pl.String}),
    "ar": pl.Array(pl.Int32, 2),
}
SHAPES = ("empty", "one", "skew", "ipc", "frame", "parts")
"""Other shapes and sources of the main table; the right table is always the same."""


def write_tables(folder: Path) -> None:
    """Write the tables as Parquet files of small row groups."""
    dice = random.Random(5)
    main = _main(dice)
    frames = {
        "main": main,
        "empty": main.clear(),
        "one": main[17:18],
        "skew": main.with_columns(
            pl.when(pl.col("id") % 10 > 0).then(7).otherwise("g").alias("g"),
            pl.when(pl.col("id") % 10 > 0).then(pl.lit("x")).otherwise("s").alias("s"),
            pl.lit(1, pl.Int32).alias("k"),
        ),
    }
    for name, frame in frames.items():
        path = folder / f"{name}.parquet"
        frame.select(list(MAIN_SCHEMA)).write_parquet(path, row_group_size=_GROUP)
    main.write_ipc(folder / "ipc.arrow", record_batch_size=_GROUP)
    for part in range(4):
        rows = main.slice(part * ROWS // 4, ROWS // 4)
        rows.write_parquet(folder / f"part-{part}.parquet", row_group_size=_GROUP)
    right = _right(dice)
    right.write_parquet(folder / "right.parquet", row_group_size=_GROUP)


def open_table(folder: Path, name: str) -> pl.LazyFrame:
    """Return a table."""
    if name == "ipc":
        return pl.scan_ipc(folder / "ipc.arrow")
    if name == "frame":
        return pl.read_parquet(folder / "main.parquet").lazy()
    return pl.scan_parquet(folder / ("part-*.parquet" if name == "parts" else f"{name}.parquet"))


def _holes(dice: random.Random, values: list[Any]) -> list[Any]:
    return [None if dice.random() < 0.12 else value for value in values]


def _main(dice: random.Random) -> pl.DataFrame:
    rows = range(ROWS)

    def some(*values: Any) -> list[Any]:
        return _holes(dice, [dice.choice(values) for _ in rows])

    numbers = _holes(dice, [dice.randint(-40, 40) for _ in rows])
    floats = [0.0, -0.0, float("nan"), *(n / 8 for n in range(-90, 90))]
    columns: dict[str, list[Any]] = {
        "id": list(rows),
        "g": some(*range(6)),
        "k": some(*range(40)),
        "s": some("", "a", "b", "ñ", "a b", "zz"),
        "f": some(*floats),
        "h": some(*floats),
        "i8": some(*range(-100, 100)),
        "u": [dice.randint(0, 30) for _ in rows],
        "b": some(True, False),
        "cat": some("lo", "mid", "hi"),
        "en": some("x", "y", "z"),
        "dec": [None if n is None else Decimal(n) / 4 for n in numbers],
        "day": some(*(_DAY + dt.timedelta(days=n) for n in range(20))),
        "at": [_NOON + dt.timedelta(minutes=7 * n) for n in rows],
        "tm": some(*(dt.time(n, 30) for n in range(24))),
        "dur": some(*(dt.timedelta(minutes=n) for n in range(-30, 30))),
        "bin": some(b"", b"a", b"\xff\x00"),
        "nul": [None for _ in rows],
        "big": some(*(n * 10**20 for n in range(-3, 4))),
        "ls": some([], [1], [None, 2], [3, 3, 1]),
        "lw": some([], ["a"], ["b", None]),
        "st": some({"x": 1, "y": "p"}, {"x": None, "y": "p"}, {"x": 2, "y": None}),
        "ar": some([1, 2], [2, 1], [0, None]),
    }
    schema = {**MAIN_SCHEMA, "at": pl.Datetime("us")}
    frame = pl.DataFrame(columns, schema=schema)
    return frame.with_columns(pl.col("at").dt.replace_time_zone("Europe/Madrid"))


def _right(dice: random.Random) -> pl.DataFrame:
    rows = range(_RIGHT_ROWS)

    def some(*values: Any) -> list[Any]:
        return _holes(dice, [dice.choice(values) for _ in rows])

    columns: dict[str, tuple[list[Any], Any]] = {
        "rid": (list(rows), pl.Int64),
        "g": (some(*range(9)), pl.Int64),
        "k": (some(*range(50)), pl.Int64),
        "s": (some("", "a", "b", "new"), pl.String),
        "v": (some(*(n / 8 for n in range(-90, 90)), float("nan"), -0.0), pl.Float64),
        "w": ([dice.randint(0, 150) for _ in rows], pl.Int64),
        "day": (some(*(_DAY + dt.timedelta(days=n) for n in range(30))), pl.Date),
        "cat": (some("hi", "lo", "new"), pl.Categorical),
        "en": (some("x", "y"), pl.Enum(["z", "y", "x"])),
        "dec": (some(*(Decimal(n) / 4 for n in range(-40, 40))), pl.Decimal(10, 2)),
        "st": (some({"x": 1, "y": "p"}, {"x": None, "y": "p"}), MAIN_SCHEMA["st"]),
        "ls": (some([1], [3, 3, 1]), pl.List(pl.Int64)),
    }
    return pl.DataFrame(
        [pl.Series(name, values, dtype=dtype) for name, (values, dtype) in columns.items()]
    )
