"""The readers of a job as Polars scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import UsageError
from minispark.jobs.operators import Read, ReadCsv, ReadJsonl, ReadParquet, ReadText
from minispark.jobs.paths import Found, find_inputs
from minispark.jobs.suggest import did_you_mean, shown
from minispark.jobs.tables import Table, fail, polars_reason
from minispark.plan.markers import partitioned

__all__ = ["DTYPES", "open_source"]

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
_SUSPECTS = 100
"""Files that are tried one by one to name the one that is wrong; Polars looks at fewer."""
_OTHER_WORDS = {"int": "Int64", "integer": "Int64", "float": "Float64", "double": "Float64"} | {
    "str": "String",
    "text": "String",
    "bool": "Boolean",
    "varchar": "String",
    "timestamp": "Datetime",
}


def open_source(node: Read, data_root: Path | None) -> tuple[Table, Found]:
    """Return the rows of a reader and the files it reads.

    Raises
    ------
    UsageError
        There is no such file, it may not be read, or it is not what the node says.
    """
    schema = _schema(node) if isinstance(node, ReadCsv) else None
    found = find_inputs(node, data_root)
    frame = _scan(node, list(found.sources), schema)
    try:
        columns = frame.collect_schema()
    except (PolarsError, PanicException, OSError) as error:
        raise _unreadable(node, error, _culprit(node, found.files, schema)) from None
    if node.partitions is not None:
        frame = partitioned(frame, node.partitions)
    return Table(node.id, frame, dict(columns)), found


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
            return pl.scan_ndjson(sources)
        case ReadParquet():
            return pl.scan_parquet(sources)
    msg = f"no scan for {node.op}"
    raise TypeError(msg)


def _schema(node: ReadCsv) -> dict[str, type[pl.DataType]] | None:
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
            _scan(node, list(dict.fromkeys([files[0], file])), schema).collect_schema()
        except (PolarsError, PanicException, OSError):
            return file
    return None


def _unreadable(node: Read, error: BaseException, culprit: str | None) -> UsageError:
    file = culprit or (node.path if isinstance(node.path, str) else node.path[0])
    return UsageError(
        f"node {shown(node.id)} ({node.op}) cannot read {shown(Path(file).name)}: "
        f"{polars_reason(error)}",
        code="MS-168",
        node=node.id,
        field="path",
        file=file,
    )
