"""Tables with what real ones have: nulls, unicode, skewed keys, an empty file among others."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl

FORMATS = ("csv", "jsonl", "parquet")
_SHOPS = ["Malmö", "東京", "São Paulo", "x", "a,b", 'say "hi"', "two\nlines", None]
_WORDS = ["the", "The", "ñandú", "naïve", "a", "end.", "\u00a0", "\u2003wide", "tab\tbed", ""]

SALES_SCHEMA = {
    "id": pl.Int64,
    "sku": pl.Int64,
    "shop": pl.String,
    "qty": pl.Int64,
    "price": pl.Float64,
    "text": pl.String,
}
GOODS_SCHEMA = {"sku": pl.Int64, "kind": pl.String, "weight": pl.Float64}
SCHEMAS = {"sales": SALES_SCHEMA, "goods": GOODS_SCHEMA}


def _sales(dice: random.Random, first: int, rows: int) -> pl.DataFrame:
    # Most rows have one key: the shape that makes one partition much larger than the others.
    keys = [dice.choice([1, 1, 1, 1, 1, 2, 3, 40, 77, None]) for _ in range(rows)]
    data = {
        "id": range(first, first + rows),
        "sku": keys,
        "shop": [dice.choice(_SHOPS) for _ in range(rows)],
        "qty": [dice.choice([None, *range(-3, 9)]) for _ in range(rows)],
        "price": [dice.choice([None, *(n / 8 for n in range(80))]) for _ in range(rows)],
        "text": [
            dice.choice([None, *(" ".join(dice.choices(_WORDS, k=n)) for n in range(6))])
            for _ in range(rows)
        ],
    }
    return pl.DataFrame(data, schema=SALES_SCHEMA)


def write_tables(folder: Path) -> Path:
    """Write ``sales.<format>/`` and ``goods.<format>/`` below ``folder``."""
    dice = random.Random(20)
    sales = [_sales(dice, 0, 400), _sales(dice, 400, 0), _sales(dice, 400, 250)]
    goods = pl.DataFrame(
        {
            "sku": [1, 2, 2, 40, 99, None],
            "kind": ["cup", "pan", "pot", None, "lid", "?"],
            "weight": [0.5, 1.25, None, 2.0, 3.5, 1.0],
        },
        schema=GOODS_SCHEMA,
    )
    for form in FORMATS:
        for name, frames in {"sales": sales, "goods": [goods]}.items():
            target = folder / f"{name}.{form}"
            target.mkdir()
            for number, frame in enumerate(frames):
                _write(frame, form, target / f"{number}.{form}")
    return folder


def _write(frame: pl.DataFrame, form: str, path: Path) -> None:
    match form:
        case "csv":
            frame.write_csv(path)
        case "jsonl":
            frame.write_ndjson(path)
        case _:
            frame.write_parquet(path, row_group_size=64)


def scan(folder: Path, name: str, form: str) -> pl.LazyFrame:
    """Read a table with plain Polars."""
    path = folder / f"{name}.{form}"
    match form:
        case "csv":
            # A header alone makes Polars take its columns for text: the types are said.
            return pl.scan_csv(path, schema=SCHEMAS[name])
        case "jsonl":
            return pl.scan_ndjson(path)
        case _:
            return pl.scan_parquet(path)
