"""Rows of a result that lie in blocks: a leaf that any query may read, and that is split.

`StoredRows` is the function that Polars calls for the rows. In the process that ran the query it
reads them itself. In a plan for other processes it is the names of the blocks, and their task reads
them. Only the engine that has the blocks may send them (`sent_by`): no other one can read them.

Covers: the leaf and its split by blocks. Does not cover: reading blocks (`minispark.task.stored`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import polars as pl

from minispark.errors import UnsupportedError

Reader = Callable[[Sequence[bytes], pl.Schema], pl.LazyFrame]
"""Returns the rows of blocks with the columns of a schema."""

EMBEDDED = "embedded"
"""The name of the engine in this process."""

_sender: ContextVar[str | None] = ContextVar("_sender", default=None)
# Of the process, not of a context: Polars calls the function in any thread.
_readers: list[Reader] = []


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as its engine writes it, and its size."""

    name: bytes
    bytes: int


@dataclass(frozen=True, slots=True)
class ResultRows:
    """The rows of a result in the process that ran its query.

    ``engine`` names the engine that has the blocks; ``rows`` reads them in this process.
    """

    engine: str
    blocks: Callable[[], Sequence[StoredBlock]]
    rows: Callable[[], pl.LazyFrame]


class StoredRows:
    """The function that Polars calls for the rows; pickled by reference inside plans."""

    def __init__(
        self, blocks: tuple[tuple[bytes, int], ...], result: ResultRows | None = None
    ) -> None:
        self.blocks = blocks
        self.result = result

    def __reduce__(self) -> tuple[type[StoredRows], tuple[tuple[tuple[bytes, int], ...]]]:
        if self.result is None:
            return StoredRows, (self.blocks,)
        if _sender.get() != self.result.engine:
            msg = "the rows of a result cannot be the input of a query on another engine"
            raise UnsupportedError(msg, hint="Collect them first: result.lazy().collect().lazy().")
        blocks = tuple((block.name, block.bytes) for block in self.result.blocks())
        return StoredRows, (blocks,)

    def __call__(self, frames_and_schemas: tuple[Any, Any]) -> Any:
        """Return the rows in the form that Polars takes from `pipe_with_schema`.

        There are no rows where no task runs, for example when a fragment is explained.
        """
        (empty,), (columns,) = frames_and_schemas
        if self.result is not None:
            return self.result.rows()._ldf
        names = [name for name, _ in self.blocks]
        return _readers[-1](names, pl.Schema(columns))._ldf if _readers else empty

    @property
    def bytes(self) -> int:
        """Size of all blocks."""
        return sum(size for _, size in self.blocks)

    def pieces(self, count: int) -> list[StoredRows]:
        """Return these rows in at most ``count`` pieces of about the same size, in order."""
        ends = accumulate(size for _, size in self.blocks)
        share = max(1, math.ceil(self.bytes / max(1, count)))
        groups: dict[int, list[tuple[bytes, int]]] = {}
        for block, end in zip(self.blocks, ends, strict=True):
            groups.setdefault(min(count - 1, max(0, end - 1) // share), []).append(block)
        return [StoredRows(tuple(group)) for group in groups.values()] or [self]

    def lazy(self, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """Return a plan that is only these rows, which have the columns of ``schema``."""
        empty = pl.LazyFrame(schema=schema)._ldf
        # The public `pipe_with_schema` wraps the function in a closure, which is pickled as code.
        return pl.LazyFrame._from_pyldf(empty.pipe_with_schema(self))


@contextmanager
def sent_by(engine: str) -> Iterator[None]:
    """Let an engine send the rows of its own results within the block."""
    token = _sender.set(engine)
    try:
        yield
    finally:
        _sender.reset(token)


@contextmanager
def reading_stored(reader: Reader) -> Iterator[None]:
    """Read blocks with ``reader`` in plans that run within the block."""
    _readers.append(reader)
    try:
        yield
    finally:
        _readers.pop()
