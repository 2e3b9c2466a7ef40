"""Parquet splits are whole row groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from polars.exceptions import PolarsError
from polars.testing import assert_frame_equal
from tests.task.bench import Bench, RowsOf, run_task
from tests.task.scan_kit import cut, in_tasks

from minispark.blocks.fetch import FetchSettings
from minispark.errors import UsageError
from minispark.plan.leaves import Leaf
from minispark.task.scans import open_scan
from minispark.task.spec import ScanTask


def _rows(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "a": range(count),
            "b": [str(number) for number in range(count)],
            "c": [[number] for number in range(count)],
            "d": pl.Series(["u", "v"] * (count // 2), dtype=pl.Categorical),
        }
    )


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 20])
def test_files_of_many_and_of_one_row_group(tmp_path: Path, partitions: int) -> None:
    _rows(1000).write_parquet(tmp_path / "a.parquet", row_group_size=100)
    _rows(0).write_parquet(tmp_path / "b.parquet")
    _rows(600).write_parquet(tmp_path / "c.parquet")
    frame = pl.scan_parquet(tmp_path)
    assert_frame_equal(in_tasks(frame, partitions), frame.collect())


def test_each_task_reads_its_own_rows(tmp_path: Path) -> None:
    _rows(1000).write_parquet(tmp_path / "a.parquet", row_group_size=100)
    frame = pl.scan_parquet(tmp_path / "a.parquet")
    source, tasks = cut(frame, 4)
    opened = [
        open_scan(
            ScanTask("s", source.spec, task), frame.collect_schema(), quotes=None, data_root=None
        )
        for task in tasks
    ]
    heights = [one.select("a").collect().height for one in opened]
    assert sum(heights) == 1000
    assert all(height % 100 == 0 and height for height in heights)


def test_a_filter_reaches_a_file_that_is_read_whole(tmp_path: Path) -> None:
    _rows(1000).write_parquet(tmp_path / "a.parquet", row_group_size=100)
    frame = pl.scan_parquet(tmp_path / "a.parquet")
    source, (task,) = cut(frame, 1)
    opened = open_scan(
        ScanTask("s", source.spec, task), frame.collect_schema(), quotes=None, data_root=None
    )
    assert "SELECTION" in opened.filter(pl.col("a") > 990).explain()


WIDE = [pl.Int128(), pl.UInt128(), pl.List(pl.Int128), pl.Struct({"w": pl.UInt128})]


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("partitions", [1, 4])
def test_dtypes_that_only_polars_has(tmp_path: Path, dtype: pl.DataType, partitions: int) -> None:
    number = pl.int_range(400)
    wide = pl.struct(w=number) if dtype == pl.Struct else number
    wide = pl.concat_list(number) if dtype == pl.List else wide
    rows = pl.select(a=number, wide=wide.cast(dtype))
    rows.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    frame = pl.scan_parquet(tmp_path)
    assert_frame_equal(in_tasks(frame, partitions), rows)
    _, tasks = cut(frame, partitions)
    assert [len(task) for task in tasks] == [1] * partitions


def test_a_file_that_only_polars_reads_is_one_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise pa.ArrowNotImplementedError

    monkeypatch.setattr(pyarrow.parquet, "read_metadata", refuse)
    _rows(1000).write_parquet(tmp_path / "a.parquet", row_group_size=100)
    frame = pl.scan_parquet(tmp_path)
    _, tasks = cut(frame, 3)
    assert [(split.start, split.end) for task in tasks for split in task] == [(0, 1000)]
    assert_frame_equal(in_tasks(frame, 3), frame.collect())


def test_another_order_of_columns(tmp_path: Path) -> None:
    rows = _rows(10)
    rows.write_parquet(tmp_path / "a.parquet")
    rows.select(reversed(rows.columns)).write_parquet(tmp_path / "b.parquet")
    frame = pl.scan_parquet(tmp_path)
    for partitions in (1, 2):
        assert_frame_equal(in_tasks(frame, partitions), frame.collect())


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.drop("b"),
        lambda rows: rows.with_columns(z=1),
        lambda rows: rows.cast({"a": pl.Int32}),
    ],
)
def test_files_that_polars_does_not_read_together(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    _rows(10).write_parquet(tmp_path / "a.parquet")
    change(_rows(10)).write_parquet(tmp_path / "b.parquet")
    frame = pl.scan_parquet(tmp_path)
    with pytest.raises(PolarsError):
        frame.collect()
    for partitions in (1, 2):
        with pytest.raises(PolarsError):
            in_tasks(frame, partitions)


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    _rows(10).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR?")
    with pytest.raises(UsageError, match=r"b\.parquet is not a Parquet file"):
        cut(pl.scan_parquet(tmp_path), 1)


def test_the_order_of_a_scan_is_kept_under_expressions_of_literals(
    bench: Bench, rows_of: RowsOf, tmp_path: Path
) -> None:
    rows = pl.select(n=pl.int_range(400_000))
    rows.write_parquet(tmp_path / "a.parquet", row_group_size=5_000)
    scan = pl.scan_parquet(tmp_path / "a.parquet")
    source, (task,) = cut(scan, 1)
    parity = pl.when(pl.col("n") % 7 > 3).then(1).otherwise(2).alias("parity")
    plan = Leaf("s", scan.collect_schema()).lazy().select(parity)
    for attempt in range(8):
        spec = bench.task(plan, scans=[ScanTask("s", source.spec, task)], attempt=attempt)
        report = run_task(spec, fetch=FetchSettings())
        assert_frame_equal(rows_of(spec, report)[0], rows.select(parity))
