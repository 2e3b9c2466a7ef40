"""Queries that Polars fails on, each with the class of its error; `first_line` compares texts."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from minispark import Engine
from minispark.errors import MinisparkError

Failing = Callable[[Path], pl.LazyFrame]

FRAME = pl.LazyFrame({"a": ["1", "x", "3"], "g": [1, 2, 3]})


class OwnError(ValueError):
    """A class that only this process knows."""


def raising(error: BaseException) -> pl.LazyFrame:
    def fail(_: pl.DataFrame) -> pl.DataFrame:
        raise error

    return FRAME.map_batches(fail)


def decode(_: pl.DataFrame) -> pl.DataFrame:
    raise AssertionError(b"\xff".decode())


def divide(number: int) -> int:
    return divmod(1, number - 2)[0]


def _csv(folder: Path) -> pl.LazyFrame:
    path = folder / "bad.csv"
    path.write_text("n\n" + "1\n" * 150 + "x\n")
    return pl.scan_csv(path)


def _jsonl(folder: Path) -> pl.LazyFrame:
    path = folder / "bad.jsonl"
    path.write_text('{"n":1}\n' * 150 + '{"n":"x"}\n')
    return pl.scan_ndjson(path)


FAILING: dict[str, tuple[type[BaseException], Failing]] = {
    "cast": (
        pl.exceptions.InvalidOperationError,
        lambda _: FRAME.select(pl.col("a").cast(pl.Int64)),
    ),
    "date": (pl.exceptions.ComputeError, lambda _: FRAME.select(pl.col("a").str.to_date())),
    "index": (pl.exceptions.OutOfBoundsError, lambda _: FRAME.select(pl.col("a").gather([7]))),
    "shape": (pl.exceptions.ShapeError, lambda _: raising(pl.exceptions.ShapeError("2 and 3"))),
    "schema": (pl.exceptions.SchemaError, lambda _: raising(pl.exceptions.SchemaError("other"))),
    "csv": (pl.exceptions.ComputeError, _csv),
    "jsonl": (pl.exceptions.ComputeError, _jsonl),
    "division": (
        ZeroDivisionError,
        lambda _: FRAME.select(pl.col("g").map_elements(divide, return_dtype=pl.Int64)),
    ),
    "own": (ValueError, lambda _: raising(OwnError("of my own\nand more"))),
    "key": (KeyError, lambda _: raising(KeyError("k"))),
    "unicode": (UnicodeDecodeError, lambda _: FRAME.map_batches(decode)),
    "text": (ValueError, lambda _: raising(ValueError("half a pair \ud800 and \x1b[2J"))),
    "long": (ValueError, lambda _: raising(ValueError("x" * 2_000))),
    "no file": (FileNotFoundError, lambda folder: pl.scan_csv(folder / "none.csv")),
    "no file, many": (FileNotFoundError, lambda folder: pl.scan_parquet([folder / "none"])),
    "no file inside": (FileNotFoundError, lambda folder: raising(FileNotFoundError(2, "No", "f"))),
}


def check_same_failure(
    name: str, folder: Path, engine: Engine, ours: type[MinisparkError]
) -> MinisparkError:
    """Fail one of the queries in Polars and on ``engine``; compare class and first line."""
    kind, query = FAILING[name]
    with pytest.raises(kind) as plain:
        query(folder).collect(engine="streaming")
    with pytest.raises(kind) as caught:
        query(folder).collect(engine=engine)
    error = caught.value
    assert isinstance(error, ours)
    told, *more = str(error).split("\n")
    said = str(plain.value).split("\n")[0]
    # How many values a cast saw depends on how Polars cut its rows.
    assert told.partition(" out of ")[0] == said.partition(" out of ")[0].replace(
        "\ud800", r"\ud800"
    )
    assert more, "stage or file come after Polars' own line"
    return error
