"""Where the record is that a scan cannot read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PolarsError
from tests.task.scan_kit import cut, quotes_of

from minispark.errors import ErrorInfo
from minispark.task import scan_errors
from minispark.task.scan_errors import locate_error
from minispark.task.scans import open_scan
from minispark.task.spec import ScanTask


def located(
    frame: pl.LazyFrame, partitions: int, columns: list[str] | None = None
) -> list[ErrorInfo]:
    source, tasks = cut(frame, partitions)
    schema = frame.collect_schema()
    quotes = quotes_of(source, tasks)
    found = []
    for task in tasks:
        scan = ScanTask("s", source.spec, task)
        opened = open_scan(scan, schema, quotes=quotes, data_root=None)
        try:
            opened.select(columns or pl.all()).collect(engine="streaming")
        except PolarsError as error:
            found.append(locate_error(scan, schema, quotes=quotes, data_root=None, error=error))
    return found


@pytest.mark.parametrize("piece_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("has_header", [True, False])
def test_csv_value(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    piece_bytes: int,
    partitions: int,
    has_header: bool,
) -> None:
    monkeypatch.setattr(scan_errors, "_PIECE_BYTES", piece_bytes)
    path = tmp_path / "a.csv"
    header = "a,b\n" if has_header else ""
    path.write_text(header + '1,"x\ny"\n' * 150 + "bad,z\n" + "1,2\n" * 60)
    frame = pl.scan_csv(path, has_header=has_header)
    (info,) = located(frame, partitions)
    assert info.code == "MS-233"
    assert info.file == str(path)
    assert info.row == 151
    assert info.field == ("a" if has_header else "column_0")
    assert "'bad'" in info.message
    assert "Int64" in info.message
    assert info.hint is not None


def test_only_the_column_that_polars_complained_of(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 150 + "x,2\n" + "1,y\n")
    (info,) = located(pl.scan_csv(path), 1, ["b"])
    assert (info.field, info.row) == ("b", 152)


@pytest.mark.parametrize(
    ("record", "message"),
    [(b"1,2,3", "more fields"), (b"1,\xff", "utf-8")],
)
def test_csv_record(tmp_path: Path, record: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,x\n" * 150 + record + b"\n" + b"1,2\n" * 9)
    (info,) = located(pl.scan_csv(path), 3)
    assert (info.file, info.row, info.field) == (str(path), 151, None)
    assert message in info.message


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ('{"a":1,"b":"x"}', "b", "Int64"),
        ('{"a":1', None, "parsing"),
        ("[1]", None, "object"),
        ('{"a":' + "[" * 5_000 + "]" * 5_000 + "}", None, "DepthLimit"),
    ],
)
def test_json_line(tmp_path: Path, line: str, field: str | None, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1,"b":2}\n\n' * 150 + f"{line}\n" + '{"a":1}\n')
    (info,) = located(pl.scan_ndjson(path), 3)
    assert (info.file, info.row, info.field) == (str(path), 301, field)
    assert message in info.message


def test_text_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\n" * 150 + b"\xff\n" + b"y\n" * 20)
    (info,) = located(pl.scan_lines(path), 3)
    assert (info.file, info.row) == (str(path), 151)
    assert "utf8" in info.message


def test_long_values_are_shortened(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "1\n" * 150 + "x" * 100_000 + "\n")
    (info,) = located(pl.scan_csv(path), 1)
    assert len(info.message) < 300


def _packed(path: Path) -> pl.LazyFrame:
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 150 + b"x\n"))
    return pl.scan_csv(path)


def _columnar(path: Path) -> pl.LazyFrame:
    pl.DataFrame({"a": [1]}).write_parquet(path)
    return pl.scan_parquet(path)


@pytest.mark.parametrize("write", [_packed, _columnar])
def test_what_cannot_be_searched_names_the_file(
    tmp_path: Path, write: Callable[[Path], pl.LazyFrame]
) -> None:
    path = tmp_path / "a"
    source, (task,) = cut(write(path), 1)
    info = locate_error(
        ScanTask("s", source.spec, task),
        pl.Schema({"a": pl.Int64}),
        quotes=None,
        data_root=None,
        error=PolarsError("could not\nand more"),
    )
    assert info == ErrorInfo(
        "MS-233",
        "could not",
        file=str(path),
        exception="PolarsError",
        exception_message="could not",
    )


def test_it_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    source, (task,) = cut(pl.scan_csv(path), 1)
    path.unlink()
    info = locate_error(
        ScanTask("s", source.spec, task),
        pl.Schema({"a": pl.Int64}),
        quotes=None,
        data_root=None,
        error=PolarsError(""),
    )
    assert (info.file, info.row) == (str(path), None)


def test_hints_name_what_the_format_has(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 150 + '{"a":"x"}\n')
    (info,) = located(pl.scan_ndjson(path), 1)
    assert "infer_rows" in str(info.hint)
    assert "null_values" not in str(info.hint)


@pytest.mark.parametrize(
    ("other", "column", "message"),
    [
        ({"a": ["1"], "b": [1]}, "a", "column 'a' is String"),
        ({"b": [1]}, "a", "column 'a' is missing"),
        ({"a": [1], "b": [1], "c": [1]}, "c", "is not in the first file"),
    ],
)
def test_a_parquet_file_unlike_the_first(
    tmp_path: Path, other: dict[str, list[object]], column: str, message: str
) -> None:
    pl.DataFrame({"a": [1], "b": [1]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(other).write_parquet(tmp_path / "b.parquet")
    frame = pl.scan_parquet(tmp_path / "*.parquet")
    source, (task,) = cut(frame, 1)
    scan = ScanTask("s", source.spec, task)
    with pytest.raises(PolarsError) as caught:
        frame.collect()
    schema = pl.Schema({"a": pl.Int64, "b": pl.Int64})
    info = locate_error(scan, schema, quotes=None, data_root=None, error=caught.value)
    assert (info.file, info.field) == (str(tmp_path / "b.parquet"), column)
    assert message in info.message
    # Another error is not blamed on the file.
    error = PolarsError("division by zero")
    assert locate_error(scan, schema, quotes=None, data_root=None, error=error).field is None
