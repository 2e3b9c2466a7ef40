"""The readers of a job as Polars scans."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import UsageError
from minispark.jobs.operators import Read, ReadCsv, ReadJsonl, ReadParquet, ReadText
from minispark.jobs.paths import MatchedFiles, find_inputs
from minispark.jobs.reading import OnRead, Reading
from minispark.jobs.suggest import did_you_mean, listed, shown
from minispark.jobs.tables import Table, fail, polars_reason
from minispark.plan.markers import partitioned
from minispark.plan.scan_files import begins_compressed

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
"""What may stand in ``schema``."""
_INFERRED_ROWS = 100
"""Polars' own default."""
_SUSPECTS = 100
"""Files that are tried one by one to name the one that is wrong; Polars looks at fewer."""
_OTHER_WORDS = {"int": "Int64", "integer": "Int64", "float": "Float64", "double": "Float64"} | {
    "str": "String",
    "text": "String",
    "bool": "Boolean",
    "varchar": "String",
    "timestamp": "Datetime",
}


def open_source(
    node: Read, data_root: Path | None, on_read: OnRead = lambda _reading: None
) -> tuple[Table, MatchedFiles]:
    """Return the rows of a reader and the files it reads.

    ``on_read`` gets the file before it is opened.

    Raises
    ------
    UsageError
        There is no such file, it may not be read, or it is not what the node says.
    """
    schema = _schema(node) if isinstance(node, ReadCsv | ReadJsonl) else None
    found = find_inputs(node, data_root, may_be_empty=schema is not None)
    on_read(_reading(node, found.files))
    frame = _scan(node, list(found.sources), schema)
    try:
        columns = frame.collect_schema()
    except (PolarsError, PanicException, OSError) as error:
        culprit = _culprit(node, found.files, schema)
        reason = _difference(node, found.files, culprit, schema) or polars_reason(error)
        raise _unreadable(node, reason, culprit) from None
    on_read(None)
    if node.partitions is not None:
        frame = partitioned(frame, node.partitions)
    return Table(node.id, frame, dict(columns)), found


def _reading(node: Read, files: Sequence[str]) -> Reading:
    """Name the first file that is compressed, else the first."""
    packed = next((file for file in files[:_SUSPECTS] if begins_compressed(file)), None)
    given = node.path if isinstance(node.path, str) else node.path[0]
    name = given if packed is None or len(files) == 1 else Path(packed).name
    return Reading(node.id, name, packed is not None)


def _scan(
    node: Read, sources: list[str], schema: dict[str, type[pl.DataType]] | None
) -> pl.LazyFrame:
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
            return pl.scan_parquet(sources)
    msg = f"no scan for {node.op}"
    raise TypeError(msg)


def _schema(node: ReadCsv | ReadJsonl) -> dict[str, type[pl.DataType]] | None:
    if node.schema_ is None:
        return None
    made = {}
    for column, name in node.schema_.items():
        if name not in DTYPES:
            meant = _OTHER_WORDS.get(name.lower())
            hint = (
                f"did you mean {shown(meant)}?"
                if meant
                else did_you_mean(name, DTYPES, else_list="dtypes are")
            )
            what = f"the column {shown(column)} has an unknown dtype {shown(name)}"
            fail(node, "schema", what, code="MS-161", hint=hint)
        made[column] = DTYPES[name]
    return made


def _culprit(
    node: Read, files: Sequence[str], schema: dict[str, type[pl.DataType]] | None
) -> str | None:
    """Find the file that cannot be read, or not together with the first."""
    for file in files[:_SUSPECTS]:
        try:
            pair = [escape(name) for name in dict.fromkeys([files[0], file])]
            _scan(node, pair, schema).collect_schema()
        except (PolarsError, PanicException, OSError):
            return file
    return None


def _difference(
    node: Read,
    files: Sequence[str],
    culprit: str | None,
    schema: dict[str, type[pl.DataType]] | None,
) -> str | None:
    """Return how the columns of a file differ from those of the first, None if they do not."""
    if culprit is None or culprit == files[0]:
        return None
    try:
        first, own = (
            _scan(node, [escape(file)], schema).collect_schema().names()
            for file in (files[0], culprit)
        )
    except (PolarsError, PanicException, OSError):
        return None
    if first == own:
        return None
    return f"its columns are {listed(own)}, those of {shown(Path(files[0]).name)} {listed(first)}"


def _unreadable(node: Read, reason: str, culprit: str | None) -> UsageError:
    file = culprit or (node.path if isinstance(node.path, str) else node.path[0])
    return UsageError(
        f"node {shown(node.id)} ({node.op}) cannot read {shown(Path(file).name)}: {reason}",
        code="MS-168",
        node=node.id,
        field="path",
        file=file,
    )
