"""File scans that can be cut into tasks: the files, pinned, and how to read them.

`scan_source` takes the ``Scan`` node of a plan. If it does not know every option of the node, the
planner runs that scan whole in one task.

Covers: CSV, JSON lines, text lines, Parquet and IPC in local files. Does not cover: the schema,
which comes from Polars (`LazyFrame.collect_schema` of the whole scan) and is pinned in the leaf;
how files become tasks (`splits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.file_columns import FileColumns, written
from minispark.plan.polars_plan import Node, frame_of, parse, with_body
from minispark.plan.scan_files import (
    FileInfo,
    absolute,
    file_names,
    is_file_url,
    pinned,
    refused,
    unopened,
)
from minispark.plan.scan_options import WHOLE_FILES, WholeScanError, local_paths, scan_options
from minispark.plan.stages import ScanFormat, ScanSpec

_INFER_SCHEMA_FILES = 10
_INFER_SCHEMA_LENGTH = 100
"""Polars' own defaults."""


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A scan that can be cut: how to read, and the files in the order in which Polars reads.

    ``columns`` are the values that the path of each file gives; ``why`` says why no file is cut.
    """

    spec: ScanSpec
    files: tuple[FileInfo, ...]
    columns: tuple[FileColumns, ...] = ()
    why: str = ""
    needed_bytes: int | None = None
    """Size on disk of the columns that the query reads; None is all."""
    memory_bytes: int | None = None
    """Size of these columns in memory; None is about that of the files."""
    kept: float = 1.0
    """The part of the rows that pass the filters of the query, as a guess."""

    @property
    def bytes(self) -> int:
        """Size of all files on disk."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files of a scan: as Polars names them, absolute, and their columns."""

    names: tuple[str, ...]
    paths: tuple[str, ...]
    columns: pl.DataFrame | None = None


def scan_source(node: Mapping[str, Any]) -> ScanSource:
    """Return the scan of a ``Scan`` node of a plan.

    Parameters
    ----------
    node
        Its body: ``sources``, ``unified_scan_args``, ``scan_type``.

    Raises
    ------
    WholeScanError
        The scan must run whole.
    UsageError
        A path does not exist, or Polars refuses it.
    """
    paths = local_paths(node)
    format_, options = scan_options(node)
    shown: str | None = options.pop("include_file_paths", None)
    listing = _list_files(node, paths, options)
    files = listing.paths
    urls = any(map(is_file_url, paths))
    if not files or (urls and (shown or not all(map(_is_plain, files)))):
        # Polars says why, or gives no rows where the schema is given.
        raise WholeScanError("only Polars knows which files it reads")
    why = ""
    if format_ is ScanFormat.CSV:
        why = _uncut_csv(options)
        _complete_csv_options(options, files=len(files))
    sniff = not format_.in_rows
    user_paths = {str(Path.cwd() / path): path for path in paths}
    infos = (pinned(path, sniff=sniff, user_path=user_paths.get(path)) for path in files)
    columns = _columns(listing, shown)
    return ScanSource(ScanSpec(format_, options), tuple(infos), columns, why)


def _is_plain(file: str) -> bool:
    """Whether a path that a URL names is a file, and no folder above it names a column."""
    return not _has_parts(file) and Path(file).is_file()


def _has_parts(file: str) -> bool:
    return "=" in str(Path(file).parent)


def _list_files(node: Mapping[str, Any], paths: Sequence[str], options: dict[str, Any]) -> _Listing:
    """Return the files of a scan, and take what says which they are from its options."""
    glob, hive = options.pop("glob", True), options.pop("hive_partitioning", None)
    hidden = options.pop("hidden_file_prefix", None)
    names = file_names(paths, glob=glob, hidden_file_prefix=hidden)
    files = tuple(map(absolute, names))
    kind = next(iter(node["scan_type"]))
    by_default = kind in ("Parquet", "Ipc")
    if not names or hive is False or not (hive or by_default):
        return _Listing(names, files)
    if not any(map(_has_parts, names)):
        return _Listing(names, files)
    scan = parse(unopened(paths, glob=glob, hidden_file_prefix=hidden))
    arguments = {
        **scan.body["unified_scan_args"],
        "hive_options": node["unified_scan_args"]["hive_options"],
    }
    columns = _hive_columns(with_body(scan, unified_scan_args=arguments), names, kind)
    return _Listing(names, files, columns)


def _hive_columns(scan: Node, names: Sequence[str], kind: str) -> pl.DataFrame | None:
    """Return the columns that Polars takes from the names of folders, a row for each file."""
    try:
        view: Any = frame_of(scan)._ldf.visit().view_current_node()
    except (PolarsError, PanicException, OSError) as error:
        raise refused(error, names[0]) from error
    if view.hive_parts is None:
        return None
    if view.paths != list(names):
        raise WholeScanError("only Polars knows which files it reads")
    columns = pl.DataFrame._from_pydf(view.hive_parts)
    read: Any = pl.scan_ipc if kind == "Ipc" else pl.scan_parquet
    options: dict[str, Any] = {} if kind == "Ipc" else {"glob": False}
    own = read(absolute(names[0]), hive_partitioning=False, **options).collect_schema()
    if own.keys() & set(columns.columns):
        raise WholeScanError("a column of its files is also in the names of their folders")
    return columns


def _columns(listing: _Listing, shown: str | None) -> tuple[FileColumns, ...]:
    """Return the values that paths give, for each file."""
    frame = listing.columns
    if shown is not None:
        path = pl.Series(shown, listing.names, dtype=pl.String)
        frame = path.to_frame() if frame is None else frame.with_columns(path)
    rows = () if frame is None else written(frame)
    if rows is None:
        raise WholeScanError("the names of its folders are values that a split cannot carry")
    return tuple(rows)


def _uncut_csv(options: Mapping[str, Any]) -> str:
    """Return why no file of a CSV scan is cut, nothing if they are."""
    names = [name for name in WHOLE_FILES if name in options]
    return f"a file is not cut under {', '.join(names)}" if names else ""


def _complete_csv_options(options: dict[str, Any], *, files: int) -> None:
    """Make explicit what a pinned schema would change in the options of a CSV scan.

    Whether an empty file is an error depends on whether the user gave a schema. Without a header
    and a schema the number of columns is that of the widest row that Polars looked at; with a
    schema it must be that of the first row (``check_width``).

    Raises
    ------
    WholeScanError
        The scan must run whole.
    """
    schema_given = options.pop("schema_given", False)
    inferred_files = options.pop("infer_schema_files", _INFER_SCHEMA_FILES)
    length = options.pop("infer_schema_length", _INFER_SCHEMA_LENGTH)
    options.setdefault("raise_if_empty", True)
    policies = [name for name in ("missing_columns", "extra_columns") if name in options]
    if policies and not schema_given and files > 1:
        raise WholeScanError(f"{' and '.join(policies)} without a schema are left to Polars")
    if options.get("has_header", True):
        return
    if schema_given:
        options["check_width"] = True
        return
    options["infer_schema_length"] = length
    # In a file that Polars did not look at, a row that is too long is an error or is cut: only
    # Polars itself decides.
    if options.get("truncate_ragged_lines") and files > inferred_files:
        raise WholeScanError(
            f"truncate_ragged_lines over more than {inferred_files} files is left to Polars"
        )
