"""What can go to another process: plans that Polars can write down, and columns of most dtypes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import polars as pl
from polars.exceptions import PolarsError

from minispark.errors import UnsupportedError

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_OBJECT = b"\x81\xa6Object\xa6object"
"""The dtype Object in a binary plan. It does not survive: what comes back is not equal to it."""
_HINT = "An engine without a cluster runs such a query in its own process: minispark.Engine()."


def serialized(frame: pl.LazyFrame) -> bytes:
    """Return the binary plan of a query.

    Raises
    ------
    UnsupportedError
        Polars cannot write it down: it holds Python objects, say, or functions that hold a lock.
    """
    try:
        return frame.serialize()
    except PolarsError as error:
        raise _refusal(error) from error


def deserialized(plan: bytes) -> pl.LazyFrame:
    """Return the query of a binary plan.

    Raises
    ------
    UnsupportedError
        Polars cannot read what it has written.
    """
    try:
        return pl.LazyFrame.deserialize(io.BytesIO(plan))
    except PolarsError as error:
        raise _refusal(error) from error


def check_plan_bytes(plan: bytes) -> None:
    """Refuse a plan in which an expression gives Python objects.

    Raises
    ------
    UnsupportedError
        One does.
    """
    if _OBJECT in plan:
        _refuse("an expression gives Python objects (dtype Object)")


def check_columns(schema: Mapping[str, pl.DataType]) -> None:
    """Refuse columns that cannot go from task to task.

    Raises
    ------
    UnsupportedError
        One of them cannot.
    """
    for name, dtype in schema.items():
        if not fits_stream(dtype):
            _refuse(f"column {name!r} has dtype {dtype}, which cannot travel between tasks")


def fits_stream(dtype: PolarsDataType) -> bool:
    """Whether Polars reads back from an Arrow stream what it has written there."""
    match dtype:
        case pl.Array(size=0):
            return False
        case pl.List() | pl.Array():
            return fits_stream(dtype.inner)
        case pl.Struct():
            return all(fits_stream(field.dtype) for field in dtype.fields)
        case pl.Map():
            return fits_stream(dtype.key) and fits_stream(dtype.value)
        case _:
            return dtype != pl.Object


def _refuse(reason: str) -> NoReturn:
    raise UnsupportedError(reason, hint=_HINT)


def _refusal(error: PolarsError) -> UnsupportedError:
    reason = str(error).rsplit("error: ", maxsplit=1)[-1].splitlines()[0]
    return UnsupportedError(f"the query cannot be sent to another process: {reason}", hint=_HINT)
