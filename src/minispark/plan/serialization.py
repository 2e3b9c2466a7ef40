"""Plans, flags of Polars' optimizer and columns in the form in which they go to other processes."""

from __future__ import annotations

import copyreg
import inspect
import io
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PolarsError

from minispark.errors import UnsupportedError
from minispark.plan.stages import OptimizerFlags

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_OBJECT = b"\x81\xa6Object\xa6object"
"""The dtype Object in a binary plan. What Polars reads back is not equal to it."""
_HINT = "An engine without a cluster runs such a query in its own process: minispark.Engine()."
_FLAGS = tuple(inspect.signature(pl.QueryOptFlags).parameters)


_DELTA = "polars.io.delta._dataset"
_pickling = threading.RLock()


def serialized(frame: pl.LazyFrame) -> bytes:
    """Return the binary plan of a query; each Delta table in it has a version.

    Raises
    ------
    UnsupportedError
        Polars cannot write it: it holds Python objects, say, or functions that hold a lock.
    """
    try:
        with _versioned_tables():
            return frame.serialize()
    except PolarsError as error:
        raise _cannot_be_sent(error) from error


@contextmanager
def _versioned_tables() -> Iterator[None]:
    """Pickle Delta tables with their versions within the block.

    Polars writes the path of a table and the version that the user named, not the version that this
    process has read: every task would read the table as it is by then.
    """
    module = sys.modules.get(_DELTA)
    if module is None:
        yield
        return
    with _pickling:
        copyreg.pickle(module.DeltaDataset, _with_version)
        try:
            yield
        finally:
            copyreg.dispatch_table.pop(module.DeltaDataset, None)


def _with_version(table: Any) -> Any:
    if table.version is None:
        opened = table.table_.get() or table.table()
        table = replace(table, version=opened.version())
    return table.__reduce_ex__(2)


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
        raise _cannot_be_sent(error) from error


def check_plan_bytes(plan: bytes) -> None:
    """Refuse a plan in which an expression gives Python objects.

    Raises
    ------
    UnsupportedError
        An expression gives Python objects.
    """
    if _OBJECT in plan:
        raise UnsupportedError("an expression gives Python objects (dtype Object)", hint=_HINT)


def check_columns(schema: Mapping[str, pl.DataType]) -> None:
    """Refuse columns that cannot go from task to task.

    Raises
    ------
    UnsupportedError
        A column has a dtype that cannot.
    """
    for name, dtype in schema.items():
        if not fits_stream(dtype):
            reason = f"column {name!r} has dtype {dtype}, which cannot travel between tasks"
            raise UnsupportedError(reason, hint=_HINT)


def fits_stream(dtype: PolarsDataType) -> bool:
    """Whether Polars reads the same back from an Arrow stream as it has written there."""
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


def changed_flags(flags: pl.QueryOptFlags) -> OptimizerFlags:
    """Return the flags of Polars' optimizer that differ from its defaults.

    The flags of a query apply to every fragment of it. Some change what a query gives
    (``sort_collapse``) or whether it fails (without ``projection_pushdown`` Polars computes a
    column that nothing needs).
    """
    default = pl.QueryOptFlags()
    values = ((name, bool(getattr(flags, name))) for name in _FLAGS)
    return tuple((name, on) for name, on in values if on != getattr(default, name))


def query_flags(changed: OptimizerFlags) -> pl.QueryOptFlags:
    """Return Polars' default flags with some of them changed."""
    return pl.QueryOptFlags(**dict(changed))


def fragment_flags(changed: OptimizerFlags) -> pl.QueryOptFlags:
    """Return the flags for a fragment that runs.

    Polars gives up the order of a scan if it thinks that nothing observes the order. It overlooks
    the predicate of ``when(...).then(1)``: such rows come in another order each time, and a
    fragment would not keep what its label says. The flag costs nothing measurable in a plan that
    does not observe the order.
    """
    return query_flags((("check_order_observe", False), *changed))


def _cannot_be_sent(error: PolarsError) -> UnsupportedError:
    reason = str(error).rsplit("error: ", maxsplit=1)[-1].splitlines()[0]
    return UnsupportedError(f"the query cannot be sent to another process: {reason}", hint=_HINT)
