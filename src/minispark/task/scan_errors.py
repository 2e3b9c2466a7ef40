"""Finds the record that made a scan fail: file, row, column, value.

Polars says which value it could not read, and sometimes the column, but no file and no row. After
such a failure the splits are read once more, a piece at a time; the piece that fails is halved
until one record is left, and its values are tried one by one. That costs about as much as the
task itself, once a job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, caused_by
from minispark.plan.scan_files import is_compressed
from minispark.plan.stages import ScanFormat, Split
from minispark.task.record_probes import CsvProbe, LinesProbe, RecordProbe
from minispark.task.scan_inputs import checked, named
from minispark.task.scan_records import Bytes, mapped
from minispark.task.spec import ScanTask

_PIECE_BYTES = 4 << 20
_COUNTED_BYTES = 8 << 30
"""Records further into a file are not counted: that takes a second a gigabyte."""
_VALUE_CHARS = 60
_MESSAGE_CHARS = 200
_COLUMN = re.compile(r"at column '(?P<name>.*)' \(column number \d+\)", re.DOTALL)
_EXTRA = "extra column in file outside of expected schema: "
_HINTS = {
    ScanFormat.CSV: "Fix the value, list it in null_values, or give the column another dtype in "
    "the schema; dtypes are inferred from the first rows only.",
    ScanFormat.JSONL: "Fix the value, give the column another dtype in the schema, or infer it "
    "from more rows (infer_rows; in Polars infer_schema_length).",
    ScanFormat.PARQUET: "Files that are read together must have the same columns and dtypes.",
}


def locate_error(
    scan: ScanTask,
    schema: pl.Schema,
    *,
    quotes: pl.DataFrame | None,
    data_root: Path | None,
    error: BaseException,
) -> ErrorInfo:
    """Say which record of a scan cannot be read, after reading it failed with ``error``.

    ``row`` counts the data rows of the file from 1, its header not among them; for JSON lines and
    text it is the number of the line, and empty lines count. ``field`` is the column. What is not
    found is left None, and then the message is that of ``error``. Raises nothing.
    """
    paths = {split.path for split in scan.splits}
    file = paths.pop() if len(paths) == 1 else None
    hint = _HINTS.get(scan.spec.format)
    told = caused_by(error, ErrorInfo("MS-233", _sentence(error), file=file))
    try:
        if scan.spec.format is ScanFormat.PARQUET:
            found = _other_dtype(scan, schema, data_root, told)
            return found or _extra_column(scan, schema, data_root, told) or told
        suspect = _suspect(scan, schema, quotes, _columns(error, schema))
        if suspect is None:
            return told
        for split in scan.splits:
            found = _search(suspect, split, checked(split, data_root), told, hint)
            if found is not None:
                return found
    except (Exception, PanicException):
        # The error that was told in the first place is better than one about telling it.
        return told
    return told


def _columns(error: BaseException, schema: pl.Schema) -> list[str]:
    """Columns in which the value may lie; the task perhaps did not read the others."""
    told = _COLUMN.search(str(error))
    return [told["name"]] if told and told["name"] in schema else schema.names()


def _suspect(
    scan: ScanTask, schema: pl.Schema, quotes: pl.DataFrame | None, columns: list[str]
) -> RecordProbe | None:
    match scan.spec.format:
        case ScanFormat.CSV:
            return CsvProbe(scan.spec, schema, quotes, columns)
        case ScanFormat.JSONL | ScanFormat.TEXT:
            return LinesProbe(scan.spec, schema, columns)
    return None


def _search(
    suspect: RecordProbe, split: Split, path: Path, told: ErrorInfo, hint: str | None
) -> ErrorInfo | None:
    with mapped(path) as data:
        if is_compressed(data[:4]):
            return None
        for begin, end in _pieces(suspect, data, split):
            why = _failure(suspect, data, begin, end)
            if why is not None:
                begin, end, why = _halved(suspect, data, begin, end, why)
                row = suspect.count(data, begin) + 1 if begin <= _COUNTED_BYTES else None
                at = replace(told, file=str(named(path)), row=row)
                return _blamed(suspect, data, begin, end, why, at, hint)
    return None


def _other_dtype(
    scan: ScanTask, schema: pl.Schema, data_root: Path | None, told: ErrorInfo
) -> ErrorInfo | None:
    """Find the Parquet file that has a column otherwise than the first; it fails alone too."""
    for split in {split.path: split for split in scan.splits}.values():
        path = checked(split, data_root)
        own = pl.read_parquet_schema(path)
        for name, dtype in schema.items():
            if own.get(name) == dtype:
                continue
            try:
                pl.scan_parquet(path, schema=schema).select(name).collect()
            except (PolarsError, PanicException) as error:
                if _sentence(error) == told.message:
                    has = f"is {own[name]}" if name in own else "is missing"
                    message = f"the column {name!r} {has} in {named(path)}, expected {dtype}"
                    hint = _HINTS[ScanFormat.PARQUET]
                    return replace(
                        told, message=message, file=str(named(path)), field=name, hint=hint
                    )
    return None


def _extra_column(
    scan: ScanTask, schema: pl.Schema, data_root: Path | None, told: ErrorInfo
) -> ErrorInfo | None:
    """Find the Parquet file that has the column of which Polars says that the first has none."""
    for split in {split.path: split for split in scan.splits}.values():
        path = checked(split, data_root)
        for name in pl.read_parquet_schema(path):
            if name not in schema and f"{_EXTRA}{name}," in told.message:
                file = str(named(path))
                message = f"the column {name!r} of {file} is not in the first file"
                hint = _HINTS[ScanFormat.PARQUET]
                return replace(told, message=message, file=file, field=name, hint=hint)
    return None


def _pieces(suspect: RecordProbe, data: Bytes, split: Split) -> Iterator[tuple[int, int]]:
    begin, end = suspect.bounds(data, split)
    while begin < end:
        stop = min(suspect.following(data, begin, begin + _PIECE_BYTES), end)
        yield begin, stop
        begin = stop


def _failure(suspect: RecordProbe, data: Bytes, begin: int, end: int) -> BaseException | None:
    try:
        suspect.read(data, begin, end).collect(engine="streaming")
    except (PolarsError, PanicException) as error:
        return error
    return None


def _halved(
    suspect: RecordProbe, data: Bytes, begin: int, end: int, why: BaseException
) -> tuple[int, int, BaseException]:
    """Narrow records that fail down to the first that fails by itself."""
    while True:
        middle = suspect.following(data, begin, begin + (end - begin) // 2)
        if middle >= end:
            # The second half is inside one long record, perhaps the only one.
            middle = suspect.following(data, begin, begin + 1)
        if middle >= end:
            return begin, end, why
        first = _failure(suspect, data, begin, middle)
        if first is not None:
            end, why = middle, first
            continue
        second = _failure(suspect, data, middle, end)
        if second is None:
            return begin, end, why
        begin, why = middle, second


def _blamed(
    suspect: RecordProbe,
    data: Bytes,
    begin: int,
    end: int,
    why: BaseException,
    at: ErrorInfo,
    hint: str | None,
) -> ErrorInfo:
    try:
        blamed = suspect.blame(data, begin, end)
    except (PolarsError, PanicException):
        blamed = None
    if blamed is None:
        record = data[begin:end].decode(errors="replace").strip("\r\n")
        return replace(at, message=f"{_sentence(why)}: {_shortened(record, _VALUE_CHARS)!r}")
    column, value, dtype = blamed
    message = f"{_shortened(value, _VALUE_CHARS)!r} in column {column!r} cannot be read as {dtype}"
    return replace(at, message=message, field=column, hint=hint)


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return _shortened(lines[0] if lines else type(error).__name__, _MESSAGE_CHARS)


def _shortened(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]}..."
