"""The options of a ``Scan`` node, as keyword arguments of Polars' own readers.

`scan_options` compares a node with the node of the same reader without options, made by this
Polars. Every difference must be in the tables below, otherwise the scan runs whole. So an option
that is new in Polars is never lost without notice.

Some options are not for the reader of a task: `FILE_OPTIONS` say which columns the path of a file
gives, and `WHOLE_FILES` are those under which only Polars finds the first record of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import polars as pl

from minispark.plan.polars_plan import parse
from minispark.plan.scan_files import is_remote
from minispark.plan.stages import ScanFormat

_Path = tuple[str, ...]
_Conversion = Callable[[Any], Mapping[str, Any]]


class WholeScanError(Exception):
    """A scan cannot be cut; the text says why."""


FILE_OPTIONS = ("include_file_paths", "hive_partitioning")
WHOLE_FILES = (
    *("skip_rows", "skip_lines", "skip_rows_after_header", "comment_prefix", "eol_char"),
    *("missing_columns", "extra_columns"),
)
"""Options of a CSV scan under which its files are read whole."""

_READERS: Mapping[str, tuple[ScanFormat, Callable[..., pl.LazyFrame]]] = {
    "Csv": (ScanFormat.CSV, pl.scan_csv),
    "NDJson": (ScanFormat.JSONL, pl.scan_ndjson),
    "Lines": (ScanFormat.TEXT, pl.scan_lines),
    "Parquet": (ScanFormat.PARQUET, pl.scan_parquet),
    "Ipc": (ScanFormat.IPC, pl.scan_ipc),
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


def local_paths(node: Mapping[str, Any]) -> list[str]:
    """Return the paths of a scan as `paths_of` does.

    Raises
    ------
    WholeScanError
        The scan does not read local files.
    """
    paths = paths_of(node)
    if paths is not None:
        return paths
    if "Buffers" in (node.get("sources") or ()):
        raise WholeScanError("it reads bytes in memory")
    raise WholeScanError("it reads a URL, not files that every worker sees")


def scan_options(node: Mapping[str, Any]) -> tuple[ScanFormat, dict[str, Any]]:
    """Return the format and the options of a scan.

    Returns
    -------
    tuple of ScanFormat and dict
        The options are keyword arguments of the reader that differ from its defaults, and for CSV
        also ``schema_given`` and ``infer_schema_length``.

    Raises
    ------
    WholeScanError
        The scan has an option that this module does not know.
    """
    scan_type = node.get("scan_type")
    kind = next(iter(scan_type)) if isinstance(scan_type, dict) and len(scan_type) == 1 else ""
    if kind not in _READERS:
        raise WholeScanError(f"a scan of {kind or scan_type} is not split")
    conversions = {**_COMMON, **_KNOWN[kind]}
    options: dict[str, Any] = {}
    for path, value in _differences(node, _plain(kind), conversions):
        if path[0] == "sources":
            continue
        try:
            options.update(conversions[path](value))
        except (KeyError, TypeError, ValueError) as error:
            raise WholeScanError(f"its option {path[-1]} is not known to the planner") from error
    return _READERS[kind][0], options


def _differences(
    value: Any, plain: Any, fields: Container[_Path], path: _Path = ()
) -> Iterator[tuple[_Path, Any]]:
    """Return the values that differ, those of ``fields`` as one value each."""
    inner = isinstance(value, dict) and isinstance(plain, dict) and path not in fields
    if inner and value.keys() == plain.keys():
        for key, each in value.items():
            yield from _differences(each, plain[key], fields, (*path, key))
    elif value != plain:
        yield path, value


def _as(name: str) -> _Conversion:
    return lambda value: {name: value}


def _character(name: str) -> _Conversion:
    def convert(value: Any) -> Mapping[str, Any]:
        if value is None:
            return {name: None}
        if not 0 < value < 128 or chr(value).isalnum() or chr(value) in "\r\n":
            raise ValueError(value)
        return {name: chr(value)}

    return convert


def _null_values(value: Any) -> Mapping[str, Any]:
    match value:
        case {"AllColumnsSingle": values} | {"AllColumns": values}:
            return {"null_values": values}
        case {"Named": values}:
            return {"null_values": dict(values)}
    raise ValueError(value)


def _comment_prefix(value: Any) -> Mapping[str, Any]:
    match value:
        case {"Single": byte}:
            return {"comment_prefix": chr(byte)}
        case {"Multi": text}:
            return {"comment_prefix": text}
    raise ValueError(value)


def _row_index(value: Any) -> Mapping[str, Any]:
    return {"row_index_name": value["name"], "row_index_offset": value["offset"]}


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


_CASTS = {
    "integer_upcast": ("integer_cast", "upcast"),
    "integer_to_float_cast": ("integer_cast", "allow-float"),
    "float_upcast": ("float_cast", "upcast"),
    "float_downcast": ("float_cast", "downcast"),
    "datetime_nanoseconds_downcast": ("datetime_cast", "nanosecond-downcast"),
    "datetime_microseconds_downcast": ("datetime_cast", "microsecond-downcast"),
    "datetime_milliseconds_upcast": ("datetime_cast", "millisecond-upcast"),
    "datetime_microseconds_upcast": ("datetime_cast", "microsecond-upcast"),
    "datetime_convert_timezone": ("datetime_cast", "convert-timezone"),
}
"""The flags of a policy of casts: an argument of `polars.ScanCastOptions`, and a word of it."""


def _cast_options(value: Any) -> Mapping[str, Any]:
    """Return the arguments of `polars.ScanCastOptions`."""
    policy = dict(value)
    words: dict[str, Any] = {}
    for flag, (argument, word) in _CASTS.items():
        if policy.pop(flag):
            words.setdefault(argument, []).append(word)
    if policy.pop("categorical_to_string"):
        words["categorical_to_string"] = "allow"
    for name in ("missing_struct_fields", "extra_struct_fields"):
        words[name] = policy.pop(name).lower()
    if policy != {"null_upcast": True}:
        raise ValueError(policy)
    return {"cast_options": words}


def _no_cloud(value: Any) -> Mapping[str, Any]:
    """Return no argument: a file that SQL names has no options of a cloud at all."""
    if value is not None:
        raise ValueError(value)
    return {}


_COMMON = _fields(
    "unified_scan_args",
    same=["glob", "include_file_paths"],
    ignored=["rechunk", "cache"],
    cloud_options=_no_cloud,
)
_POLICIES = _fields(
    "unified_scan_args",
    missing_columns_policy=lambda value: {"missing_columns": value.lower()},
    extra_columns_policy=lambda value: {"extra_columns": value.lower()},
)
_FOOTERS = _fields("unified_scan_args", row_index=_row_index) | _fields(
    *("unified_scan_args", "hive_options"),
    ignored=["schema", "try_parse_dates"],
    enabled=_as("hive_partitioning"),
)
"""Options of formats whose footers say how many rows a file has."""


_KNOWN: Mapping[str, Mapping[_Path, _Conversion]] = {
    "Csv": _fields(
        *("scan_type", "Csv", "options"),
        same=[
            *("infer_schema_length", "infer_schema_files"),
            *("has_header", "raise_if_empty", "ignore_errors"),
            *("skip_rows", "skip_lines", "skip_rows_after_header"),
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
        eol_char=lambda value: {"eol_char": chr(value)},
        comment_prefix=_comment_prefix,
    )
    | _POLICIES,
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
    | _fields("unified_scan_args", same=["hidden_file_prefix"], cast_columns_policy=_cast_options)
    | _POLICIES
    | _FOOTERS,
    "Ipc": _fields("scan_type", "Ipc", "options", ignored=["checked"]) | _FOOTERS,
}
