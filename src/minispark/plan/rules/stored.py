"""Functions that make a plan of a schema: results of earlier queries, whose blocks tasks read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl
from polars.exceptions import InvalidOperationError

from minispark.errors import UnsupportedError
from minispark.plan.markers import stored_rows
from minispark.plan.polars_plan import Node, frame_of, parse, schema_of
from minispark.plan.relation import Cutter, Part, Relation, run_whole
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`execute(...).lazy()`",
        "the tasks read the blocks of the result where they lie, each task some of them",
        "the result of another engine",
    ),
)

_MAX_PIECES = 64
"""The rules treat each piece of a result as a branch of its own."""


def piped(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Split the blocks of a result; run any other function of a plan whole."""
    stored = stored_rows(node)
    if stored is None:
        if is_sink(frame_of(node)):
            raise sink_refused()
        return run_whole(cutter, node, relations, why="PipeWithSchema cannot be split")
    settings = cutter.settings
    count = settings.parallelism or math.ceil(stored.bytes / settings.split_bytes)
    if settings.parallelism is None and stored.bytes <= settings.single_task_bytes:
        count = 1
    pieces = stored.pieces(max(1, min(count, _MAX_PIECES)))
    schema = schema_of(node)
    parts = [Part(parse(piece.lazy(schema)), 1) for piece in pieces]
    return Relation(tuple(parts), stored.bytes)


def is_sink(frame: pl.LazyFrame) -> bool:
    """Whether a query ends in a sink, which a function of the user may have added."""
    if frame.collect_schema():
        return False
    try:
        frame.cache().collect_schema()
    except InvalidOperationError:
        # Polars lets nothing read a sink.
        return True
    return False


def sink_refused() -> UnsupportedError:
    """Return the error for a query that ends in a sink.

    A task would write to a copy of a buffer, or to a file of another machine.
    """
    msg = "a query that ends in a lazy sink cannot run in other processes"
    return UnsupportedError(msg, hint="Write the rows with sink_...(engine=engine), without lazy.")
