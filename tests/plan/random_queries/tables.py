"""The tables that random queries read: one of many dtypes, one to join with, one that is small."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

ROWS = 3000
_ROW_GROUP = 700
_OTHER_ROWS = 2000
_SMALL_ROWS = 24
_DAY = dt.date(2024, 2, 20)
_NOT_CSV = ("ls", "lw", "st", "ar", "bin", "dur", "nul")
_NOT_JSON = ("i8", "cat", "en", "dec", "bin", "dur", "tm", "ar", "nul")


def write_tables(folder: Path, seed: int) -> None:
    """Write the tables; each file is larger than what a task reads at once (256 kB)."""
    dice = random.Random(seed)
    main, other, small = _main(dice), _other(dice), _small(dice)
    main.write_parquet(folder / "t.parquet", row_group_size=_ROW_GROUP, compression="uncompressed")
    other.write_parquet(folder / "r.parquet", row_group_size=_ROW_GROUP, compression="uncompressed")
    flat = main.drop(_NOT_CSV)
    flat.write_csv(folder / "c.csv")
    main.drop(_NOT_JSON).write_ndjson(folder / "j.jsonl")
    small.write_parquet(folder / "d.parquet")
    main.write_ipc(folder / "t.arrow")
    for name in ("t.parquet", "r.parquet", "c.csv", "j.jsonl"):
        assert (folder / name).stat().st_size > 256 * 1024, name


def open_tables(folder: Path) -> dict[str, pl.LazyFrame]:
    """Return the tables by the names that queries use."""
    main = pl.scan_parquet(folder / "t.parquet")
    schema = main.collect_schema()
    flat = {name: dtype for name, dtype in schema.items() if name not in _NOT_CSV}
    lines = {name: dtype for name, dtype in schema.items() if name not in _NOT_JSON}
    return {
        "t": main,
        "c": pl.scan_csv(folder / "c.csv", schema=flat),
        "j": pl.scan_ndjson(folder / "j.jsonl", schema=lines),
        "m": pl.read_ipc(folder / "t.arrow").lazy(),
        "r": pl.scan_parquet(folder / "r.parquet"),
        "d": pl.scan_parquet(folder / "d.parquet"),
        "e": pl.read_parquet(folder / "d.parquet").lazy(),
    }


def _holes(dice: random.Random, values: list[Any], share: float = 0.12) -> list[Any]:
    return [None if dice.random() < share else value for value in values]


def _floats(dice: random.Random, count: int) -> list[float]:
    """Return dyadic fractions, whose sums are exact in any order, and a few odd values."""
    odd = [float("nan"), -0.0, 0.0]
    return [
        dice.choice(odd) if dice.random() < 0.04 else dice.randint(-400, 400) / 8
        for _ in range(count)
    ]


def _words(dice: random.Random, count: int) -> list[str]:
    words = ["", "a", "b", "B", "ñ", "a b", "zz top", "0", "€uro", "b,c", 'q"q', "long word here"]
    return [dice.choice(words) for _ in range(count)]


def _main(dice: random.Random) -> pl.DataFrame:
    rows = range(ROWS)
    points = [{"x": dice.choice([None, 1, 2, 3]), "y": dice.choice([None, "p", "q"])} for _ in rows]
    columns: dict[str, tuple[list[Any], Any]] = {
        "id": (list(rows), pl.Int64),
        "g": (_holes(dice, [dice.randint(0, 11) for _ in rows]), pl.Int64),
        "k": (_holes(dice, [dice.randint(0, 400) for _ in rows], 0.03), pl.Int32),
        "i8": (_holes(dice, [dice.randint(-100, 100) for _ in rows]), pl.Int8),
        "u": ([dice.randint(0, 50) for _ in rows], pl.UInt32),
        "f": (_holes(dice, _floats(dice, ROWS)), pl.Float64),
        "h": (_holes(dice, _floats(dice, ROWS)), pl.Float32),
        "b": (_holes(dice, [dice.random() < 0.4 for _ in rows]), pl.Boolean),
        "s": (_holes(dice, _words(dice, ROWS)), pl.String),
        "txt": ([f"{dice.getrandbits(240):060x}" for _ in rows], pl.String),
        "cat": (_holes(dice, [dice.choice(["lo", "mid", "hi"]) for _ in rows]), pl.Categorical),
        "en": (_holes(dice, [dice.choice("xyz") for _ in rows]), pl.Enum(["z", "y", "x"])),
        "dec": (
            _holes(dice, [Decimal(dice.randint(-9999, 9999)) / 100 for _ in rows]),
            pl.Decimal(12, 2),
        ),
        "day": (
            _holes(dice, [_DAY + dt.timedelta(days=dice.randint(0, 60)) for _ in rows]),
            pl.Date,
        ),
        "at": (_moments(dice), pl.Datetime("us")),
        "tm": (_holes(dice, [dt.time(dice.randint(0, 23), 30) for _ in rows]), pl.Time),
        "dur": (
            _holes(dice, [dt.timedelta(minutes=dice.randint(-90, 90)) for _ in rows]),
            pl.Duration("us"),
        ),
        "bin": (_holes(dice, [word.encode() for word in _words(dice, ROWS)]), pl.Binary),
        "nul": ([None] * ROWS, pl.Null),
        "ls": (_holes(dice, [_items(dice) for _ in rows]), pl.List(pl.Int64)),
        "lw": (
            _holes(dice, [_words(dice, dice.randint(0, 3)) for _ in rows]),
            pl.List(pl.String),
        ),
        "st": (_holes(dice, points), pl.Struct({"x": pl.Int64, "y": pl.String})),
        "ar": (
            _holes(dice, [[dice.randint(0, 3), dice.randint(0, 3)] for _ in rows]),
            pl.Array(pl.Int32, 2),
        ),
    }
    return pl.DataFrame(
        [pl.Series(name, values, dtype=dtype) for name, (values, dtype) in columns.items()]
    )


def _items(dice: random.Random) -> list[int | None]:
    return [dice.choice([None, 1, 2, 3, 4]) for _ in range(dice.randint(0, 4))]


def _moments(dice: random.Random) -> list[dt.datetime | None]:
    start = dt.datetime(2024, 2, 20)
    return _holes(
        dice, [start + dt.timedelta(minutes=dice.randint(0, 20_000)) for _ in range(ROWS)]
    )


def _other(dice: random.Random) -> pl.DataFrame:
    rows = range(_OTHER_ROWS)
    return pl.DataFrame(
        {
            "k": pl.Series(
                _holes(dice, [dice.randint(0, 500) for _ in rows], 0.03), dtype=pl.Int64
            ),
            "g": pl.Series(_holes(dice, [dice.randint(0, 14) for _ in rows]), dtype=pl.Int64),
            "s": pl.Series(_holes(dice, _words(dice, _OTHER_ROWS)), dtype=pl.String),
            "rid": pl.Series(list(rows), dtype=pl.Int64),
            "v": pl.Series(_holes(dice, _floats(dice, _OTHER_ROWS)), dtype=pl.Float64),
            "w": pl.Series([f"{dice.getrandbits(480):0120x}" for _ in rows], dtype=pl.String),
            "day": pl.Series(
                _holes(dice, [_DAY + dt.timedelta(days=dice.randint(0, 90)) for _ in rows]),
                dtype=pl.Date,
            ),
            "cat": pl.Series(
                _holes(dice, [dice.choice(["hi", "lo", "new"]) for _ in rows]),
                dtype=pl.Categorical,
            ),
        }
    )


def _small(dice: random.Random) -> pl.DataFrame:
    rows = range(_SMALL_ROWS)
    return pl.DataFrame(
        {
            "g": pl.Series([None, *rows][:_SMALL_ROWS], dtype=pl.Int64),
            "s": pl.Series(_holes(dice, _words(dice, _SMALL_ROWS)), dtype=pl.String),
            "z": pl.Series(_floats(dice, _SMALL_ROWS), dtype=pl.Float64),
            "en": pl.Series([dice.choice("xyz") for _ in rows], dtype=pl.Enum(["z", "y", "x"])),
            "ls": pl.Series([_items(dice) for _ in rows], dtype=pl.List(pl.Int64)),
        }
    )
