"""The keys of a join: in which columns and as which type both sides are hashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.polars_plan import Node, expression, with_body
from minispark.plan.relation import Schema

_TEXTS = (pl.Categorical, pl.Enum, pl.String)


@dataclass(frozen=True, slots=True)
class JoinKeys:
    """The keys of both sides, one for each column; ``left`` and ``right`` have common types."""

    left: tuple[pl.Expr, ...]
    right: tuple[pl.Expr, ...]


def keys_by_row(node: Node, left: Schema, right: Schema) -> Node | None:
    """Return a join of equal keys without selectors, which would also take hidden columns.

    None if a key is not an expression by row.
    """
    equal = node.body["condition"]["Equi"]
    left_on, right_on = expand_all(equal["left_on"], left), expand_all(equal["right_on"], right)
    if left_on is None or right_on is None or len(left_on) != len(right_on):
        return None
    if not all(map(is_elementwise, (*left_on, *right_on))):
        return None
    return with_body(node, condition={"Equi": {"left_on": left_on, "right_on": right_on}})


def join_keys(node: Node, left: Schema, right: Schema) -> JoinKeys | None:
    """Return the keys of a join of `keys_by_row`; None if they cannot be hashed."""
    equal = node.body["condition"]["Equi"]
    left_on, right_on = equal["left_on"], equal["right_on"]
    pairs = [
        hashed_pair(body, left, other, right) for body, other in zip(left_on, right_on, strict=True)
    ]
    known = [pair for pair in pairs if pair is not None]
    if not known or len(known) != len(pairs):
        return None
    left_keys, right_keys = zip(*known, strict=True)
    return JoinKeys(left_keys, right_keys)


def hashed_pair(
    left_body: Any, left: Schema, right_body: Any, right: Schema
) -> tuple[pl.Expr, pl.Expr] | None:
    """Return two expressions, cast to the type in which they are compared; None if unknown."""
    if not (is_elementwise(left_body) and is_elementwise(right_body)):
        return None
    left_key, right_key = expression(left_body), expression(right_body)
    common = _common_type(_dtypes(left_key, left), _dtypes(right_key, right))
    return None if common is None else (left_key.cast(common), right_key.cast(common))


def _dtypes(key: pl.Expr, schema: Schema) -> list[pl.DataType]:
    return pl.LazyFrame(schema=schema).select(key).collect_schema().dtypes()


def _common_type(
    left_dtypes: Sequence[pl.DataType], right_dtypes: Sequence[pl.DataType]
) -> pl.DataType | None:
    """Return the type in which values of two keys are compared; None if they are not hashed."""
    if len(left_dtypes) != 1 or len(right_dtypes) != 1:
        # Such a key gives several columns, for example fields of a struct.
        return None
    left, right = left_dtypes[0], right_dtypes[0]
    if left in _TEXTS and right in _TEXTS:
        return pl.String()
    if holds_object(left) or holds_object(right):
        return None
    if left == right:
        return left
    if left.is_nested() or right.is_nested():
        return None
    frames = [pl.LazyFrame(schema={"key": dtype}) for dtype in (left, right)]
    try:
        return pl.concat(frames, how="vertical_relaxed").collect_schema()["key"]
    except (PolarsError, PanicException):
        return None


def holds_object(dtype: pl.DataType) -> bool:
    """Whether values are Python objects, also inside of others; these have no hash."""
    match dtype:
        case pl.List() | pl.Array():
            return holds_object(dtype.inner)  # type: ignore[arg-type]
        case pl.Struct():
            return any(holds_object(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
        case _:
            return dtype == pl.Object
