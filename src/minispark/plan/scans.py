"""File scans that can be cut into tasks: the files, pinned, and how to read them.

`scan_source` takes the ``Scan`` node of a plan. If it does not know every option of the node, the
planner runs that scan whole in one task.

Covers: CSV, JSON lines, text lines and Parquet in local files. Does not cover: the schema, which
comes from Polars (`LazyFrame.collect_schema` of the whole scan) and is pinned in the leaf; how
files become tasks (`splits`).
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
        """Size of all files on disk."""
        return sum(file.size for file in self.files)


def scan_source(node: Mapping[str, Any]) -> ScanSource | None:
    """Return the scan of a ``Scan`` node of a plan.

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
    format_and_options = scan_options(node)
    if paths is None or format_and_options is None:
        return None
    format_, options = format_and_options
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
    elif format_ is ScanFormat.CSV and not _complete_csv_options(options, files=len(files)):
        return None
    sniff = format_ is not ScanFormat.PARQUET
    user_paths = {str(Path.cwd() / path): path for path in paths}
    infos = (pinned(path, sniff=sniff, user_path=user_paths.get(path)) for path in files)
    return ScanSource(ScanSpec(format_, options), tuple(infos))


def _is_plain(file: str) -> bool:
    """Whether a path that a URL names is a file, and no folder above it names a column."""
    return "=" not in str(Path(file).parent) and Path(file).is_file()


def _hive(paths: Sequence[str], files: Sequence[str]) -> bool:
    """Whether Polars takes columns from the names of folders, as it does below one directory."""
    if len(paths) != 1 or not Path(paths[0]).expanduser().is_dir():
        return False
    return any("=" in part for file in files for part in Path(file).parts[:-1])


def _complete_csv_options(options: dict[str, Any], *, files: int) -> bool:
    """Make explicit what a pinned schema would change in the options of a CSV scan.

    Whether an empty file is an error depends on whether the user gave a schema. Without a header
    and a schema the number of columns is that of the widest row that Polars looked at; with a
    schema it must be that of the first row (``check_width``).

    Returns
    -------
    bool
        False if the scan must run whole.
    """
    schema_given = options.pop("schema_given", False)
    inferred_files = options.pop("infer_schema_files", _INFER_SCHEMA_FILES)
    length = options.pop("infer_schema_length", _INFER_SCHEMA_LENGTH)
    options.setdefault("raise_if_empty", True)
    if options.get("has_header", True):
        return True
    if schema_given:
        options["check_width"] = True
        return True
    options["infer_schema_length"] = length
    # In a file that Polars did not look at, a row that is too long is an error or is cut: only
    # Polars itself decides.
    return not (options.get("truncate_ragged_lines") and files > inferred_files)
