"""CSV splits: whatever the cuts, the rows are those of the file as a whole."""

from __future__ import annotations

import csv
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.exceptions import NoDataError, PanicException, PolarsError
from polars.testing import assert_frame_equal
from tests.task.scan_kit import at_bytes, cut, in_tasks, quotes_of, run

from minispark.errors import JobFailedError
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.task import scan_records
from minispark.task.scans import open_scan
from minispark.task.spec import ScanTask

Refused = (PolarsError, PanicException, JobFailedError)
"""Polars panics at some malformed quotes under ``ignore_errors``."""

_FILES = {
    "plain": b"a,b\n1,x\n22,yy\n333,zzz\n",
    "no final newline": b"a,b\n1,x\n22,yy",
    "windows": b"a,b\r\n1,x\r\n\r\n22,yy\r\n",
    "byte order mark": b"\xef\xbb\xbfa,b\n1,x\n22,yy\n",
    "mark and empty lines": b"\xef\xbb\xbf\n\r\na,b\n1,x\n",
    "empty lines in one column": b"a\n1\n\n2\n\n",
    "empty lines only": b"a\n\n\n",
    "empty lines in two": b"a,b\n\n1,2\n\n",
    "carriage returns": b"a\nx\r\r\ny\rz\n",
    "header only": b"a,b\n",
    "bare header": b"a,b",
    "short first row": b"a,b\n1\n2,3\n",
    "quoted newlines": b'a,b\n1,"x\ny\n\nz"\n2,"""q""\n"\n3,',
    "quoted header": b'"a\nb","c\n\nd"\n1,"2\n3"\n4,5\n',
    "quoted quotes": b'a,b\n1,"""\n2,y"\n3,z\n',
    "quoted empty": b'a\n""\nx\n""\n',
    "windows in quotes": b'a,b\n1,"2\r\n3"\r\n4,5\r\n',
    "quotes to the end": b'a,b\n1,2\n3,"x\ny\n"',
    "duplicate names": b"a,a\n1,2\n3,4\n",
    "umlauts": 'ä,ö\n1,ü\n2,"é\n"\n'.encode(),
    "blank name": b" \na\n1\n",
}


def _same(frame: pl.LazyFrame, places: list[int]) -> None:
    assert_frame_equal(at_bytes(frame, places), frame.collect())


@pytest.mark.parametrize("data", _FILES.values(), ids=_FILES.keys())
def test_a_cut_at_any_byte(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    for place in range(len(data) + 1):
        _same(pl.scan_csv(path), [place])
        _same(pl.scan_csv(path), [place, min(place + 3, len(data))])


@pytest.mark.parametrize(
    "options",
    [
        {"has_header": False},
        {"has_header": False, "new_columns": ["x", "y"]},
        {"has_header": False, "schema": {"x": pl.String, "y": pl.String}},
        {"quote_char": None},
        {"infer_schema": False, "null_values": ["x", "1"]},
        {"new_columns": ["x,y", 'z"']},
        {"empty_string_is_null": False},
        {"schema": {"a": pl.Float32, "b": pl.Categorical}},
        {"schema_overrides": {"a": pl.Int16}, "null_values": {"b": "yy"}},
        {"with_column_names": lambda names: [name.upper() for name in names]},
        {"ignore_errors": True, "schema_overrides": {"b": pl.Int64}},
    ],
    ids=lambda options: " ".join(options) or "defaults",
)
@pytest.mark.parametrize("name", ["plain", "windows", "quoted newlines", "byte order mark"])
def test_a_cut_at_any_byte_with_options(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(_FILES[name])
    frame = pl.scan_csv(path, **options)
    for place in range(len(_FILES[name]) + 1):
        _same(frame, [place])


_fields = st.text(
    alphabet=st.sampled_from(list("ab1 \"',;\n\r\tä\U0001f600")) | st.characters(codec="utf-8"),
    max_size=6,
)


@st.composite
def _csv_files(draw: st.DrawFn) -> tuple[bytes, list[float]]:
    width = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(_fields, min_size=width, max_size=width), max_size=8))
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerow([f"c{number}" for number in range(width)])
    writer.writerows([[field.replace("\0", "") for field in row] for row in rows])
    data = text.getvalue().encode()
    if draw(st.booleans()):
        data = data.removesuffix(b"\n").removesuffix(b"\r")
    if draw(st.booleans()):
        data = b"\xef\xbb\xbf" + data
    return data, draw(st.lists(st.floats(0, 1), max_size=4))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=_csv_files(), has_header=st.booleans())
