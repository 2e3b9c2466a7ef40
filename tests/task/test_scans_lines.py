"""JSON lines and text: whatever the cuts, the rows are those of the file as a whole."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.exceptions import PolarsError
from polars.testing import assert_frame_equal
from tests.task.scan_kit import at_bytes, in_tasks


def _at_every_byte(frame: pl.LazyFrame, data: bytes) -> None:
    want = frame.collect()
    for place in range(len(data) + 1):
        assert_frame_equal(at_bytes(frame, [place]), want)
        assert_frame_equal(at_bytes(frame, [place, min(place + 2, len(data))]), want)


@pytest.mark.parametrize(
    "data",
    [
        b"a\nb\n",
        b"a\nb",
        b"a\r\nb\r\n",
        b"a\n\nb\n\n",
        b"\n",
        b"\r\n",
        b"",
        b"a\rb\nc\r",
        b"\xef\xbb\xbfa\nb",
        b'"a\nb"\n',
        "ä\nö\n".encode(),
    ],
)
def test_text_cut_at_any_byte(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    _at_every_byte(pl.scan_lines(path, name="text"), data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}\n{"a":2}\n',
        b'{"a":1}\n{"a":2}',
        b'{"a":1}\r\n\r\n{"a":2}\r\n',
        b'\n\n{"a":1}\n \n{"a":2}\n\n',
        b'{"a":1}\n{"b":"x\\ny"}\n{"a":null}\n',
        b'{"a":{"x":[1,2]}}\n{"a":{"x":[]}}\n{}\n',
        b'{"a":"1"}\n{"a":2}\n',
    ],
)
def test_json_lines_cut_at_any_byte(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    _at_every_byte(pl.scan_ndjson(path), data)


_scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5)
_records = st.dictionaries(
    st.sampled_from(["a", "b", "ö"]), _scalars | st.lists(st.integers(0, 9), max_size=2)
)


@settings(max_examples=120, deadline=None)
@given(
    records=st.lists(_records, min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    last=st.booleans(),
    shares=st.lists(st.floats(0, 1), max_size=4),
    ascii_only=st.booleans(),
)
def test_any_json_lines_cut_anywhere(
    records: list[dict[str, Any]], end: str, last: bool, shares: list[float], ascii_only: bool
) -> None:
    lines = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    data = (end.join(lines) + (end if last else "")).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(data)
        frame = pl.scan_ndjson(path)
        places = [int(share * len(data)) for share in shares]
        try:
            want = frame.collect()
        except PolarsError:
            with pytest.raises(PolarsError):
                at_bytes(frame, places)
            return
        assert_frame_equal(at_bytes(frame, places), want)


@settings(max_examples=120, deadline=None)
@given(
    text=st.text(alphabet=st.sampled_from(list('a "\n\r\u2028ä')), max_size=40),
    shares=st.lists(st.floats(0, 1), max_size=4),
)
def test_any_text_cut_anywhere(text: str, shares: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes(text.encode())
        size = path.stat().st_size
        frame = pl.scan_lines(path)
        assert_frame_equal(at_bytes(frame, [int(s * size) for s in shares]), frame.collect())


@pytest.mark.parametrize(
    "late",
    ['{"a":1,"b":2}', '{"b":2}', "{}", '{"a":1.5}', '{"a":"x"}', '{"a":[1]}', "xx", "null"],
)
@pytest.mark.parametrize("ignore_errors", [True, False])
def test_what_differs_from_the_inferred_schema_is_as_in_polars(
    tmp_path: Path, late: str, ignore_errors: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 150 + f"{late}\n" + '{"a":2}\n' * 9)
    frame = pl.scan_ndjson(path, ignore_errors=ignore_errors)
    try:
        want = frame.collect()
    except PolarsError:
        for partitions in (1, 3):
            with pytest.raises(PolarsError):
                in_tasks(frame, partitions)
        return
    for partitions in (1, 3):
        assert_frame_equal(in_tasks(frame, partitions), want)


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_many_files(tmp_path: Path, partitions: int) -> None:
    for number in range(6):
        (tmp_path / f"{number}.jsonl").write_text(f'{{"a":{number}}}\n' * number * 3)
        (tmp_path / f"{number}.txt").write_text(f"line {number}\n" * number * 3)
    for frame in (
        pl.scan_ndjson(tmp_path / "*.jsonl", schema={"a": pl.Int64}),
        pl.scan_lines(tmp_path / "*.txt"),
    ):
        assert_frame_equal(in_tasks(frame, partitions), frame.collect())


def test_names_with_glob_characters(tmp_path: Path) -> None:
    (tmp_path / "[x].jsonl").write_text('{"a":1}\n')
    (tmp_path / "x.jsonl").write_text('{"a":2}\n')
    assert in_tasks(pl.scan_ndjson(tmp_path), 1)["a"].to_list() == [1, 2]


def test_no_records_in_the_task_or_in_any(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    assert in_tasks(pl.scan_lines(tmp_path / "a.txt"), 3).schema == {"line": pl.String}
