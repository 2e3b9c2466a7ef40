"""Cuts the files of a scan into tasks.

The bytes of all files, in file order, are cut evenly. A cut near the edge of a file moves to the
edge, and a cut inside a file that cannot be cut moves to the nearer edge. CSV, JSON lines and text
are cut at any byte (the planner reads nothing: the reader finds the first record that begins in its
split), Parquet between row groups. So tasks one after another give Polars' row order.

Example: three files of 30, 1 and 1 MB in two tasks::

    task 0   a.csv [0, 16 MB)
    task 1   a.csv [16 MB, 30 MB)   b.csv   c.csv
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import polars as pl

from minispark.plan.scan_files import FileInfo, RowGroups, ipc_batches, row_groups
from minispark.plan.scans import ScanSource
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.settings import PlanSettings

QUOTES_SCHEMA: Mapping[str, pl.DataType] = {
    "path": pl.String(),
    "start": pl.Int64(),
    "quotes": pl.Int64(),
}
"""The rows of a stage that counts quotes: one for each split."""

_SNAP = 8
"""A cut moves to the edge of a file that is nearer than a task's bytes divided by this."""

_Cut = tuple[int, int]
"""Number of a file, and a position in it: bytes, or rows of a Parquet file."""


def cut_source(
    source: ScanSource,
    *,
    partitions: int | None,
    settings: PlanSettings,
    data_root: Path | None,
    whole_files: bool = False,
) -> tuple[tuple[Split, ...], ...]:
    """Return the splits of each task, in file order and ascending offset.

    Parameters
    ----------
    partitions
        The number of tasks, some perhaps empty; None for about ``settings.split_bytes`` that are
        needed each.
    data_root
        Paths under this directory become relative to it.
    whole_files
        No file is cut.
    """
    if partitions is None:
        read = source.bytes if source.needed_bytes is None else source.needed_bytes
        wanted = math.ceil(read / settings.split_bytes)
        partitions = max(1, min(wanted, settings.max_partitions))
    cutter = _Cutter(source, partitions, whole_files=whole_files)
    cuts = [(0, 0), *cutter.cuts(), (len(source.files), 0)]
    return tuple(cutter.splits(a, b, data_root) for a, b in pairwise(cuts))


def needs_quotes(source: ScanSource, tasks: Sequence[Sequence[Split]]) -> bool:
    """Whether the reader must know how many quote characters are before a split."""
    quoted = source.spec.options.get("quote_char", '"') is not None
    cut = any(split.start > 0 for task in tasks for split in task)
    return source.spec.format is ScanFormat.CSV and quoted and cut


def quotes_spec(source: ScanSource) -> ScanSpec:
    """Return how to count the quote characters in the splits of ``source``."""
    return ScanSpec(ScanFormat.QUOTES, {"quote_char": source.spec.options.get("quote_char", '"')})


class _Cutter:
    """Chooses the cuts in the files of one source."""

    def __init__(self, source: ScanSource, count: int, *, whole_files: bool) -> None:
        self.files = source.files
        self.columns = source.columns
        self.in_rows = source.spec.format.in_rows
        self.count = count
        self.edges = [0, *accumulate(file.size for file in source.files)]
        self.snap = self.edges[-1] // count // _SNAP
        # The quotes of a file are counted by its path, so a file that is listed twice stays whole.
        listed = Counter(file.path for file in source.files)
        uncut = whole_files or bool(source.why)
        self.whole = {path for path, times in listed.items() if times > 1 or uncut}
        reader = ipc_batches if source.spec.format is ScanFormat.IPC else row_groups
        self.groups: Callable[[str], RowGroups] = cache(reader)
        self.rows_before = self._count_rows(numbered="row_index_name" in source.spec.options)

    def cuts(self) -> list[_Cut]:
        """Return the cuts between the tasks, ascending."""
        total = self.edges[-1]
        cuts = (self._cut_at(total * number // self.count) for number in range(1, self.count))
        return list(accumulate(cuts, max))

    def _cut_at(self, position: int) -> _Cut:
        index = min(bisect_right(self.edges, position), len(self.files)) - 1
        before = position - self.edges[index]
        after = self.edges[index + 1] - position
        file = self.files[index]
        if before == 0 or after == 0 or min(before, after) <= self.snap or self._uncut(file):
            edge = self.edges[index] if before <= after else self.edges[index + 1]
            return bisect_left(self.edges, edge), 0
        if self.in_rows:
            return self._between_groups(index, before)
        return index, before

    def _uncut(self, file: FileInfo) -> bool:
        return file.compressed or file.path in self.whole

    def _between_groups(self, index: int, offset: int) -> _Cut:
        groups = self.groups(self.files[index].path)
        if not groups.total_rows:
            return index, 0
        # Bytes in the file and bytes of row groups are not comparable, but shares of them are.
        wanted = groups.bytes[-1] * offset / self.files[index].size
        ends = (0, *groups.bytes)
        nearest = min(range(len(ends)), key=lambda number: abs(ends[number] - wanted))
        rows = (0, *groups.rows)[nearest]
        return (index + 1, 0) if rows == groups.total_rows else (index, rows)

    def splits(self, begin: _Cut, end: _Cut, data_root: Path | None) -> tuple[Split, ...]:
        """Return what is between two cuts; a file without bytes is one split."""
        splits = []
        for index in range(begin[0], min(end[0] + 1, len(self.files))):
            file = self.files[index]
            start = begin[1] if index == begin[0] else 0
            stop = self._length(file) if index < end[0] else end[1]
            if start < stop or (start == 0 and index < end[0]):
                path = _relative(file.path, data_root)
                columns = self.columns[index] if self.columns else {}
                before = self.rows_before[index] if self.rows_before else None
                pinned = (file.size, file.mtime_ns, columns, before)
                splits.append(Split(path, start, stop, *pinned))
        return tuple(splits)

    def _count_rows(self, *, numbered: bool) -> list[int]:
        """Return the number of rows before each file, if the scan numbers its rows."""
        if not numbered:
            return []
        rows = (self.groups(file.path).total_rows for file in self.files)
        return [0, *accumulate(rows)]

    def _length(self, file: FileInfo) -> int:
        return self.groups(file.path).total_rows if self.in_rows else file.size


def _relative(path: str, data_root: Path | None) -> str:
    # A path with ".." may lead out of the root.
    if data_root is None or ".." in Path(path).parts:
        return path
    root = data_root.absolute()
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