def test_any_file_cut_anywhere(made: tuple[bytes, list[float]], has_header: bool) -> None:
    data, shares = made
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(data)
        frame = pl.scan_csv(path, has_header=has_header, infer_schema=False)
        _same(frame, [int(share * len(data)) for share in shares])


@settings(max_examples=150, deadline=None)
@given(
    data=st.text(alphabet='ab1,"\n\r', max_size=30).map(str.encode),
    shares=st.lists(st.floats(0, 1), max_size=3),
    options=st.sampled_from(
        [
            {},
            {"has_header": False},
            {"quote_char": None},
            {"truncate_ragged_lines": True},
            {"truncate_ragged_lines": True, "quote_char": None},
            {"ignore_errors": True, "has_header": False},
        ]
    ),
)
def test_bytes_that_hardly_are_csv(
    data: bytes, shares: list[float], options: dict[str, Any]
) -> None:
    # A split may refuse a malformed file that Polars lets pass, as two faults make up for each
    # other in its count of rows; the other way round would be a wrong answer.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "a.csv"
        path.write_bytes(b"x,y\n" + data)
        frame = pl.scan_csv(path, infer_schema=False, **options)
        places = [int(share * (len(data) + 4)) for share in shares]
        try:
            want = frame.collect()
        except Refused:
            with pytest.raises(Refused):
                at_bytes(frame, places)
            return
        try:
            got = at_bytes(frame, places)
        except PolarsError as error:
            assert "malformed" in str(error)
            return
        assert_frame_equal(got, want)


def test_one_field_over_many_splits(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,"' + b"x\n" * 5000 + b'"\n2,y\n')
    frame = pl.scan_csv(path)
    source, tasks = cut(frame, 10)
    quotes = quotes_of(source, tasks)
    opened = [
        open_scan(
            ScanTask("s", source.spec, task), frame.collect_schema(), quotes=quotes, data_root=None
        )
        for task in tasks
    ]
    heights = [one.collect().height for one in opened]
    assert heights == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert_frame_equal(in_tasks(frame, 10), frame.collect())


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (
            b'x,y\n "\r\n"\r;;,\n\n,1',
            {"ignore_errors": True, "schema": {"x": pl.Int64, "y": pl.Int64}},
        ),
        (
            b'x\n1";b\r\r;\r1,,"a1bab\n"a\n,"\n"\n""',
            {"truncate_ragged_lines": True, "separator": ";"},
        ),
    ],
)
def test_where_malformed_quotes_pass_a_file_with_quotes_is_read_whole(
    tmp_path: Path, data: bytes, options: dict[str, Any]
) -> None:
    path = tmp_path / "1.csv"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pl.scan_csv(path, **options)
        for place in range(len(data)):
            _same(frame, [place])


def test_quotes_are_counted_per_split(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,"x"\n2,"y"\n')
    source, tasks = cut(pl.scan_csv(path), 2)
    counted = quotes_of(source, tasks)
    assert counted is not None
    assert counted.schema == {"path": pl.String, "start": pl.Int64, "quotes": pl.Int64}
    assert counted.rows() == [(str(path), 0, 1), (str(path), 8, 3)]


def test_quotes_are_counted_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_records, "_COUNTED_AT_ONCE", 3)
    data = b'a"b""c"""d'
    for start in range(len(data) + 1):
        for end in range(start, len(data) + 1):
            assert scan_records.count_byte(data, b'"', start, end) == data[start:end].count(b'"')


def test_without_a_count_the_task_counts_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(_FILES["quoted newlines"])
    frame = pl.scan_csv(path)
    source, tasks = cut(frame, 3)
    frames = [
        open_scan(
            ScanTask("s", source.spec, task), frame.collect_schema(), quotes=None, data_root=None
        )
        for task in tasks
    ]
    assert_frame_equal(pl.concat(frames).collect(), frame.collect())


