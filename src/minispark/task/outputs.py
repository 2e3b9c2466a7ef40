"""Writes the rows of a task: one block, split by its exchange, or one file of a sink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from minispark.blocks.format import EMPTY_BLOCK
from minispark.blocks.meta import BlockMeta
from minispark.blocks.port import BlockPort
from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import columns_of_schema, difference
from minispark.plan.exchanges import exchange_of
from minispark.plan.stages import Columns
from minispark.task.collect import TaskRows, misplanned_schema
from minispark.task.inputs import Inputs
from minispark.task.sinks import write_part
from minispark.task.spec import SinkFile, TaskSpec

BROKEN_PROMISE_CODE = "MS-219"
"""A task's rows are not what its stage promises."""


@dataclass(frozen=True, slots=True)
class WrittenOutput:
    """The receipt of a task's block, and the sink file that the task wrote under a staging name."""

    block: BlockMeta
    sink: SinkFile | None = None


def write_output(
    spec: TaskSpec,
    rows: TaskRows,
    *,
    port: BlockPort,
    inputs: Inputs,
) -> WrittenOutput:
    """Write the rows of a task and return their receipt.

    Parameters
    ----------
    spec
        The task.
    rows
        The rows of its fragment.
    port
        Where its block goes.
    inputs
        The rows of the leaves that read blocks; an exchange may split by the rows of one.

    Raises
    ------
    JobFailedError
        The rows are not what the stage promises. Nothing is written.
    """
    output, frame = spec.output, rows.frame
    if rows.error is not None and frame.height == 0:
        return WrittenOutput(_with_error(EMPTY_BLOCK, rows.error))
    _check_columns(spec, frame, inputs)
    if output.sink is not None:
        sink = write_part(frame, output.sink, key=spec.key, data_root=spec.data_root)
        return WrittenOutput(EMPTY_BLOCK, sink)
    block = port.write(spec.key, _split(frame, spec, inputs.frames))
    return WrittenOutput(block if rows.error is None else _with_error(block, rows.error))


def _with_error(block: BlockMeta, error: ErrorInfo) -> BlockMeta:
    return BlockMeta(tuple(replace(part, error=error) for part in block.partitions))


def _split(
    frame: pl.DataFrame, spec: TaskSpec, leaves: Mapping[str, pl.DataFrame]
) -> list[pl.DataFrame]:
    exchange = exchange_of(spec.output)
    side = None if exchange.side_input is None else leaves[exchange.side_input]
    parts = exchange.split(frame, side, task=spec.key.partition)
    rows = sum(part.height for part in parts)
    if rows != frame.height:
        raise _broken(f"the split of {frame.height} rows by key has {rows} rows")
    return parts


def _check_columns(spec: TaskSpec, frame: pl.DataFrame, inputs: Inputs) -> None:
    """Refuse rows whose columns are not those that the stage was planned with.

    Polars plans a few expressions with another dtype than it gives them (2.1.0: the quantile of a
    Boolean in groups, an Enum whose nulls are filled with text). Such a column is accepted, since
    plain Polars gives it too.
    """
    planned = spec.output.columns
    deviation = difference(planned, columns_of_schema(frame.schema)) if planned else None
    if deviation is None:
        return
    other = misplanned_schema(spec, inputs)
    if other is None or not _fits_either(frame.schema, planned, columns_of_schema(other)):
        raise _broken(f"stage {spec.key.stage} gave {deviation}")


def _fits_either(schema: pl.Schema, planned: Columns, other: Columns) -> bool:
    """Whether each column is that of one of two plans."""
    if any([name for name, _ in columns] != schema.names() for columns in (planned, other)):
        return False
    columns = zip(columns_of_schema(schema), planned, other, strict=True)
    return all(actual in plans for actual, *plans in columns)


def _broken(problem: str) -> JobFailedError:
    hint = "This is a bug in Mini-Spark. Please report it with the query."
    return JobFailedError(f"{problem}; nothing was written", code=BROKEN_PROMISE_CODE, hint=hint)
