"""Opens the splits of a task as one frame, with the rows that Polars would give for them.

Covers: CSV (`scan_csv`), JSON lines, text lines, Parquet and IPC (`scan_row_groups`), columns from
the paths of files, the count of quote characters.
Does not cover: how files are cut (`minispark.plan.splits`). Splits hold the sizes and times that
the files had at planning; a file that changed since is an error.
"""

from __future__ import annotations

from dataclasses import replace
from glob import has_magic
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.file_columns import literals
from minispark.plan.stages import ScanFormat, Split
from minispark.task.progress import note_part
from minispark.task.scan_csv import count_quotes, open_csv
from minispark.task.scan_inputs import group_whole_files, input_path
from minispark.task.scan_records import map_file, record_start
from minispark.task.scan_row_groups import open_row_groups
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
    if scan.spec.format is ScanFormat.QUOTES:
        return count_quotes(scan, data_root=data_root).lazy()
    frames: list[pl.LazyFrame] = []
    own = file_schema(scan, schema)
    for columns, group in groupby(scan.splits, lambda split: split.columns):
        task = replace(scan, splits=tuple(group))
        rows = _open_files(task, own, quotes=quotes, data_root=data_root)
        if columns:
            beside, ordered = literals(columns, schema), exact_columns(schema.names())
            rows = [frame.with_columns(beside).select(ordered) for frame in rows]
        frames += rows
    if not frames:
        return pl.LazyFrame(schema=schema)
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")


def file_schema(scan: ScanTask, schema: pl.Schema) -> pl.Schema:
    """Return the columns of ``schema`` that the files themselves have."""
    added = {scan.spec.options.get("row_index_name")}.union(*(s.columns for s in scan.splits[:1]))
    return pl.Schema({name: dtype for name, dtype in schema.items() if name not in added})


def _open_files(
    scan: ScanTask, schema: pl.Schema, *, quotes: pl.DataFrame | None, data_root: Path | None
) -> list[pl.LazyFrame]:
    """Return the rows of splits with the columns that the files themselves have."""
    match scan.spec.format:
        case ScanFormat.CSV:
            return open_csv(scan, schema, quotes=quotes, data_root=data_root)
        case ScanFormat.JSONL | ScanFormat.TEXT:
            return _open_lines(scan, schema, data_root)
        case _:
            return open_row_groups(scan, schema, data_root)


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
