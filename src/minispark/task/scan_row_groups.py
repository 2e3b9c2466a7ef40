"""Splits of Parquet and IPC files as frames: whole files together, parts of files by rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import exact_columns
from minispark.plan.scan_files import ipc_batches, row_groups
from minispark.plan.stages import ScanFormat, Split
from minispark.task.scan_inputs import file_name, input_path
from minispark.task.spec import ScanTask

_Opened = tuple[Split, Path]


def open_row_groups(
    scan: ScanTask, schema: pl.Schema, data_root: Path | None
) -> list[pl.LazyFrame]:
    """Return frames with the rows of the splits, in order.

    Parameters
    ----------
    schema
        The columns of the files.
    """
    reader = _Reader(scan, schema)
    opened = [(split, input_path(split, data_root)) for split in scan.splits]
    frames: list[pl.LazyFrame] = []
    for whole, group in groupby(opened, lambda pair: reader.is_whole(*pair)):
        files = list(group)
        if whole:
            frames.append(reader.read(files))
        else:
            # A filter does not pass a slice, so only whole files skip row groups by statistics.
            frames += [
                reader.read([(split, path)]).slice(split.start, split.end - split.start)
                for split, path in files
            ]
    return frames


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads files of one scan."""

    scan: ScanTask
    schema: pl.Schema

    @property
    def ipc(self) -> bool:
        return self.scan.spec.format is ScanFormat.IPC

    def is_whole(self, split: Split, path: Path) -> bool:
        """Whether a split is all of its file."""
        if split.start:
            return False
        groups = ipc_batches(str(path)) if self.ipc else row_groups(str(path))
        return split.end == groups.total_rows

    def read(self, files: list[_Opened]) -> pl.LazyFrame:
        """Return the rows of files that follow each other in the scan."""
        options = dict(self.scan.spec.options)
        number = options.get("row_index_name")
        if number is not None:
            options["row_index_offset"] += files[0][0].rows_before or 0
        paths = [path for _, path in files]
        if self.ipc:
            for path in paths:
                _check_ipc(path, self.schema)
            names = [*filter(None, [number]), *self.schema]
            frame = pl.scan_ipc(paths, glob=False, hive_partitioning=False, **options)
            return frame.select(exact_columns(names))
        casts: Any = options.pop("cast_options", None)
        if casts is not None:
            options["cast_options"] = pl.ScanCastOptions(**casts)
        return pl.scan_parquet(
            paths, schema=self.schema, glob=False, hive_partitioning=False, **options
        )


def _check_ipc(path: Path, expected: pl.Schema) -> None:
    """Refuse a file with other columns than the first one: `scan_ipc` takes no schema."""
    own = pl.scan_ipc(path, glob=False, hive_partitioning=False).collect_schema()
    if dict(own) != dict(expected):
        message = f"the columns of {file_name(path)} are {dict(own)}, expected {dict(expected)}"
        raise JobFailedError.from_info(
            ErrorInfo("MS-232", message, file=str(file_name(path)), exception="SchemaError")
        )