@pytest.mark.parametrize("partitions", [1, 2, 3, 8])
def test_many_files(tmp_path: Path, partitions: int) -> None:
    for number in range(12):
        rows = "".join(f"{number},{row}\n" for row in range(number * 5))
        (tmp_path / f"{number:02}.csv").write_text(f"a,b\n{rows}")
    frame = pl.scan_csv(tmp_path / "*.csv")
    assert_frame_equal(in_tasks(frame, partitions), frame.collect())


@pytest.mark.parametrize("has_header", [True, False])
@pytest.mark.parametrize("partitions", [1, 3])
def test_compressed_files_among_plain_ones(
    tmp_path: Path, has_header: bool, partitions: int
) -> None:
    rows = pl.DataFrame({"a": range(200), "b": ["x"] * 200})
    rows.write_csv(tmp_path / "0.csv", include_header=has_header)
    rows.write_csv(tmp_path / "1.csv", include_header=has_header, compression="gzip",
                   check_extension=False)  # fmt: skip
    frame = pl.scan_csv(tmp_path / "*.csv", has_header=has_header)
    source, _ = cut(frame, 1)
    assert [file.compressed for file in source.files] == [False, True]
    assert_frame_equal(in_tasks(frame, partitions), frame.collect())


def test_names_with_glob_characters(tmp_path: Path) -> None:
    (tmp_path / "[x]*.csv").write_text("a\n1\n2\n")
    frame = pl.scan_csv(tmp_path / "[x]*.csv", glob=False)
    for partitions in (1, 2):
        assert in_tasks(frame, partitions)["a"].to_list() == [1, 2]


