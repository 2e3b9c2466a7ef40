"""What a task reads: the blocks of its leaves, and its splits, as frames for the fragment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import polars as pl
from polars import selectors as cs

from minispark.blocks.meta import BlockSource
from minispark.blocks.port import BlockPort
from minispark.errors import ErrorInfo
from minispark.plan.columns import with_columns_in_order
from minispark.plan.leaves import Binding
from minispark.plan.scan_files import begins_compressed
from minispark.plan.splits import QUOTES_SCHEMA
from minispark.plan.stages import ScanFormat
from minispark.settings import MIB
from minispark.task.scan_errors import locate_error
from minispark.task.scans import open_scan
from minispark.task.spec import InputGeneration, ScanTask, TaskSpec

_LARGEST = 3
_PACKED = ", compressed: one task unpacks all of it"

_FEW_ROWS = 4096
"""Chunks smaller than this on average are put together: each costs the engine its own batch."""
_MANY_CHUNKS = 16
_ONE_CHUNK = b"\xa3RLE"
"""The name of `rle` in a plan. Its node in the streaming engine panics at several chunks."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The rows of each leaf that reads blocks; a frame without columns where no block had any."""

    frames: Mapping[str, pl.DataFrame]
    rows: int
    http_bytes: int


def read_inputs(spec: TaskSpec, *, port: BlockPort) -> Inputs:
    """Read and verify the blocks that a task needs, in partition order.

    Raises
    ------
    JobFailedError
        One of them has an error in the place of its rows.
    BlockUnavailable
        One of them is gone or not what its receipt promises.
    """
    frames = {}
    http_bytes = 0
    for wanted in spec.inputs:
        parts = []
        blocks = wanted.needed()
        for fetched in port.read(blocks):
            parts.append(fetched.frame)
            http_bytes += fetched.http_bytes
        rows = _concatenated(parts, rechunk=_ONE_CHUNK in spec.fragment)
        frames[wanted.leaf] = _conserved(wanted.leaf, blocks, rows)
    return Inputs(frames, sum(frame.height for frame in frames.values()), http_bytes)


def input_generations(spec: TaskSpec) -> tuple[InputGeneration, ...]:
    """Return which generation of which stage the task reads."""
    pairs = dict.fromkeys((wanted.stage, wanted.generation) for wanted in spec.inputs)
    return tuple(InputGeneration(stage, generation) for stage, generation in pairs)


def bytes_read(scans: Iterable[ScanTask]) -> int:
    """Return the input bytes of a task's splits.

    Counting quotes reads bytes that those who want the rows read again: not counted twice. A
    Parquet split is in rows; the file's bytes go to the split that has its first row.
    """
    total = 0
    for scan in scans:
        if scan.spec.format is ScanFormat.PARQUET:
            total += sum(split.size for split in scan.splits if split.start == 0)
        elif not scan.spec.format.auxiliary:
            total += sum(split.end - split.start for split in scan.splits)
    return total


def largest_inputs(spec: TaskSpec) -> tuple[str, ...]:
    """Name the largest inputs of a task with their sizes, as an explanation of its memory."""
    sizes: dict[str, int] = {}
    for scan in spec.scans:
        parquet = scan.spec.format is ScanFormat.PARQUET  # Its splits are in rows.
        for split in scan.splits:
            taken = split.size if parquet else split.end - split.start
            sizes[split.path] = max(taken, sizes.get(split.path, 0))
    for wanted in spec.inputs:
        name = f"{len(wanted.blocks)} blocks of stage {wanted.stage}"
        sizes[name] = sum(source.meta.length for source in wanted.blocks)
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_LARGEST]
    root = Path(spec.data_root or "")
    return tuple(
        f"{name} ({sizes[name] / MIB:.1f} MB{_PACKED if begins_compressed(root / name) else ''})"
        for name in largest
    )


