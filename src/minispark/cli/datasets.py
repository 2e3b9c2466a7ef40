"""The data sets of ``minispark data``: the same bytes on every machine for the same seed.

Random numbers are splitmix64 of a row's number, as Polars arithmetic on 64-bit integers: no version
of a library can change the data. Words and products follow Zipf's law.

A file has a temporary name until it is complete, so no reader sees a part of a data set.
"""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl

WORDS_PER_LINE = 12
VOCABULARY = 20_000
CATEGORIES = 50
_CHUNK_ROWS = 100_000
_YEAR_S = 365 * 86_400
_FIRST_SECOND = 1_672_531_200
"""2023-01-01T00:00:00Z."""

Progress = Callable[[int], None]


def write_lines(path: Path, *, lines: int, seed: int, progress: Progress | None = None) -> None:
    """Write a CSV of one column ``text``: ``lines`` lines of twelve words.

    A short file has a smaller vocabulary, so words repeat in it too. ``progress`` is called with
    the number of lines written so far.
    """
    words = pl.Series(_vocabulary(min(VOCABULARY, max(10, lines * 2)), seed))
    ranks = _zipf_thresholds(words.len(), exponent=1.0)
    with _replacing(path) as file:
        file.write(b"text\n")
        for start, rows in _chunks(lines):
            drawn = _draw(start * WORDS_PER_LINE, rows * WORDS_PER_LINE, seed)
            chosen = words.gather(ranks.search_sorted(drawn, side="right"))
            columns = [
                chosen.gather_every(WORDS_PER_LINE, offset).alias(str(offset))
                for offset in range(WORDS_PER_LINE)
            ]
            text = pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" "))
            text.write_csv(file, include_header=False, quote_style="never")
            if progress is not None:
                progress(start + rows)


def write_sales(
    directory: Path, *, lines: int, seed: int, progress: Progress | None = None
) -> tuple[Path, Path]:
    """Write ``sales.csv`` (``lines`` rows) and ``catalog.csv`` (a fiftieth of it, 100 to 100,000).

    ``sales``: sale_id, product_id, qty, ts (ascending). ``catalog``: product_id, name, category,
    price. A few products make most of the sales; their ids are random.
    """
    products = min(100_000, max(100, lines // 50))
    catalog, sales = directory / "catalog.csv", directory / "sales.csv"
    with _replacing(catalog) as file:
        _catalog(products, seed).write_csv(file, quote_style="never")
    ids = _bits(0, products, seed + 5).arg_sort()
    ranks = _zipf_thresholds(products, exponent=0.8)
    seconds = _integers(0, lines, seed + 2, below=_YEAR_S).sort()
    with _replacing(sales) as file:
        for start, rows in _chunks(lines):
            frame = pl.DataFrame(
                {
                    "sale_id": pl.int_range(start, start + rows, eager=True),
                    "product_id": ids.gather(
                        ranks.search_sorted(_draw(start, rows, seed), side="right")
                    ),
                    "qty": _integers(start, rows, seed + 1, below=10) + 1,
                    "ts": pl.from_epoch(seconds.slice(start, rows) + _FIRST_SECOND),
                }
            )
            frame.write_csv(
                file,
                include_header=start == 0,
                quote_style="never",
                datetime_format="%Y-%m-%dT%H:%M:%S",
            )
            if progress is not None:
                progress(start + rows)
    return sales, catalog


def _catalog(products: int, seed: int) -> pl.DataFrame:
    cents = _integers(0, products, seed + 3, below=49_900) + 100
    category = _integers(0, products, seed + 4, below=CATEGORIES)
    return pl.DataFrame(
        {"product_id": pl.int_range(products, eager=True), "cents": cents, "category": category}
    ).select(
        "product_id",
        pl.format("product {}", pl.col("product_id").cast(pl.String).str.zfill(6)).alias("name"),
        pl.format("category_{}", pl.col("category").cast(pl.String).str.zfill(2)).alias("category"),
        pl.format(
            "{}.{}", pl.col("cents") // 100, (pl.col("cents") % 100).cast(pl.String).str.zfill(2)
        ).alias("price"),
    )


def _vocabulary(size: int, seed: int) -> list[str]:
    chance = random.Random(seed)  # noqa: S311
    letters = "abcdefghijklmnopqrstuvwxyz"
    words: dict[str, None] = {}
    while len(words) < size:
        # Only `random()` itself returns the same numbers in every version of Python.
        length = 3 + math.floor(chance.random() * 8)
        words["".join(letters[math.floor(chance.random() * 26)] for _ in range(length))] = None
    return list(words)


def _zipf_thresholds(size: int, *, exponent: float) -> pl.Series:
    """Return cumulative shares of ranks 0..size-1; rank k has weight 1/(k+1)^exponent."""
    sums = list(itertools.accumulate(1.0 / rank**exponent for rank in range(1, size + 1)))
    return pl.Series([total / sums[-1] for total in sums[:-1]], dtype=pl.Float64)


def _draw(start: int, rows: int, seed: int) -> pl.Series:
    """Return a number in [0, 1) for each of ``rows`` rows from ``start`` on."""
    return _bits(start, rows, seed).cast(pl.Float64) * 2.0**-53


def _integers(start: int, rows: int, seed: int, *, below: int) -> pl.Series:
    return (_bits(start, rows, seed) % below).cast(pl.Int64)


def _bits(start: int, rows: int, seed: int) -> pl.Series:
    """Return 53 pseudo-random bits per row: splitmix64 of ``seed`` and the row's number."""
    z = pl.col("z")

    def constant(value: int) -> pl.Expr:
        return pl.lit(value, dtype=pl.UInt64)

    def folded(shift: int) -> pl.Expr:
        return z ^ (z // constant(1 << shift))

    stream = (seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % (1 << 64)
    return (
        pl.int_range(start, start + rows, dtype=pl.UInt64, eager=True)
        .alias("z")
        .to_frame()
        .lazy()
        .select((z + constant(1)) * constant(0x9E3779B97F4A7C15) + constant(stream))
        .select(z=pl.nth(0))
        .select(z=folded(30) * constant(0xBF58476D1CE4E5B9))
        .select(z=folded(27) * constant(0x94D049BB133111EB))
        .select(z=folded(31) // constant(1 << 11))
        .collect()
        .to_series()
    )


def _chunks(rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, _CHUNK_ROWS):
        yield start, min(_CHUNK_ROWS, rows - start)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that is renamed to ``path`` at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with staged.open("wb") as file:
            yield file
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
