"""Results of earlier queries: each task reads some of their blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping

from minispark.plan.markers import stored_rows
from minispark.plan.polars_plan import Node, parse, schema_of
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
        return run_whole(cutter, node, relations, why="PipeWithSchema cannot be split")
    settings = cutter.settings
    count = settings.parallelism or math.ceil(stored.bytes / settings.split_bytes)
    if settings.parallelism is None and stored.bytes <= settings.single_task_bytes:
        count = 1
    pieces = stored.pieces(max(1, min(count, _MAX_PIECES)))
    schema = schema_of(node)
    parts = [Part(parse(piece.lazy(schema)), 1) for piece in pieces]
    return Relation(tuple(parts), stored.bytes)