def test_paths_under_a_data_root(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n2\n")
    frame = pl.scan_csv(tmp_path / "a.csv")
    source, tasks = cut(frame, 2, data_root=tmp_path)
    assert {split.path for task in tasks for split in task} == {"a.csv"}
    assert run(source, tasks, frame.collect_schema(), tmp_path)["a"].to_list() == [1, 2]


def test_a_task_without_splits_has_the_columns() -> None:
    source_schema = pl.Schema({"a": pl.Int64})
    spec = ScanTask("s", ScanSpec(ScanFormat.CSV), ())
    frame = open_scan(spec, source_schema, quotes=None, data_root=None).collect()
    assert (frame.schema, frame.height) == (source_schema, 0)


class TestSeveralFilesMustAgree:
    def test_other_columns(self, tmp_path: Path) -> None:
        (tmp_path / "0.csv").write_text("a,b\n1,2\n")
        (tmp_path / "1.csv").write_text("a,c\n1,2\n")
        frame = pl.scan_csv(tmp_path / "*.csv", schema={"a": pl.Int64, "b": pl.Int64})
        for partitions in (1, 2, 5):
            with pytest.raises(JobFailedError, match="is 'a', 'c', expected 'a', 'b'") as caught:
                in_tasks(frame, partitions)
            assert caught.value.info.file == str(tmp_path / "1.csv")

    def test_another_order_is_matched_by_name_as_in_polars(self, tmp_path: Path) -> None:
        (tmp_path / "0.csv").write_text("a,b\n1,2\n3,4\n")
        (tmp_path / "1.csv").write_text("b,a\n2,1\n4,3\n")
        frame = pl.scan_csv(tmp_path / "*.csv", schema={"a": pl.Int64, "b": pl.Int64})
        for partitions in (1, 2, 5):
            assert in_tasks(frame, partitions)["a"].to_list() == [1, 3, 1, 3]
        assert_frame_equal(in_tasks(frame, 5), frame.collect())


class TestEmptyFiles:
    """Polars leaves files of no bytes out where it expands a path, and only there."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        files = [tmp_path / "0.csv", tmp_path / "1.csv"]
        files[0].write_bytes(b"a\n1\n")
        return files

    @pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf"])
    def test_they_are_an_error(self, files: list[Path], data: bytes) -> None:
        files[1].write_bytes(data)
        frame = pl.scan_csv(files, schema={"a": pl.Int64})
        with pytest.raises(NoDataError):
            frame.collect()
        for partitions in (1, 2, 4):
            with pytest.raises(NoDataError):
                in_tasks(frame, partitions)

    @pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("schema", [None, {"a": pl.Int64}])
    def test_or_nothing_if_the_user_says_so(
        self, files: list[Path], data: bytes, schema: dict[str, type[pl.DataType]] | None
    ) -> None:
        files[1].write_bytes(data)
        frame = pl.scan_csv(files, schema=schema, raise_if_empty=False)
        for partitions in (1, 2, 4):
            assert_frame_equal(in_tasks(frame, partitions), frame.collect())

    def test_they_are_left_out_of_a_glob(self, files: list[Path]) -> None:
        files[1].write_bytes(b"")
        frame = pl.scan_csv(files[0].parent / "*.csv")
        for partitions in (1, 2, 4):
            assert_frame_equal(in_tasks(frame, partitions), frame.collect())


_TYPED = {
    "dates": (["2020-01-05", "2021-12-31"], {"try_parse_dates": True}, pl.Date),
    "days first": (["05/01/2020", "31/12/2021"], {"try_parse_dates": True}, pl.Date),
    "times": (["2020-01-05T10:00:00", "2020-01-05 11:00:00.5"], {"try_parse_dates": True}, None),
    "zones": (["2020-01-05T10:00:00Z"], {"try_parse_dates": True}, None),
    "booleans": (["true", "false", ""], {}, pl.Boolean),
    "floats": (["1.5", "1e5", "inf", "-0.0"], {}, pl.Float64),
    "decimals": (["1.5", "2", ""], {"schema_overrides": {"a": pl.Decimal(10, 2)}}, None),
    "categories": (["x", "y", ""], {"schema_overrides": {"a": pl.Categorical}}, None),
    "enums": (["x", "y"], {"schema_overrides": {"a": pl.Enum(["y", "x"])}}, None),
    "small": (["1", "2"], {"schema_overrides": {"a": pl.UInt8}}, pl.UInt8),
    "huge": (["99999999999999999999"], {"schema_overrides": {"a": pl.Int128}}, pl.Int128),
    "clock": (["10:00:00"], {"schema_overrides": {"a": pl.Time}}, pl.Time),
    "comma": (["1,5", "2,5"], {"separator": ";", "decimal_comma": True}, pl.Float64),
}


@pytest.mark.parametrize(("values", "options", "dtype"), _TYPED.values(), ids=_TYPED.keys())
def test_dtypes(
    tmp_path: Path, values: list[str], options: dict[str, Any], dtype: type[pl.DataType] | None
) -> None:
    path = tmp_path / "a.csv"
    separator = options.get("separator", ",")
    rows = "".join(f"{value}{separator}x\n" for value in values * 20)
    path.write_text(f"a{separator}b\n{rows}")
    frame = pl.scan_csv(path, **options)
    want = frame.collect()
    assert dtype is None or want.schema["a"] == dtype
    for partitions in (1, 2, 7):
        assert_frame_equal(in_tasks(frame, partitions), want)


@pytest.mark.parametrize("late", ["1.5", "x", "+", "99999999999999999999", "1,2,3"])
@pytest.mark.parametrize("partitions", [1, 3])
def test_what_does_not_fit_the_inferred_dtype_is_an_error_as_in_polars(
    tmp_path: Path, late: str, partitions: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 150 + f"{late}\n" + "1,2\n" * 50)
    frame = pl.scan_csv(path)
    with pytest.raises(PolarsError):
        frame.collect()
    with pytest.raises(PolarsError):
        in_tasks(frame, partitions)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("a\n1\n2\n3\n"),
        lambda path: path.unlink(),
    ],
)
@pytest.mark.parametrize("partitions", [1, 2])
def test_a_file_that_changed_since_planning_is_an_error(
    tmp_path: Path, change: Callable[[Path], object], partitions: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n2\n")
    frame = pl.scan_csv(path)
    schema = frame.collect_schema()
    source, tasks = cut(frame, partitions)
    change(path)
    for task in tasks:
        with pytest.raises(JobFailedError) as caught:
            open_scan(ScanTask("s", source.spec, task), schema, quotes=None, data_root=None)
        assert caught.value.info.file == str(path)


def test_a_file_touched_since_planning_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n2\n")
    source, ((split,),) = cut(pl.scan_csv(path), 1)
    old = Split(split.path, split.start, split.end, split.size, split.mtime_ns - 1)
    with pytest.raises(JobFailedError, match="has changed since planning"):
        open_scan(
            ScanTask("s", source.spec, (old,)),
            pl.Schema({"a": pl.Int64}),
            quotes=None,
            data_root=None,
        )
