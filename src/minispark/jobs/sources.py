"""Opens the inputs of a job as Polars scans."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import UsageError
from minispark.jobs.errors import fail, node_error, polars_reason
from minispark.jobs.operators import (
    Read,
    ReadAny,
    ReadCsv,
    ReadJsonl,
    ReadParquet,
    ReadText,
    names,
)
from minispark.jobs.paths import MatchedFiles, find_inputs, with_format
from minispark.jobs.reading import OnRead, Reading
from minispark.jobs.tables import Table
from minispark.plan.input_paths import ENDINGS, ending
from minispark.plan.markers import partitioned
from minispark.plan.scan_files import begins_compressed
from minispark.printable import did_you_mean, listed, shown

_DTYPES: tuple[type[pl.DataType], ...] = (
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.Int128,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
    pl.Float32,
    pl.Float64,
    pl.Boolean,
    pl.String,
    pl.Date,
    pl.Time,
    pl.Datetime,
    pl.Categorical,
)
DTYPES: dict[str, type[pl.DataType]] = {dtype.__name__: dtype for dtype in _DTYPES} | {
    "Utf8": pl.String
}
"""The dtypes that ``schema`` may name."""
_INFERRED_ROWS = 100
"""Polars' own default."""
_MAX_TRIED = 100
"""Files that are tried one by one to find the wrong one; Polars opens fewer."""
_OTHER_NAMES = {"int": "Int64", "integer": "Int64", "float": "Float64", "double": "Float64"} | {
    "str": "String",
    "text": "String",
    "bool": "Boolean",
    "varchar": "String",
    "timestamp": "Datetime",
}


def open_source(
    node: Read, data_root: Path | None, on_read: OnRead = lambda _reading: None
) -> tuple[Table, MatchedFiles]:
    """Return the rows of a reader and the files that it reads.

    ``on_read`` gets the file before it is opened, and None after that.

    Raises
    ------
    UsageError
        A file is missing, may not be read, or does not fit the fields of the node.
    """
    if isinstance(node, ReadAny):
        node = with_format(node, data_root)
    schema = _schema(node) if isinstance(node, ReadCsv | ReadJsonl) else None
    matched = find_inputs(node, data_root, may_be_empty=schema is not None)
    on_read(_reading(node, matched.files))
    frame = _scan(node, matched, schema)
    try:
        columns = frame.collect_schema()
    except (PolarsError, PanicException, OSError) as error:
        file = _unreadable_file(node, matched.files, schema)
        reason = _difference(node, matched.files, file, schema) or polars_reason(error)
        raise _unreadable(node, reason, file or names(node.path)[0]) from None
    on_read(None)
    if node.partitions is not None:
        frame = partitioned(frame, node.partitions)
    return Table(node.id, frame, dict(columns)), matched


def _reading(node: Read, files: Sequence[str]) -> Reading:
    """Return the first file that is compressed, else the first path."""
    compressed = next((file for file in files[:_MAX_TRIED] if begins_compressed(file)), None)
    if compressed is None or len(files) == 1:
        return Reading(node.id, names(node.path)[0], compressed is not None)
    return Reading(node.id, Path(compressed).name, compressed=True)


def _scan(
    node: Read, matched: MatchedFiles, schema: dict[str, type[pl.DataType]] | None
) -> pl.LazyFrame:
    sources = list(matched.sources)
    match node:
        case ReadCsv():
            return pl.scan_csv(
                sources,
                separator=node.separator,
                has_header=node.has_header,
                schema=schema,
                null_values=node.null_values,
            )
        case ReadText():
            return pl.scan_lines(sources, name="text")
        case ReadJsonl():
            rows = node.infer_rows or _INFERRED_ROWS
            return pl.scan_ndjson(sources, schema=schema, infer_schema_length=rows)
        case ReadParquet():
            prefixes = matched.hidden_prefixes
            return pl.scan_parquet(sources, hidden_file_prefix=prefixes)
    msg = f"no scan for {node.op}"
    raise TypeError(msg)


def _schema(node: ReadCsv | ReadJsonl) -> dict[str, type[pl.DataType]] | None:
    if node.schema_ is None:
        return None
    for column, name in node.schema_.items():
        if name not in DTYPES:
            # The name that is meant matches itself.
            meant = _OTHER_NAMES.get(name.lower(), name)
            hint = did_you_mean(meant, DTYPES, else_list="dtypes are")
            problem = f"the column {shown(column)} has an unknown dtype {shown(name)}"
            fail(node, "schema", problem, code="MS-161", hint=hint)
    return {column: DTYPES[name] for column, name in node.schema_.items()}


def _unreadable_file(
    node: Read, files: Sequence[str], schema: dict[str, type[pl.DataType]] | None
) -> str | None:
    """Return the file that cannot be read, alone or together with the first."""
    for file in files[:_MAX_TRIED]:
        try:
            _scan(node, _exactly(files[0], file), schema).collect_schema()
        except (PolarsError, PanicException, OSError):
            return file
    return None


def _exactly(*files: str) -> MatchedFiles:
    unique = tuple(dict.fromkeys(files))
    return MatchedFiles(tuple(map(escape, unique)), unique)


def _difference(
    node: Read,
    files: Sequence[str],
    file: str | None,
    schema: dict[str, type[pl.DataType]] | None,
) -> str | None:
    """Return how the columns of a file differ from those of the first, None if they do not."""
    if file is None or file == files[0]:
        return None
    try:
        first, own = (
            _scan(node, _exactly(name), schema).collect_schema().names()
            for name in (files[0], file)
        )
    except (PolarsError, PanicException, OSError):
        return None
    if first == own:
        return None
    return f"its columns are {listed(own)}, those of {shown(Path(files[0]).name)} {listed(first)}"


def _unreadable(node: Read, reason: str, file: str) -> UsageError:
    text = f" cannot read {shown(Path(file).name)}: {reason}"
    format_ = ENDINGS.get(ending(file), "text")
    hint = None
    if format_ not in (node.op.removeprefix("read_"), "tsv", "text"):
        hint = f'the file ends in {ending(file)}; "op": "read" takes the format from the ending'
    return node_error(node, text, field="path", code="MS-168", file=file, hint=hint)
