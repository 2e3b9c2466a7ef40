"""Splits of CSV files as frames.

Each split is handed to Polars as a small CSV file of its own: the header of its file, and the
records that begin in the split. So Polars matches columns by name, pads short rows and refuses
long ones exactly as it does when it reads the file as a whole.

Without a header the line put before the records is made up, and the names are given apart; where
the user gave a schema the first split goes without, since Polars then compares the number of
columns of the first row (option ``check_width``).

Files with quotes in the middle of unquoted fields are refused by Polars, unless it is told to let
errors pass (``ignore_errors``) or to cut long rows (``truncate_ragged_lines``); then it finds some
rows of theirs or other, depending on where it starts. With these options a file that holds any
quote character is read whole by the task that has its start.

Known deviation: dates that are written in more than one way within a column. Polars refuses what
differs from the first date in the same chunk of a file; where chunks begin is up to Polars, and a
split begins a new one, so a file that Polars refuses may be read here. Under ``ignore_errors``
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
from minispark.plan.stages import Split
from minispark.task.scan_inputs import checked, is_whole, named, runs
from minispark.task.scan_records import BOM, Bytes, body_start, count_byte, mapped, record_start
from minispark.task.spec import ScanTask

_HEADER_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """Options of a CSV scan, those that a split changes apart from those that go to Polars."""

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
        """Whether Polars would let malformed quotes pass."""
        tolerated = ("ignore_errors", "truncate_ragged_lines")
        return self.quote is not None and any(self.reader.get(name) for name in tolerated)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CsvOptions:
        """Take the options of a `ScanSpec` apart."""
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

    def scan(self, source: Any, *, has_header: bool, names: list[str] | None) -> pl.LazyFrame:
        """Let Polars read bytes or paths with the pinned schema."""
        return pl.scan_csv(
            source,
            has_header=has_header,
            schema=self.schema,
            new_columns=names,
            raise_if_empty=self.options.raise_if_empty,
            glob=False,
            **self.options.reader,
        )

    def whole(self, splits: list[Split]) -> list[pl.LazyFrame]:
        """Files that need no cutting, as they are."""
        options = self.options
        paths = [checked(split, self.data_root) for split in splits]
        if options.has_header:
            for path in paths:
                self._check_header_of(path)
        elif not options.check_width:
            return [
                self._headerless(path, split) for path, split in zip(paths, splits, strict=True)
            ]
        return [self.scan(paths, has_header=options.has_header, names=options.new_columns)]

    def _headerless(self, path: Path, split: Split) -> pl.LazyFrame:
        with mapped(path) as data:
            compressed = is_compressed(data[:4])
        if not compressed:
            return self.part(split, path)
        names = self.schema.names()
        options = self.options
        return pl.scan_csv(
            path,
            has_header=False,
            new_columns=options.new_columns,
            schema_overrides=self.schema,
            infer_schema_length=options.infer_schema_length,
            raise_if_empty=options.raise_if_empty,
            glob=False,
            **options.reader,
        ).select(exact_columns(names))

    def part(self, split: Split, path: Path) -> pl.LazyFrame:
        """The records that begin in a split."""
        options = self.options
        with mapped(path) as data:
            if options.lenient and not is_whole(split) and self._quotes_before(data, split):
                if split.start > 0:
                    return pl.LazyFrame(schema=self.schema)
                return self.whole([replace(split, end=split.size)])[0]
            body, begin, end = self.bounds(data, split)
            if split.start == 0 and options.has_header:
                self._check_header(data[:body], path)
            if begin < end:
                if options.check_width and begin == body:
                    return self.scan(data[:end], has_header=False, names=options.new_columns)
                return self.framed(data, body, begin, end)
            if split.start == 0 and (options.has_header or body == len(data)):
                # No rows, but Polars has its say about the header and about empty files.
                return self.scan(
                    data[:body], has_header=options.has_header, names=options.new_columns
                )
            return pl.LazyFrame(schema=self.schema)

    def bounds(self, data: Bytes, split: Split) -> tuple[int, int, int]:
        """Return where the file's first record begins, and where a split's records do and end."""
        body = body_start(data, has_header=self.options.has_header, quote=self.options.quote)
        return (
            body,
            self._first(data, split, split.start, body),
            self._first(data, split, split.end, body),
        )

    def framed(self, data: Bytes, body: int, begin: int, end: int) -> pl.LazyFrame:
        """Read the records in ``data[begin:end]`` below the header of their file."""
        if self.options.has_header:
            header, names = data[:body], self.options.new_columns
        else:
            columns = range(len(self.schema))
            header = (self.options.separator.join(map(str, columns)) + "\n").encode()
            names = self.schema.names()
        with memoryview(data) as view, view[begin:end] as records:
            return self.scan(b"".join((header, records)), has_header=True, names=names)

    def _first(self, data: Bytes, split: Split, position: int, body: int) -> int:
        """Where the first record at or after ``position`` begins."""
        if position <= body:
            return body
        odd = position < len(data) and self._quotes_before(data, split, position) % 2 == 1
        return record_start(data, position, quote=self.options.quote, odd=odd)

    def _quotes_before(self, data: Bytes, split: Split, position: int | None = None) -> int:
        """Quotes of a split's file before a place where it is cut, or in all of it."""
        end = len(data) if position is None else position
        if self.options.quote is None:
            return 0
        if self.quotes is None:
            return count_byte(data, self.options.quote, 0, end)
        before = (pl.col("path") == split.path) & (pl.col("start") < end)
        return int(self.quotes.filter(before)["quotes"].sum())

    def _check_header_of(self, path: Path) -> None:
        with mapped(path) as data:
            if not is_compressed(data[:4]):
                body = body_start(data, has_header=True, quote=self.options.quote)
                self._check_header(data[:body], path)

    def _check_header(self, header: bytes, path: Path) -> None:
        """Compare a file's own columns with those that all files must have.

        As in Polars their order may differ where they are matched by name.
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
        if self.options.new_columns is not None:
            agree = len(own) == len(names)
        else:
            agree = sorted(own) == sorted(names)
        if not agree:
            raise _other_header(path, own, names)


def _other_header(path: Path, own: list[str], names: list[str]) -> JobFailedError:
    """Return the error that Polars raises for a header, with the file and all its names."""
    pairs = zip(names, own, strict=False)
    first, other = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    alike = len(own) == len(names)
    words = f"schema names differ: got {first}, expected {other}"
    return JobFailedError.from_info(
        ErrorInfo(
            "MS-232",
            f"the header of {named(path)} is {_shown(own)}, expected {_shown(names)}",
            file=str(named(path)),
            hint="Files that are read together must have the same columns.",
            exception="ComputeError",
            exception_message=words if alike else "schema lengths differ",
        )
    )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _HEADER_SHOWN} more" if len(names) > _HEADER_SHOWN else ""
    return ", ".join(map(repr, names[:_HEADER_SHOWN])) + more


def open_csv(
    scan: ScanTask, schema: pl.Schema, *, quotes: pl.DataFrame | None, data_root: Path | None
) -> list[pl.LazyFrame]:
    """Return the rows of each split, or of several that are whole files, in order."""
    reader = CsvReader(CsvOptions.of(scan.spec.options), schema, quotes, data_root)
    frames: list[pl.LazyFrame] = []
    for whole, splits in runs(scan.splits):
        if whole:
            frames += reader.whole(splits)
        else:
            frames += [reader.part(split, checked(split, data_root)) for split in splits]
    return frames


def count_quotes(scan: ScanTask, *, data_root: Path | None) -> pl.DataFrame:
    """Count the quote characters in each split: ``path``, ``start``, ``quotes``."""
    quote = scan.spec.options["quote_char"].encode()
    rows = []
    for split in scan.splits:
        with mapped(checked(split, data_root)) as data:
            rows.append((split.path, split.start, count_byte(data, quote, split.start, split.end)))
    schema = {"path": pl.String, "start": pl.Int64, "quotes": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
