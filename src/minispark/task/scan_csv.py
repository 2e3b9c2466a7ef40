"""Splits of CSV files as frames.

Polars gets each split as a small CSV file of its own: the header of its file, and the records that
begin in the split. So Polars matches columns by name, pads short rows and refuses long ones exactly
as it does when it reads the file as a whole.

If the file has no header, a line with invented names is put before the records, and the real names
are given as an option. If the user gave a schema (option ``check_width``), the first split gets no
such line: Polars then compares the number of columns of the first row.

Polars refuses files with quotes in the middle of unquoted fields, unless it may ignore errors
(``ignore_errors``) or cut long rows (``truncate_ragged_lines``). Then the rows that it finds depend
on where it starts. With these options a file that holds any quote character is read whole by the
task that has its start.

Known deviation: dates that are written in more than one way within a column. Polars refuses a date
that differs from the first one in the same chunk of a file. Polars chooses where chunks begin, and
a split begins a new one, so a file that Polars refuses may be read here. Under ``ignore_errors``
Polars gives null in place of an error; such files are not cut (`minispark.plan.rules.scan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import exact_columns
from minispark.plan.scan_files import is_compressed
from minispark.plan.scan_options import WHOLE_FILES
from minispark.plan.splits import QUOTES_SCHEMA
from minispark.plan.stages import Split
from minispark.task.progress import note_part
from minispark.task.scan_inputs import file_name, group_whole_files, input_path, is_whole
from minispark.task.scan_records import BOM, Bytes, body_start, count_byte, map_file, record_start
from minispark.task.spec import ScanTask

_HEADER_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """Options of a CSV scan. ``reader`` are those that go to Polars as they are."""

    has_header: bool
    separator: str
    quote: bytes | None
    new_columns: list[str] | None
    check_width: bool
    raise_if_empty: bool
    infer_schema_length: int | None
    reader: Mapping[str, Any]

    @property
    def lenient(self) -> bool:
        """Whether Polars accepts malformed quotes."""
        tolerated = ("ignore_errors", "truncate_ragged_lines")
        return self.quote is not None and any(self.reader.get(name) for name in tolerated)

    @property
    def whole(self) -> bool:
        """Whether only Polars finds the header and the first record of a file."""
        return any(name in self.reader for name in WHOLE_FILES)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CsvOptions:
        """Return the options of a `ScanSpec`."""
        rest = dict(options)
        quote = rest.get("quote_char", '"')
        return cls(
            has_header=rest.pop("has_header", True),
            separator=rest.get("separator", ","),
            quote=None if quote is None else quote.encode(),
            new_columns=rest.pop("new_columns", None),
            check_width=rest.pop("check_width", False),
            raise_if_empty=rest.pop("raise_if_empty", False),
            infer_schema_length=rest.pop("infer_schema_length", 100),
            reader=rest,
        )


@dataclass(frozen=True, slots=True)
class CsvReader:
    """Reads splits of one scan."""

    options: CsvOptions
    schema: pl.Schema
    quotes: pl.DataFrame | None
    data_root: Path | None

    def _scan(
        self, source: Any, *, has_header: bool, names: list[str] | None, **columns: Any
    ) -> pl.LazyFrame:
        """Return the rows of bytes or paths; the columns are those of planning by default."""
        return pl.scan_csv(
            source,
            has_header=has_header,
            new_columns=names,
            raise_if_empty=self.options.raise_if_empty,
            glob=False,
            **(columns or {"schema": self.schema}),
            **self.options.reader,
        )

    def read_files(self, splits: list[Split]) -> list[pl.LazyFrame]:
        """Return the rows of splits that are whole files."""
        options = self.options
        paths = [input_path(split, self.data_root) for split in splits]
        if options.has_header:
            for path in paths:
                self._check_header_of(path)
        elif not options.check_width:
            pairs = zip(paths, splits, strict=True)
            return [self._read_headerless(path, split) for path, split in pairs]
        return [self._scan(paths, has_header=options.has_header, names=options.new_columns)]

    def _read_headerless(self, path: Path, split: Split) -> pl.LazyFrame:
        if not self.options.whole:
            with map_file(path) as data:
                compressed = is_compressed(data[:4])
            if not compressed:
                return self.read_split(split, path)
        frame = self._scan(
            path,
            has_header=False,
            names=self.options.new_columns,
            schema_overrides=self.schema,
            infer_schema_length=self.options.infer_schema_length,
        )
        return frame.select(exact_columns(self.schema.names()))

    def read_split(self, split: Split, path: Path) -> pl.LazyFrame:
        """Return the records that begin in a split."""
        options = self.options
        with map_file(path) as data:
            if options.lenient and not is_whole(split) and self._quotes_before(data, split):
                if split.start > 0:
                    return pl.LazyFrame(schema=self.schema)
                return self.read_files([replace(split, end=split.size)])[0]
            body, begin, end = self.bounds(data, split)
            if split.start == 0 and options.has_header:
                self._check_header(data[:body], path)
            if begin < end:
                if options.check_width and begin == body:
                    content = data[:end]
                    note_part(content)
                    return self._scan(content, has_header=False, names=options.new_columns)
                return self.read_records(data, body, begin, end)
            if split.start == 0 and (options.has_header or body == len(data)):
                # Polars checks the header, or refuses the empty file.
                header, names = options.has_header, options.new_columns
                return self._scan(data[:body], has_header=header, names=names)
            return pl.LazyFrame(schema=self.schema)

    def bounds(self, data: Bytes, split: Split) -> tuple[int, int, int]:
        """Return where the first record of the file begins, and the bounds of a split's records."""
        body = body_start(data, has_header=self.options.has_header, quote=self.options.quote)
        begin, end = (
            self._next_start(data, split, position, body) for position in (split.start, split.end)
        )
        return body, begin, end

    def read_records(self, data: Bytes, body: int, begin: int, end: int) -> pl.LazyFrame:
        """Return the records in ``data[begin:end]``, read below the header of their file."""
        if self.options.has_header:
            header, names = data[:body], self.options.new_columns
        else:
            columns = range(len(self.schema))
            header = (self.options.separator.join(map(str, columns)) + "\n").encode()
            names = self.schema.names()
        with memoryview(data) as view, view[begin:end] as records:
            content = b"".join((header, records))
        note_part(content)
        return self._scan(content, has_header=True, names=names)

    def _next_start(self, data: Bytes, split: Split, position: int, body: int) -> int:
        """Return where the first record at or after ``position`` begins."""
        if position <= body:
            return body
        odd = position < len(data) and self._quotes_before(data, split, position) % 2 == 1
        return record_start(data, position, quote=self.options.quote, odd=odd)

    def _quotes_before(self, data: Bytes, split: Split, position: int | None = None) -> int:
        """Return the number of quotes in the file of a split, before a cut or in all of it."""
        end = len(data) if position is None else position
        if self.options.quote is None:
            return 0
        if self.quotes is None:
            return count_byte(data, self.options.quote, 0, end)
        before = (pl.col("path") == split.path) & (pl.col("start") < end)
        return int(self.quotes.filter(before)["quotes"].sum())

    def _check_header_of(self, path: Path) -> None:
        if self.options.whole:
            self._check_names_of(path)
            return
        with map_file(path) as data:
            if not is_compressed(data[:4]):
                body = body_start(data, has_header=True, quote=self.options.quote)
                self._check_header(data[:body], path)

    def _check_header(self, header: bytes, path: Path) -> None:
        """Refuse a file whose columns are not those of the first file.

        As in Polars their order may differ if columns are matched by name.
        """
        names = self.schema.names()
        line = header.removeprefix(BOM).strip(b"\r\n")
        if not line or line == self.options.separator.join(names).encode():
            return
        try:
            own = pl.read_csv(
                header,
                has_header=True,
                infer_schema=False,
                separator=self.options.separator,
                quote_char=self.options.reader.get("quote_char", '"'),
                encoding=self.options.reader.get("encoding", "utf8"),
            ).columns
        except (PolarsError, PanicException):
            return
        self._check_names(own, path)

    def _check_names_of(self, path: Path) -> None:
        """Check a header that only Polars finds; under some options it may have any columns."""
        if {"missing_columns", "extra_columns"} & self.options.reader.keys():
            return
        try:
            scan = pl.scan_csv(path, glob=False, infer_schema=False, **self.options.reader)
            own = scan.collect_schema().names()
        except (PolarsError, PanicException):
            return
        self._check_names(own, path)

    def _check_names(self, own: list[str], path: Path) -> None:
        names = self.schema.names()
        if self.options.new_columns is not None:
            agree = len(own) == len(names)
        else:
            agree = sorted(own) == sorted(names)
        if not agree:
            raise _other_header(path, own, names)