@dataclass(slots=True)
class Bindings:
    """The leaves of a fragment as `minispark.plan.leaves.bind` takes them.

    Polars calls them once for each use of a leaf, and wraps what they raise. So the frame of a leaf
    is kept for its next use, and the first error in its own type.
    """

    spec: TaskSpec
    inputs: Inputs
    error: Exception | None = field(default=None, init=False)
    _opened: list[tuple[ScanTask, pl.Schema]] = field(default_factory=list, init=False)

    def leaves(self) -> dict[str, Binding]:
        """Return a callable for each leaf of the task."""
        found: dict[str, Binding] = {}
        for leaf, frame in self.inputs.frames.items():
            found[leaf] = self._guarded(partial(_as_leaf, frame))
        for scan in self.spec.scans:
            found[scan.leaf] = self._guarded(partial(self._open, scan))
        return found

    def bad_record(self, error: BaseException) -> ErrorInfo | None:
        """Find the record of an input file that made the fragment fail, if it was one."""
        for scan, schema in self._opened:
            found = locate_error(
                scan, schema, quotes=self._quotes(scan), data_root=self._data_root(), error=error
            )
            if found.row is not None or found.field is not None:
                return found
        return None

    def _open(self, scan: ScanTask, schema: pl.Schema) -> pl.LazyFrame:
        self._opened.append((scan, schema))
        return open_scan(scan, schema, quotes=self._quotes(scan), data_root=self._data_root())

    def _quotes(self, scan: ScanTask) -> pl.DataFrame | None:
        if scan.quotes is None:
            return None
        counted = self.inputs.frames[scan.quotes]
        return counted if counted.columns else pl.DataFrame(schema=QUOTES_SCHEMA)

    def _data_root(self) -> Path | None:
        return None if self.spec.data_root is None else Path(self.spec.data_root)

    def _guarded(self, binding: Binding) -> Binding:
        rows: list[pl.LazyFrame] = []

        def bind(schema: pl.Schema) -> pl.LazyFrame:
            try:
                if not rows:
                    rows.append(binding(schema))
            except Exception as error:
                self.error = self.error or error
                raise
            return rows[0]

        return bind


def _concatenated(parts: list[pl.DataFrame], *, rechunk: bool) -> pl.DataFrame:
    filled = [part for part in parts if part.height]
    if not filled:
        return next((part for part in parts if part.width), pl.DataFrame())
    columns = filled[0].columns
    alike = [with_columns_in_order(part, columns) for part in filled]
    whole = pl.concat(alike, how="vertical", rechunk=False)
    chunks = whole.n_chunks()
    small = chunks > _MANY_CHUNKS and whole.height < chunks * _FEW_ROWS
    return whole.rechunk() if rechunk or small else whole


def _conserved(leaf: str, blocks: Sequence[BlockSource], frame: pl.DataFrame) -> pl.DataFrame:
    promised = sum(source.meta.rows for source in blocks)
    if frame.height != promised:
        msg = f"leaf {leaf!r} has {frame.height} rows where {promised} were promised"
        raise AssertionError(msg)
    return frame


def _as_leaf(frame: pl.DataFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of blocks with the columns of a leaf; the task before compared their dtypes.

    The stage below sends no column that its readers did not ask for at planning. Each of these has
    an expression in its place that raises if it is evaluated after all.
    """
    if not frame.columns and not frame.height:
        return pl.LazyFrame(schema=schema)
    if frame.columns == list(schema):
        return frame.lazy()
    sent = frozenset(frame.columns)
    unsent = [_unsent(name, dtype) for name, dtype in schema.items() if name not in sent]
    return frame.lazy().with_columns(unsent).select(cs.by_name(*schema))


def _unsent(name: str, dtype: pl.DataType) -> pl.Expr:
    def evaluated(_: pl.Series) -> NoReturn:
        msg = f"column {name!r} is read, which the stage below was not asked for"
        raise AssertionError(msg)

    empty = pl.lit(None, dtype)
    return empty.map_batches(evaluated, dtype, is_elementwise=True, returns_scalar=True).alias(name)
