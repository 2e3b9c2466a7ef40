"""How the records of each format are picked apart when one of them cannot be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.columns import exact_columns
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.task.scan_csv import CsvOptions, CsvReader
from minispark.task.scan_records import Bytes, count_byte, record_start

_COUNTED_AT_ONCE = 16 << 20


class RecordProbe(Protocol):
    """Records in the bytes of a file. Every ``begin`` is the begin of a record."""

    def bounds(self, data: Bytes, split: Split) -> tuple[int, int]:
        """Where the records of a split begin and end."""
        ...

    def following(self, data: Bytes, begin: int, position: int) -> int:
        """Where the first record at or after ``position`` begins."""
        ...

    def read(self, data: Bytes, begin: int, end: int) -> pl.LazyFrame:
        """Read records as the task did."""
        ...

    def count(self, data: Bytes, end: int) -> int:
        """Count the records before ``end``."""
        ...

    def blame(self, data: Bytes, begin: int, end: int) -> tuple[str, str, pl.DataType] | None:
        """Column, value and dtype that do not go together in one record that fails."""
        ...


class CsvProbe:
    """Records of a CSV file."""

    def __init__(
        self,
        spec: ScanSpec,
        schema: pl.Schema,
        quotes: pl.DataFrame | None,
        columns: Sequence[str],
    ) -> None:
        self.options = CsvOptions.of(spec.options)
        self.schema = schema
        self.columns = list(columns)
        self.strict = CsvReader(self.options, schema, quotes, None)
        lenient = replace(self.options, reader={**self.options.reader, "ignore_errors": True})
        self.lenient = replace(self.strict, options=lenient)
        texts = pl.Schema(dict.fromkeys(schema, pl.String()))
        self.texts = replace(self.lenient, schema=texts)
        self.body = 0

    def bounds(self, data: Bytes, split: Split) -> tuple[int, int]:
        """See `RecordProbe`."""
        self.body, begin, end = self.strict.bounds(data, split)
        return begin, end

    def following(self, data: Bytes, begin: int, position: int) -> int:
        """See `RecordProbe`."""
        quote = self.options.quote
        odd = quote is not None and count_byte(data, quote, begin, position) % 2 == 1
        return record_start(data, position, quote=quote, odd=odd)

    def read(self, data: Bytes, begin: int, end: int) -> pl.LazyFrame:
        """See `RecordProbe`."""
        return self.strict.framed(data, self.body, begin, end).select(exact_columns(self.columns))

    def count(self, data: Bytes, end: int) -> int:
        """See `RecordProbe`."""
        rows, begin = 0, self.body
        while begin < end:
            stop = min(self.following(data, begin, begin + _COUNTED_AT_ONCE), end)
            frame = self.texts.framed(data, self.body, begin, stop)
            rows += int(frame.select(pl.len()).collect().item())
            begin = stop
        return rows

    def blame(self, data: Bytes, begin: int, end: int) -> tuple[str, str, pl.DataType] | None:
        """See `RecordProbe`."""
        texts = self.texts.framed(data, self.body, begin, end).collect()
        read = self.lenient.framed(data, self.body, begin, end).collect()
        for column in self.columns:
            if texts[column][0] is not None and read[column][0] is None:
                return column, texts[column][0], self.schema[column]
        return None


class LinesProbe:
    """Lines of JSON or of text."""

    def __init__(self, spec: ScanSpec, schema: pl.Schema, columns: Sequence[str]) -> None:
        self.spec = spec
        self.schema = schema
        self.columns = columns

    def bounds(self, data: Bytes, split: Split) -> tuple[int, int]:
        """See `RecordProbe`."""
        return record_start(data, split.start), record_start(data, split.end)

    def following(self, data: Bytes, begin: int, position: int) -> int:
        """See `RecordProbe`."""
        return record_start(data, max(begin, position))

    def read(self, data: Bytes, begin: int, end: int) -> pl.LazyFrame:
        """See `RecordProbe`."""
        if self.spec.format is ScanFormat.TEXT:
            return pl.scan_lines(data[begin:end], **self.spec.options)
        frame = pl.scan_ndjson(data[begin:end], schema=self.schema, **self.spec.options)
        return frame.select(exact_columns(self.columns))

    def count(self, data: Bytes, end: int) -> int:
        """See `RecordProbe`."""
        return count_byte(data, b"\n", 0, end)

    def blame(self, data: Bytes, begin: int, end: int) -> tuple[str, str, pl.DataType] | None:
        """See `RecordProbe`."""
        if self.spec.format is ScanFormat.TEXT:
            return None
        try:
            record = json.loads(data[begin:end])
        except (ValueError, RecursionError):
            return None
        for column in self.columns if isinstance(record, dict) else ():
            value = json.dumps({column: record.get(column)})
            try:
                pl.read_ndjson(value.encode(), schema={column: self.schema[column]})
            except (PolarsError, PanicException):
                return column, json.dumps(record[column]), self.schema[column]
        return None