def _other_header(path: Path, own: list[str], names: list[str]) -> JobFailedError:
    """Return the error that Polars raises for a header, with the file and the columns."""
    pairs = zip(names, own, strict=False)
    first, other = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    words = f"schema names differ: got {first}, expected {other}"
    return JobFailedError.from_info(
        ErrorInfo(
            "MS-232",
            f"the header of {file_name(path)} is {_list_names(own)}, expected {_list_names(names)}",
            file=str(file_name(path)),
            hint="Files that are read together must have the same columns.",
            exception="ComputeError",
            exception_message=words if len(own) == len(names) else "schema lengths differ",
        )
    )


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - _HEADER_SHOWN} more" if len(names) > _HEADER_SHOWN else ""
    return ", ".join(map(repr, names[:_HEADER_SHOWN])) + more


def open_csv(
    scan: ScanTask, schema: pl.Schema, *, quotes: pl.DataFrame | None, data_root: Path | None
) -> list[pl.LazyFrame]:
    """Return frames with the rows of the splits, in order."""
    reader = CsvReader(CsvOptions.of(scan.spec.options), schema, quotes, data_root)
    frames: list[pl.LazyFrame] = []
    for whole, splits in group_whole_files(scan.splits):
        if whole:
            frames += reader.read_files(splits)
        else:
            frames += [reader.read_split(split, input_path(split, data_root)) for split in splits]
    return frames


def count_quotes(scan: ScanTask, *, data_root: Path | None) -> pl.DataFrame:
    """Return the number of quote characters in each split (`QUOTES_SCHEMA`)."""
    quote = scan.spec.options["quote_char"].encode()
    rows = []
    for split in scan.splits:
        with map_file(input_path(split, data_root)) as data:
            rows.append((split.path, split.start, count_byte(data, quote, split.start, split.end)))
    return pl.DataFrame(rows, schema=QUOTES_SCHEMA, orient="row")
