"""The options of a ``Scan`` node, as keyword arguments of Polars' own readers.

`scan_options` compares a node with the node of the same reader without options, made by this
Polars. Every difference must be in the tables below, otherwise the scan runs whole. So an option
that is new in Polars is never lost without notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import polars as pl

from minispark.plan.polars_plan import parse
from minispark.plan.scan_files import is_remote
from minispark.plan.stages import ScanFormat

_Path = tuple[str, ...]
_Conversion = Callable[[Any], Mapping[str, Any]]


class _UnknownError(Exception):
    """The scan has an option that this module does not know."""


_READERS: Mapping[str, tuple[ScanFormat, Callable[..., pl.LazyFrame]]] = {
    "Csv": (ScanFormat.CSV, pl.scan_csv),
    "NDJson": (ScanFormat.JSONL, pl.scan_ndjson),
    "Lines": (ScanFormat.TEXT, pl.scan_lines),
    "Parquet": (ScanFormat.PARQUET, pl.scan_parquet),
}


@cache
def _plain(kind: str) -> Mapping[str, Any]:
    """Return the body of the node of a scan without options. No file is opened."""
    body: Mapping[str, Any] = parse(_READERS[kind][1]("x")).body
    return body


def paths_of(node: Mapping[str, Any]) -> list[str] | None:
    """Return the paths of a scan of local files as the user gave them, None for other scans."""
    sources = node.get("sources")
    if not isinstance(sources, dict) or sources.keys() != {"Paths"}:
        return None
    paths = [entry["inner"] for entry in sources["Paths"]]
    return None if not paths or any(map(is_remote, paths)) else paths


def scan_options(node: Mapping[str, Any]) -> tuple[ScanFormat, dict[str, Any]] | None:
    """Return the format and the options of a scan.

    Returns
    -------
    tuple of ScanFormat and dict, or None
        The options are keyword arguments of the reader that differ from its defaults, and for CSV
        also ``schema_given`` and ``infer_schema_length``. None if the scan has an option that this
        module does not know.
    """
    scan_type = node.get("scan_type")
    if not isinstance(scan_type, dict) or len(scan_type) != 1:
        return None
    (kind,) = scan_type
    if kind not in _READERS:
        return None
    conversions = {**_COMMON, **_KNOWN[kind]}
    options: dict[str, Any] = {}
    try:
        for path, value in _differences(node, _plain(kind)):
            if path[0] != "sources":
                options.update(conversions[path](value))
    except (_UnknownError, KeyError, TypeError, ValueError):
        return None
    return _READERS[kind][0], options


def _differences(value: Any, plain: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, dict) and isinstance(plain, dict) and value.keys() == plain.keys():
        for key, inner in value.items():
            yield from _differences(inner, plain[key], (*path, key))
    elif value != plain:
        yield path, value


def _as(name: str) -> _Conversion:
    return lambda value: {name: value}


def _character(name: str) -> _Conversion:
    def convert(value: Any) -> Mapping[str, Any]:
        if value is None:
            return {name: None}
        if not 0 < value < 128 or chr(value).isalnum() or chr(value) in "\r\n":
            raise _UnknownError
        return {name: chr(value)}

    return convert


def _null_values(value: Any) -> Mapping[str, Any]:
    match value:
        case {"AllColumnsSingle": values} | {"AllColumns": values}:
            return {"null_values": values}
        case {"Named": values}:
            return {"null_values": dict(values)}
    raise _UnknownError


def _parallel(value: Any) -> Mapping[str, Any]:
    names = {"Columns": "columns", "RowGroups": "row_groups", "Prefiltered": "prefiltered"}
    return {"parallel": names.get(value, "none" if value == "None" else "auto")}


def _fields(
    *path: str, same: Iterable[str] = (), ignored: Iterable[str] = (), **converted: _Conversion
) -> dict[_Path, _Conversion]:
    """Return what the fields at ``path`` mean.

    ``same`` are arguments of the same name; ``ignored`` are redundant with a pinned schema, or
    hints that change no row.
    """
    conversions = {name: _as(name) for name in same} | converted
    conversions |= {name: lambda _: {} for name in ignored}
    return {(*path, name): conversion for name, conversion in conversions.items()}


_COMMON = _fields("unified_scan_args", same=["glob"], ignored=["rechunk", "cache"])
_KNOWN: Mapping[str, Mapping[_Path, _Conversion]] = {
    "Csv": _fields(
        *("scan_type", "Csv", "options"),
        same=[
            *("infer_schema_length", "infer_schema_files"),
            *("has_header", "raise_if_empty", "ignore_errors"),
        ],
        ignored=["schema_overwrite", "dtype_overwrite", "low_memory", "rechunk"],
        schema=lambda value: {"schema_given": value is not None},
        column_names_overwrite=_as("new_columns"),
    )
    | _fields(
        *("scan_type", "Csv", "options", "parse_options"),
        same=["truncate_ragged_lines", "try_parse_dates", "decimal_comma"],
        separator=_character("separator"),
        quote_char=_character("quote_char"),
        encoding=lambda value: {"encoding": {"Utf8": "utf8", "LossyUtf8": "utf8-lossy"}[value]},
        null_values=_null_values,
        missing_is_null=_as("empty_string_is_null"),
    ),
    "NDJson": _fields(
        *("scan_type", "NDJson", "options"),
        same=["ignore_errors"],
        ignored=["schema", "schema_overwrite", "infer_schema_length", "low_memory", "chunk_size"],
    ),
    "Lines": _fields("scan_type", "Lines", same=["name"]),
    "Parquet": _fields(
        *("scan_type", "Parquet", "options"),
        same=["low_memory", "use_statistics"],
        ignored=["schema"],
        parallel=_parallel,
    )
    | _fields("unified_scan_args", same=["hidden_file_prefix"])
    | _fields("unified_scan_args", "hive_options", enabled=_as("hive_partitioning")),
}
