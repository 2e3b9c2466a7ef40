"""Finds the record that made a scan fail: file, row, column, value.

Polars says which value it could not read, and sometimes the column, but no file and no row. After
such a failure the splits are read once more in pieces. The piece that fails is halved until one
record is left, and the values of this record are tried one by one. That costs about as much as the
task itself, once a job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, caused_by
from minispark.plan.columns import exact_columns
from minispark.plan.scan_files import is_compressed
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.printable import cut
from minispark.task.failures import first_line
from minispark.task.scan_csv import CsvOptions, CsvReader
from minispark.task.scan_inputs import file_name, input_path
from minispark.task.scan_records import Bytes, count_byte, map_file, record_start
from minispark.task.spec import ScanTask

_PIECE_BYTES = 4 << 20
_COUNTED_AT_ONCE = 16 << 20
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
    """Return an error that names the record which a scan cannot read. Raises nothing.

    ``error`` is what reading the scan failed with. ``row`` counts the data rows of the file from 1,
    without the header; for JSON lines and text it is the number of the line, and empty lines count.
    ``field`` is the column. What was not found is None, and then the message is that of ``error``.
    """
    paths = {split.path for split in scan.splits}
    file = paths.pop() if len(paths) == 1 else None
    plain = caused_by(error, ErrorInfo("MS-233", _message(error), file=file))
    try:
        if scan.spec.format is ScanFormat.PARQUET:
            return _parquet_error(scan, schema, data_root, plain) or plain
        kind = _RECORDS.get(scan.spec.format)
        if kind is not None:
            match = _COLUMN.search(str(error))
            # Only the column that Polars names, if any: the task may not have read the others.
            columns = [match["name"]] if match and match["name"] in schema else schema.names()
            for split in scan.splits:
                path = input_path(split, data_root)
                with map_file(path) as data:
                    records = kind(data, scan.spec, schema, columns, quotes)
                    located = _search(records, split, file_name(path), plain)
                if located is not None:
                    return located
    except (Exception, PanicException):
        # The first error says more than one about the search.
        return plain
    return plain


@dataclass
class _Lines:
    """The lines of a text file. Each ``begin`` in the methods is the begin of a record."""

    data: Bytes
    spec: ScanSpec
    schema: pl.Schema
    columns: list[str]
    quotes: pl.DataFrame | None

    def bounds(self, split: Split) -> tuple[int, int]:
        """Return where the records of a split begin and end."""
        return record_start(self.data, split.start), record_start(self.data, split.end)

    def next_start(self, begin: int, position: int) -> int:
        """Return where the first record at or after ``position`` begins."""
        return record_start(self.data, max(begin, position))

    def read(self, begin: int, end: int) -> pl.LazyFrame:
        """Return records as the task read them."""
        return pl.scan_lines(self.data[begin:end], **self.spec.options)

    def count(self, end: int) -> int:
        """Return the number of records before ``end``."""
        return count_byte(self.data, b"\n", 0, end)

    def bad_value(self, _begin: int, _end: int) -> tuple[str, str] | None:
        """Return the column and the value of a failing record that its dtype cannot hold."""
        return None


class _JsonLines(_Lines):
    def read(self, begin: int, end: int) -> pl.LazyFrame:
        frame = pl.scan_ndjson(self.data[begin:end], schema=self.schema, **self.spec.options)
        return frame.select(exact_columns(self.columns))

    def bad_value(self, begin: int, end: int) -> tuple[str, str] | None:
        try:
            record = json.loads(self.data[begin:end])
        except (ValueError, RecursionError):
            return None
        for column in self.columns if isinstance(record, dict) else ():
            value = json.dumps({column: record.get(column)})
            try:
                pl.read_ndjson(value.encode(), schema={column: self.schema[column]})
            except (PolarsError, PanicException):
                return column, json.dumps(record[column])
        return None


@dataclass
class _CsvRecords(_Lines):
    body = 0

    def __post_init__(self) -> None:
        options = CsvOptions.of(self.spec.options)
        self.strict = CsvReader(options, self.schema, self.quotes, None)
        lenient = replace(options, reader={**options.reader, "ignore_errors": True})
        self.lenient = replace(self.strict, options=lenient)
        texts = pl.Schema(dict.fromkeys(self.schema, pl.String()))
        self.texts = replace(self.lenient, schema=texts)

    def bounds(self, split: Split) -> tuple[int, int]:
        self.body, begin, end = self.strict.bounds(self.data, split)
        return begin, end

    def next_start(self, begin: int, position: int) -> int:
        quote = self.strict.options.quote
        odd = quote is not None and count_byte(self.data, quote, begin, position) % 2 == 1
        return record_start(self.data, position, quote=quote, odd=odd)

    def read(self, begin: int, end: int) -> pl.LazyFrame:
        frame = self.strict.read_records(self.data, self.body, begin, end)
        return frame.select(exact_columns(self.columns))

    def count(self, end: int) -> int:
        rows, begin = 0, self.body
        while begin < end:
            stop = min(self.next_start(begin, begin + _COUNTED_AT_ONCE), end)
            frame = self.texts.read_records(self.data, self.body, begin, stop)
            rows += int(frame.select(pl.len()).collect().item())
            begin = stop
        return rows

    def bad_value(self, begin: int, end: int) -> tuple[str, str] | None:
        texts, values = (
            reader.read_records(self.data, self.body, begin, end).collect()
            for reader in (self.texts, self.lenient)
        )
        for column in self.columns:
            if texts[column][0] is not None and values[column][0] is None:
                return column, texts[column][0]
        return None


_RECORDS: dict[ScanFormat, type[_Lines]] = {
    ScanFormat.CSV: _CsvRecords,
    ScanFormat.JSONL: _JsonLines,
    ScanFormat.TEXT: _Lines,
}


def _search(records: _Lines, split: Split, file: Path, plain: ErrorInfo) -> ErrorInfo | None:
    """Return an error that names the first record of a split that fails, None if none does."""
    if is_compressed(records.data[:4]):
        return None
    for piece in _pieces(records, split):
        error = _failure(records, *piece)
        if error is not None:
            begin, end, error = _narrow(records, *piece, error)
            row = records.count(begin) + 1 if begin <= _COUNTED_BYTES else None
            return _describe(records, begin, end, error, replace(plain, file=str(file), row=row))
    return None


def _pieces(records: _Lines, split: Split) -> Iterator[tuple[int, int]]:
    begin, end = records.bounds(split)
    while begin < end:
        stop = min(records.next_start(begin, begin + _PIECE_BYTES), end)
        yield begin, stop
        begin = stop


def _failure(records: _Lines, begin: int, end: int) -> BaseException | None:
    try:
        records.read(begin, end).collect(engine="streaming")
    except (PolarsError, PanicException) as error:
        return error
    return None


def _narrow(
    records: _Lines, begin: int, end: int, error: BaseException
) -> tuple[int, int, BaseException]:
    """Narrow records that fail down to the first that fails by itself."""
    while True:
        middle = records.next_start(begin, begin + (end - begin) // 2)
        if middle >= end:
            # The second half is inside one long record, perhaps the only one.
            middle = records.next_start(begin, begin + 1)
        if middle >= end:
            return begin, end, error
        first = _failure(records, begin, middle)
        if first is not None:
            end, error = middle, first
            continue
        second = _failure(records, middle, end)
        if second is None:
            return begin, end, error
        begin, error = middle, second


def _describe(
    records: _Lines, begin: int, end: int, error: BaseException, info: ErrorInfo
) -> ErrorInfo:
    """Return ``info`` with the value of a record that cannot be read, else with the record."""
    try:
        bad = records.bad_value(begin, end)
    except (PolarsError, PanicException):
        bad = None
    if bad is None:
        record = records.data[begin:end].decode(errors="replace").strip("\r\n")
        return replace(info, message=f"{_message(error)}: {cut(record, _VALUE_CHARS)!r}")
    column, value = bad
    dtype = records.schema[column]
    message = f"{cut(value, _VALUE_CHARS)!r} in column {column!r} cannot be read as {dtype}"
    return replace(info, message=message, field=column, hint=_HINTS.get(records.spec.format))


def _parquet_error(
    scan: ScanTask, schema: pl.Schema, data_root: Path | None, plain: ErrorInfo
) -> ErrorInfo | None:
    """Return an error that names the Parquet file whose columns differ from those of the first."""
    for split in {split.path: split for split in scan.splits}.values():
        path = input_path(split, data_root)
        file, own = str(file_name(path)), pl.read_parquet_schema(path)
        for name, dtype in schema.items():
            if own.get(name) != dtype and _column_error(path, schema, name) == plain.message:
                has = f"is {own[name]}" if name in own else "is missing"
                message = f"the column {name!r} {has} in {file}, expected {dtype}"
                return _in_parquet(plain, message, file, name)
        for name in own:
            if name not in schema and f"{_EXTRA}{name}," in plain.message:
                message = f"the column {name!r} of {file} is not in the first file"
                return _in_parquet(plain, message, file, name)
    return None


def _column_error(path: Path, schema: pl.Schema, name: str) -> str | None:
    try:
        pl.scan_parquet(path, schema=schema).select(name).collect()
    except (PolarsError, PanicException) as error:
        return _message(error)
    return None


def _in_parquet(plain: ErrorInfo, message: str, file: str, name: str) -> ErrorInfo:
    hint = _HINTS[ScanFormat.PARQUET]
    return replace(plain, message=message, file=file, field=name, hint=hint)


def _message(error: BaseException) -> str:
    return first_line(error, _MESSAGE_CHARS) or type(error).__name__
