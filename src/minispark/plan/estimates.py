"""How many bytes the rows of a node have at most, where the plan says how many rows there are.

`Relation.bytes` is else the size of the files below. A choice that moves a large input, because its
other input is thought to be as large as the file of which it has a few rows, is the wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.polars_plan import Node, expression

_FIXED_BYTES = 16
_TEXT_BYTES = 64
_NESTED_BYTES = 256


def most_rows(node: Node) -> int | None:
    """Return how many rows a node gives at most, None if the plan does not say."""
    match node.kind:
        case "Slice":
            rows: int = node.body["len"]
            return rows
        case "Select" if node.body["expr"] and all(map(_is_scalar, node.body["expr"])):
            return 1
    return None


def bytes_of_rows(rows: int, schema: Mapping[str, pl.DataType]) -> int:
    """Return about how many bytes rows have; rather too many than too few."""
    return rows * sum(map(_width, schema.values()))


def _width(dtype: pl.DataType) -> int:
    if dtype.is_nested():
        return _NESTED_BYTES
    return _TEXT_BYTES if dtype in (pl.String, pl.Binary, pl.Object) else _FIXED_BYTES


def _is_scalar(body: Any) -> bool:
    try:
        return bool(expression(body).meta.is_scalar())
    except (PolarsError, PanicException):
        return False
