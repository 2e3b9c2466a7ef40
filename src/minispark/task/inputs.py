"""Reads the blocks and splits of a task as frames for the leaves of its fragment."""

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
from minispark.settings import MIB
from minispark.task.progress import note_block, scan_bytes
from minispark.task.scan_errors import locate_error
from minispark.task.scans import file_schema, open_scan
from minispark.task.spec import InputGeneration, ScanTask, TaskSpec

_LARGEST = 3
_COMPRESSED = ", compressed: one task unpacks all of it"

_FEW_ROWS = 4096
"""Chunks smaller than this on average are joined: each costs the engine a batch."""
_MANY_CHUNKS = 16
_NEEDS_ONE_CHUNK = b"\xa3RLE"
"""The name of `rle` in a plan. Its node in the streaming engine panics at several chunks."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The rows of each leaf that reads blocks; a frame without columns if no block had any."""

    frames: Mapping[str, pl.DataFrame]
    rows: int
    bytes: int
    """Bytes of the blocks."""
    http_bytes: int
    """Those of them that came over HTTP."""


def read_inputs(spec: TaskSpec, *, port: BlockPort) -> Inputs:
    """Read and verify the blocks that a task needs, in partition order.

    Raises
    ------
    JobFailedError
        A block has an error in place of rows that are needed.
    BlockUnavailable
        A block is missing or differs from its receipt.
    """
    frames = {}
    total_bytes = http_bytes = 0
    for task_input in spec.inputs:
        parts = []
        blocks = task_input.needed_blocks()
        for block, fetched in zip(blocks, port.read(blocks), strict=True):
            parts.append(fetched.frame)
            note_block(block.meta.length)
            total_bytes += block.meta.length
            http_bytes += fetched.http_bytes
        rows = _concatenate(parts, rechunk=_NEEDS_ONE_CHUNK in spec.fragment)
        frames[task_input.leaf] = _check_height(task_input.leaf, blocks, rows)
    height = sum(frame.height for frame in frames.values())
    return Inputs(frames, height, total_bytes, http_bytes)


def input_generations(spec: TaskSpec) -> tuple[InputGeneration, ...]:
    """Return the generation of each stage that the task reads."""
    pairs = dict.fromkeys((source.stage, source.generation) for source in spec.inputs)
    return tuple(InputGeneration(stage, generation) for stage, generation in pairs)


def bytes_read(scans: Iterable[ScanTask]) -> int:
    """Return the input bytes of a task's splits."""
    return sum(map(scan_bytes, scans))


def largest_inputs(spec: TaskSpec) -> tuple[str, ...]:
    """Return the largest inputs of a task with their sizes, to explain its memory."""
    sizes: dict[str, int] = {}
    for scan in spec.scans:
        in_rows = scan.spec.format.in_rows
        for split in scan.splits:
            size = split.size if in_rows else split.end - split.start
            sizes[split.path] = max(size, sizes.get(split.path, 0))
    for task_input in spec.inputs:
        name = f"{len(task_input.blocks)} blocks of stage {task_input.stage}"
        sizes[name] = sum(block.meta.length for block in task_input.blocks)
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_LARGEST]
    root = Path(spec.data_root or "")
    notes = [_COMPRESSED if begins_compressed(root / name) else "" for name in largest]
    pairs = zip(largest, notes, strict=True)
    return tuple(f"{name} ({sizes[name] / MIB:.1f} MB{note})" for name, note in pairs)


@dataclass(slots=True)
class Bindings:
    """The leaves of a fragment as `minispark.plan.leaves.bind` takes them.

    Polars calls a leaf once for each use of it, and wraps the errors that it raises. So the frame
    of a leaf is kept for its next use, and the first error as it was raised.
    """

    spec: TaskSpec
    inputs: Inputs
    error: Exception | None = field(default=None, init=False)
    _opened: list[tuple[ScanTask, pl.Schema]] = field(default_factory=list, init=False)

    def leaves(self) -> dict[str, Binding]:
        """Return a callable for each leaf of the task."""
        bindings: dict[str, Binding] = {
            leaf: partial(_as_leaf, frame) for leaf, frame in self.inputs.frames.items()
        }
        bindings |= {scan.leaf: partial(self._open, scan) for scan in self.spec.scans}
        return {leaf: self._guarded(binding) for leaf, binding in bindings.items()}

    def bad_record(self, error: BaseException) -> ErrorInfo | None:
        """Return an error that names the record that made the fragment fail, None if none did."""
        for scan, schema in self._opened:
            info = locate_error(
                scan, schema, quotes=self._quotes(scan), data_root=self._data_root(), error=error
            )
            if info.row is not None or info.field is not None:
                return info
        return None

    def _open(self, scan: ScanTask, schema: pl.Schema) -> pl.LazyFrame:
        self._opened.append((scan, file_schema(scan, schema)))
        return open_scan(scan, schema, quotes=self._quotes(scan), data_root=self._data_root())

    def _quotes(self, scan: ScanTask) -> pl.DataFrame | None:
        if scan.quotes is None:
            return None
        quotes = self.inputs.frames[scan.quotes]
        return quotes if quotes.columns else pl.DataFrame(schema=QUOTES_SCHEMA)

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


def _concatenate(parts: list[pl.DataFrame], *, rechunk: bool) -> pl.DataFrame:
    filled = [part for part in parts if part.height]
    if not filled:
        return next((part for part in parts if part.width), pl.DataFrame())
    columns = filled[0].columns
    ordered = [with_columns_in_order(part, columns) for part in filled]
    frame = pl.concat(ordered, how="vertical", rechunk=False)
    chunks = frame.n_chunks()
    small = chunks > _MANY_CHUNKS and frame.height < chunks * _FEW_ROWS
    return frame.rechunk() if rechunk or small else frame


def _check_height(leaf: str, blocks: Sequence[BlockSource], frame: pl.DataFrame) -> pl.DataFrame:
    promised = sum(block.meta.rows for block in blocks)
    if frame.height != promised:
        msg = f"leaf {leaf!r} has {frame.height} rows where {promised} were promised"
        raise AssertionError(msg)
    return frame


def _as_leaf(frame: pl.DataFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of blocks with the columns of a leaf; their writer compared the dtypes.

    The stage below sends no column that its readers did not ask for at planning. In place of such a
    column is an expression that raises if it is evaluated.
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
