"""File scans that can be cut into tasks: the files, pinned, and how to read them.

`scan_source` takes the ``Scan`` node of a plan. What it does not know to the last option it
leaves alone, and the planner runs that scan whole in one task.

Covers: CSV, JSON lines, text lines and Parquet in local files. Does not cover: the schema, which
the planner asks Polars for (`LazyFrame.collect_schema` of the whole scan) and pins in the leaf;
how files become tasks (`splits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minispark.plan.scan_files import FileInfo, is_file_url, listed, pinned
from minispark.plan.scan_options import paths_of, scan_options
from minispark.plan.stages import ScanFormat, ScanSpec

_INFER_SCHEMA_FILES = 10
_INFER_SCHEMA_LENGTH = 100
"""Polars' own defaults."""


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A scan that can be cut: how to read, and the files in the order in which Polars reads."""

    spec: ScanSpec
    files: tuple[FileInfo, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files on disk."""
        return sum(file.size for file in self.files)


def scan_source(node: Mapping[str, Any]) -> ScanSource | None:
    """Understand a ``Scan`` node of a plan.

    Parameters
    ----------
    node
        Its body: ``sources``, ``unified_scan_args``, ``scan_type``.

    Returns
    -------
    ScanSource or None
        None for a scan that must run whole.

    Raises
    ------
    UsageError
        A path does not exist, or Polars refuses it.
    """
    paths = paths_of(node)
    found = scan_options(node)
    if paths is None or found is None:
        return None
    format_, options = found
    if options.get("hive_partitioning"):
        return None
    files = listed(
        paths,
        glob=options.pop("glob", True),
        hidden_file_prefix=options.pop("hidden_file_prefix", None),
    )
    if not files or (any(map(is_file_url, paths)) and not all(map(_is_plain, files))):
        # Polars says why, or gives no rows where the schema is given.
        return None
    if format_ is ScanFormat.PARQUET:
        if options.pop("hive_partitioning", None) is None and _hive(paths, files):
            return None
    elif format_ is ScanFormat.CSV:
        known = _csv_options(options, files=len(files))
        if known is None:
            return None
        options = known
    sniff = format_ is not ScanFormat.PARQUET
    given = {str(Path.cwd() / path): path for path in paths}
    return ScanSource(
        ScanSpec(format_, options),
        tuple(pinned(path, sniff=sniff, given=given.get(path)) for path in files),
    )


def _is_plain(file: str) -> bool:
    """Whether what a URL names is a file, not below a folder that names a column."""
    return "=" not in str(Path(file).parent) and Path(file).is_file()


def _hive(paths: Sequence[str], files: Sequence[str]) -> bool:
    """Whether Polars takes columns from the names of folders: only below one directory."""
    if len(paths) != 1 or not Path(paths[0]).expanduser().is_dir():
        return False
    return any("=" in part for file in files for part in Path(file).parts[:-1])


def _csv_options(options: Mapping[str, Any], *, files: int) -> dict[str, Any] | None:
    """Make explicit what a pinned schema would change in the meaning of a CSV scan's options.

    Whether an empty file is an error depends on whether a schema is given. Without a header and a
    schema the number of columns is that of the widest row that Polars looked at; with a schema it
    must be that of the first row (``check_width``).
    """
    made = dict(options)
    given = made.pop("schema_given", False)
    inferred_files = made.pop("infer_schema_files", _INFER_SCHEMA_FILES)
    length = made.pop("infer_schema_length", _INFER_SCHEMA_LENGTH)
    made.setdefault("raise_if_empty", True)
    if made.get("has_header", True):
        return made
    if given:
        made["check_width"] = True
    else:
        # Rows that are too long in a file that nobody looked at are errors, or cut: only Polars
        # itself can tell.
        if made.get("truncate_ragged_lines") and files > inferred_files:
            return None
        made["infer_schema_length"] = length
    return made
