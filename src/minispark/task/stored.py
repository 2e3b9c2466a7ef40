"""Reads the blocks of an earlier result that a fragment names, through the port of the task."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import polars as pl

from minispark.blocks.meta import BlockSource, BlockUnavailable
from minispark.blocks.port import BlockPort
from minispark.errors import JobFailedError
from minispark.plan.columns import exact_columns
from minispark.plan.stored import StoredBlock


def stored_block(source: BlockSource) -> StoredBlock:
    """Return a block as a plan names it."""
    return StoredBlock(pickle.dumps(source), source.meta.length)


def read_stored(names: Sequence[bytes], schema: pl.Schema, *, port: BlockPort) -> pl.LazyFrame:
    """Return the rows of blocks with the columns of ``schema``.

    Raises
    ------
    JobFailedError
        A block is gone: its result is no longer kept.
    """
    sources: list[BlockSource] = [pickle.loads(name) for name in names]  # noqa: S301 - the planner wrote it
    try:
        frames = [fetched.frame for fetched in port.read(sources)]
    except BlockUnavailable as error:
        # Its job has ended: no task of this job can compute the block again.
        msg = f"the result of job {error.key.job} cannot be read: {error.reason}"
        raise JobFailedError(msg, code="MS-144", hint="Run its query again.") from error
    rows = [frame.lazy().select(exact_columns(list(schema))) for frame in frames if frame.height]
    return pl.concat(rows, how="vertical") if rows else pl.LazyFrame(schema=schema)
