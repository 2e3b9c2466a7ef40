"""Opens the splits of a task as one frame, with the rows that Polars would give for them.

Covers: CSV (`scan_csv`), JSON lines, text lines, Parquet, the count of quote characters.
Does not cover: how files are cut (`minispark.plan.splits`). Splits hold the sizes and times that
the files had at planning; a file that changed since is an error.
"""

from __future__ import annotations

from glob import has_magic
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from minispark.plan.scan_files import row_groups
from minispark.plan.stages import ScanFormat, Split
from minispark.task.progress import note_part
from minispark.task.scan_csv import count_quotes, open_csv
from minispark.task.scan_inputs import group_whole_files, input_path
from minispark.task.scan_records import map_file, record_start
from minispark.task.spec import ScanTask


def open_scan(
    scan: ScanTask, schema: pl.Schema, *, quotes: pl.DataFrame | None, data_root: Path | None
) -> pl.LazyFrame:
    """Return the rows of a task's splits, in order.

    The bytes of splits that are parts of a file are read at once; whole files and Parquet are
    read when the frame is collected.

    Parameters
    ----------
    schema
        Columns and dtypes as they were at planning.
    quotes
        For CSV: the number of quote characters in each split of all files, if it was counted.
    data_root
        What relative paths start from.

    Raises
    ------
    JobFailedError
        A file is missing or has changed since planning, or its header differs from the others'.
    """
    match scan.spec.format:
        case ScanFormat.QUOTES:
            return count_quotes(scan, data_root=data_root).lazy()
        case ScanFormat.CSV:
            frames = open_csv(scan, schema, quotes=quotes, data_root=data_root)
        case ScanFormat.PARQUET:
            frames = _open_parquet(scan, schema, data_root)
        case ScanFormat.JSONL | ScanFormat.TEXT:
            frames = _open_lines(scan, schema, data_root)
    if not frames:
        return pl.LazyFrame(schema=schema)
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")


def _open_lines(scan: ScanTask, schema: pl.Schema, data_root: Path | None) -> list[pl.LazyFrame]:
    def read(source: Any) -> pl.LazyFrame:
        if scan.spec.format is ScanFormat.TEXT:
            return pl.scan_lines(source, glob=False, **scan.spec.options)
        # scan_ndjson has no option that switches patterns off.
        if isinstance(source, list) and any(has_magic(str(path)) for path in source):
            source = [path.read_bytes() for path in source]
        return pl.scan_ndjson(source, schema=schema, **scan.spec.options)

    sources: list[Any] = []
    for whole, splits in group_whole_files(scan.splits):
        paths = [(input_path(split, data_root), split) for split in splits]
        if whole:
            sources.append([path for path, split in paths if split.size])
        else:
            sources += [_lines(path, split) for path, split in paths]
    return [read(source) for source in sources if source]


def _lines(path: Path, split: Split) -> bytes:
    with map_file(path) as data:
        lines = data[record_start(data, split.start) : record_start(data, split.end)]
    note_part(lines)
    return lines


def _open_parquet(scan: ScanTask, schema: pl.Schema, data_root: Path | None) -> list[pl.LazyFrame]:
    def read(source: Any) -> pl.LazyFrame:
        return pl.scan_parquet(
            source, schema=schema, glob=False, hive_partitioning=False, **scan.spec.options
        )

    opened = [(split, input_path(split, data_root)) for split in scan.splits]
    frames: list[pl.LazyFrame] = []
    for whole, group in groupby(opened, lambda pair: _is_whole_parquet(*pair)):
        if whole:
            frames.append(read([path for _, path in group]))
        else:
            # A filter does not pass a slice, so only whole files skip row groups by statistics.
            frames += [
                read(path).slice(split.start, split.end - split.start) for split, path in group
            ]
    return frames


def _is_whole_parquet(split: Split, path: Path) -> bool:
    return split.start == 0 and split.end == row_groups(str(path)).total_rows
