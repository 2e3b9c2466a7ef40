"""Small files of every format, whole in one task."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.task.bench import Bench, RowsOf, attempt, run_task
from tests.task.scan_kit import cut

from minispark.blocks.fetch import FetchSettings
from minispark.errors import TaskError
from minispark.plan.leaves import Leaf
from minispark.task.spec import ScanTask, TaskFailure, TaskSpec

FETCH = FetchSettings()
ROWS = pl.DataFrame({"n": [3, 1, 2], "text": ["x", 'with "quotes"', None]})
Make = Callable[[Path], pl.LazyFrame]


def _csv(folder: Path, **options: Any) -> pl.LazyFrame:
    for name in ("a", "b"):
        ROWS.write_csv(folder / f"{name}.csv", include_header=options.get("has_header", True))
    return pl.scan_csv(folder / "*.csv", **options)


def _gzip(folder: Path) -> pl.LazyFrame:
    (folder / "a.csv.gz").write_bytes(gzip.compress(ROWS.write_csv().encode()))
    return pl.scan_csv(folder / "a.csv.gz")


def _jsonl(folder: Path, name: str = "a.jsonl") -> pl.LazyFrame:
    ROWS.write_ndjson(folder / name)
    return pl.scan_ndjson(folder / "*.jsonl")


def _text(folder: Path) -> pl.LazyFrame:
    (folder / "a.txt").write_text("3\n1\n\n2")
    return pl.scan_lines(folder / "a.txt", name="n")


def _parquet(folder: Path) -> pl.LazyFrame:
    ROWS.write_parquet(folder / "a.parquet")
    return pl.scan_parquet(folder / "a.parquet")


FILES: dict[str, Make] = {
    "csv": _csv,
    "csv without header": lambda folder: _csv(folder, has_header=False, new_columns=["n", "text"]),
    "csv with a schema": lambda folder: _csv(folder, schema={"n": pl.Int8, "text": pl.String}),
    "csv.gz": _gzip,
    "jsonl": _jsonl,
    "jsonl with an odd name": lambda folder: _jsonl(folder, "a[1].jsonl"),
    "text": _text,
    "parquet": _parquet,
}
QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "all": lambda lf: lf,
    "filter": lambda lf: lf.filter(pl.col("n").cast(pl.Int64, strict=False) > 1),
    "column": lambda lf: lf.select(pl.col("n")),
    "head": lambda lf: lf.head(2),
    "count": lambda lf: lf.select(pl.len()),
}


def _task(
    bench: Bench, file: pl.LazyFrame, query: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> TaskSpec:
    source, (task, *more) = cut(file, 1)
    assert not more
    leaf = Leaf("s", file.collect_schema())
    return bench.task(query(leaf.lazy()), scans=[ScanTask("s", source.spec, task)])


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("make", FILES)
def test_small_files_are_read_whole(
    bench: Bench, rows_of: RowsOf, tmp_path: Path, make: str, query: str
) -> None:
    file = FILES[make](tmp_path)
    spec = _task(bench, file, QUERIES[query])
    report = run_task(spec, fetch=FETCH)
    assert_frame_equal(rows_of(spec, report)[0], QUERIES[query](file).collect())
    assert report.bytes_read > 0


def test_what_is_wrong_with_a_small_file_is_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,text\n1,x\nbad,y\n")
    schema = {"n": pl.Int64, "text": pl.String}
    spec = _task(bench, pl.scan_csv(path, schema=schema), QUERIES["all"])
    first = attempt(spec, fetch=FETCH)
    path.write_text("n,text\n1,x\n2,y\n3,z\n")
    second = attempt(spec, fetch=FETCH)
    path.unlink()
    third = attempt(spec, fetch=FETCH)
    found = []
    for outcome in (first, second, third):
        assert isinstance(outcome, TaskFailure)
        assert isinstance(outcome.failure, TaskError)
        found.append(outcome.failure.error)
    assert [error.code for error in found] == [found[0].code, "MS-231", "MS-230"]
    assert {error.file for error in found} == {str(path)}
    assert (found[0].row, found[0].field) == (2, "n")
