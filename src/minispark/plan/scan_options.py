"""What a ``Scan`` node says beyond the defaults, as keyword arguments of Polars' own readers.

A node is compared with the node of the same reader without options, made by this Polars. Every
difference must be in one of the tables below; one that is not makes the scan run whole. So an
option that is new in Polars is never lost without notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import polars as pl

from minispark.plan.polars_plan import parse
from minispark.plan.scan_files import is_remote
from minispark.plan.stages import ScanFormat

_Path = tuple[str, ...]
_Reading = Callable[[Any], Mapping[str, Any]]


class _UnknownError(Exception):
    """The scan says something that is not known here."""


_READERS: Mapping[str, tuple[ScanFormat, Callable[..., pl.LazyFrame]]] = {
    "Csv": (ScanFormat.CSV, pl.scan_csv),
    "NDJson": (ScanFormat.JSONL, pl.scan_ndjson),
    "Lines": (ScanFormat.TEXT, pl.scan_lines),
    "Parquet": (ScanFormat.PARQUET, pl.scan_parquet),
}


@cache
def _plain(kind: str) -> Mapping[str, Any]:
    """Body of the node of a scan without options. The path is never opened."""
    body: Mapping[str, Any] = parse(_READERS[kind][1]("x")).body
    return body


def paths_of(node: Mapping[str, Any]) -> list[str] | None:
    """Paths of a scan of local files, as the user gave them; None for anything else."""
    sources = node.get("sources")
    if not isinstance(sources, dict) or sources.keys() != {"Paths"}:
        return None
    paths = [entry["inner"] for entry in sources["Paths"]]
    if not paths or any(map(is_remote, paths)):
        return None
    return paths


def scan_options(node: Mapping[str, Any]) -> tuple[ScanFormat, dict[str, Any]] | None:
    """Read the options of a scan.

    Returns
    -------
    tuple of ScanFormat and dict, or None
        The options are keyword arguments of the reader, only those that differ from its default,
        and for CSV also ``schema_given`` and ``infer_schema_length``. None where the scan says
        something that is not known here.
    """
    scan_type = node.get("scan_type")
    if not isinstance(scan_type, dict) or len(scan_type) != 1:
        return None
    (kind,) = scan_type
    if kind not in _READERS:
        return None
    known = {**_COMMON, **_KNOWN[kind]}
    options: dict[str, Any] = {}
    try:
        for path, value in _differences(node, _plain(kind)):
            if path[0] == "sources":
                continue
            if path not in known:
                return None
            options.update(known[path](value))
    except (_UnknownError, KeyError, TypeError, ValueError):
        return None
    return _READERS[kind][0], options


def _differences(value: Any, plain: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, dict) and isinstance(plain, dict) and value.keys() == plain.keys():
        for key, inner in value.items():
            yield from _differences(inner, plain[key], (*path, key))
    elif value != plain:
        yield path, value


def _nothing(_value: Any) -> Mapping[str, Any]:
    """Accept what the pinned schema makes redundant, and hints that change no row."""
    return {}


def _as(name: str) -> _Reading:
    return lambda value: {name: value}


def _character(name: str) -> _Reading:
    def read(value: Any) -> Mapping[str, Any]:
        if value is None:
            return {name: None}
        if not 0 < value < 128 or chr(value).isalnum() or chr(value) in "\r\n":
            raise _UnknownError
        return {name: chr(value)}

    return read


def _null_values(value: Any) -> Mapping[str, Any]:
    ((form, given),) = value.items()
    match form:
        case "AllColumnsSingle" | "AllColumns":
            return {"null_values": given}
        case "Named":
            return {"null_values": dict(given)}
    raise _UnknownError


def _encoding(value: Any) -> Mapping[str, Any]:
    return {"encoding": {"Utf8": "utf8", "LossyUtf8": "utf8-lossy"}[value]}


def _schema_given(value: Any) -> Mapping[str, Any]:
    return {"schema_given": value is not None}


def _parallel(value: Any) -> Mapping[str, Any]:
    names = {"Columns": "columns", "RowGroups": "row_groups", "Prefiltered": "prefiltered"}
    return {"parallel": names.get(value, "none" if value == "None" else "auto")}


_ARGUMENTS = "unified_scan_args"
_COMMON: Mapping[_Path, _Reading] = {
    (_ARGUMENTS, "glob"): _as("glob"),
    (_ARGUMENTS, "rechunk"): _nothing,
    (_ARGUMENTS, "cache"): _nothing,
}
_CSV = ("scan_type", "Csv", "options")
_PARSE = (*_CSV, "parse_options")
_JSON = ("scan_type", "NDJson", "options")
_PARQUET = ("scan_type", "Parquet", "options")
_KNOWN: Mapping[str, Mapping[_Path, _Reading]] = {
    "Csv": {
        (*_CSV, "schema"): _schema_given,
        (*_CSV, "schema_overwrite"): _nothing,
        (*_CSV, "dtype_overwrite"): _nothing,
        (*_CSV, "column_names_overwrite"): _as("new_columns"),
        (*_CSV, "infer_schema_length"): _as("infer_schema_length"),
        (*_CSV, "infer_schema_files"): _as("infer_schema_files"),
        (*_CSV, "low_memory"): _nothing,
        (*_CSV, "rechunk"): _nothing,
        (*_CSV, "has_header"): _as("has_header"),
        (*_CSV, "raise_if_empty"): _as("raise_if_empty"),
        (*_CSV, "ignore_errors"): _as("ignore_errors"),
        (*_PARSE, "separator"): _character("separator"),
        (*_PARSE, "quote_char"): _character("quote_char"),
        (*_PARSE, "encoding"): _encoding,
        (*_PARSE, "null_values"): _null_values,
        (*_PARSE, "missing_is_null"): _as("empty_string_is_null"),
        (*_PARSE, "truncate_ragged_lines"): _as("truncate_ragged_lines"),
        (*_PARSE, "try_parse_dates"): _as("try_parse_dates"),
        (*_PARSE, "decimal_comma"): _as("decimal_comma"),
    },
    "NDJson": {
        (*_JSON, "schema"): _nothing,
        (*_JSON, "schema_overwrite"): _nothing,
        (*_JSON, "infer_schema_length"): _nothing,
        (*_JSON, "low_memory"): _nothing,
        (*_JSON, "chunk_size"): _nothing,
        (*_JSON, "ignore_errors"): _as("ignore_errors"),
    },
    "Lines": {("scan_type", "Lines", "name"): _as("name")},
    "Parquet": {
        (*_PARQUET, "schema"): _nothing,
        (*_PARQUET, "parallel"): _parallel,
        (*_PARQUET, "low_memory"): _as("low_memory"),
        (*_PARQUET, "use_statistics"): _as("use_statistics"),
        (_ARGUMENTS, "hidden_file_prefix"): _as("hidden_file_prefix"),
        (_ARGUMENTS, "hive_options", "enabled"): _as("hive_partitioning"),
    },
}
