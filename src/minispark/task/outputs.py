"""What a task writes: one block, its rows split by key or whole, or one file of a sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from minispark.blocks.format import EMPTY_BLOCK
from minispark.blocks.meta import BlockMeta
from minispark.blocks.port import BlockPort
from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import columns_of_schema, difference
from minispark.plan.exchanges import exchange_of
from minispark.plan.stages import Columns, Output
from minispark.task.collect import Collected
from minispark.task.sinks import write_part
from minispark.task.spec import SinkFile, TaskSpec

BROKEN_PROMISE_CODE = "MS-219"
"""A task's rows are not what its stage promises."""


@dataclass(frozen=True, slots=True)
class Written:
    """The receipt of a task's block, and the sink file that it left under its staging name."""

    block: BlockMeta
    sink: SinkFile | None = None


def write_output(
    spec: TaskSpec,
    collected: Collected,
    *,
    port: BlockPort,
    sides: Mapping[str, pl.DataFrame],
    misplanned: Callable[[], pl.Schema | None],
) -> Written:
    """Write the rows of a task as its output says.

    Parameters
    ----------
    spec
        The task.
    collected
        What its fragment gave.
    port
        Where its block goes.
    sides
        The rows of the leaves that read blocks: an exchange may need those of one to split by.
    misplanned
        Returns the columns that Polars gives for the fragment although it plans those of the
        stage, None where the fault is not that of Polars.

    Raises
    ------
    JobFailedError
        The rows are not what the stage promises. Nothing is written.
    """
    output, frame = spec.output, collected.frame
    if collected.error is not None and frame.height == 0:
        return Written(_ending_in(collected.error, EMPTY_BLOCK))
    _check_columns(spec, frame, misplanned)
    if output.sink is not None:
        sink = write_part(frame, output.sink, key=spec.key, data_root=spec.data_root)
        return Written(EMPTY_BLOCK, sink)
    parts = _split(frame, output, sides)
    block = port.write(spec.key, parts)
    return Written(block if collected.error is None else _ending_in(collected.error, block))


def _ending_in(error: ErrorInfo, block: BlockMeta) -> BlockMeta:
    return BlockMeta(tuple(replace(part, error=error) for part in block.partitions))


def _split(
    frame: pl.DataFrame, output: Output, sides: Mapping[str, pl.DataFrame]
) -> list[pl.DataFrame]:
    exchange = exchange_of(output)
    side = None if exchange.side_input is None else sides[exchange.side_input]
    parts = exchange.split(frame, side)
    rows = sum(part.height for part in parts)
    if rows != frame.height:
        raise _broken(f"the split of {frame.height} rows by key has {rows} rows")
    return parts


def _check_columns(
    spec: TaskSpec, frame: pl.DataFrame, misplanned: Callable[[], pl.Schema | None]
) -> None:
    """Compare the columns of a task with those that its stage was planned with.

    Polars plans a few expressions with another dtype than it gives them (2.1.0: the quantile of a
    Boolean in groups, an Enum whose nulls are filled with text). Such a column is what plain Polars
    gives too.
    """
    planned = spec.output.columns
    found = difference(planned, columns_of_schema(frame.schema)) if planned else None
    if found is None:
        return
    other = misplanned()
    if other is None or not _is_either(frame.schema, planned, columns_of_schema(other)):
        raise _broken(f"stage {spec.key.stage} gave {found}")


def _is_either(schema: pl.Schema, planned: Columns, other: Columns) -> bool:
    """Whether each column is one of two."""
    if any([name for name, _ in columns] != schema.names() for columns in (planned, other)):
        return False
    columns = zip(columns_of_schema(schema), planned, other, strict=True)
    return all(given in either for given, *either in columns)


def _broken(what: str) -> JobFailedError:
    hint = "This is a fault of Mini-Spark. Please report it with the query."
    return JobFailedError(f"{what}; nothing was written", code=BROKEN_PROMISE_CODE, hint=hint)
