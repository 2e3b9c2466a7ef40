"""The columns of a stage as plain data, which no reader of a plan needs Polars for."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.stages import Columns


def columns_of_schema(schema: Mapping[str, pl.DataType]) -> Columns:
    """Return names and dtypes as text."""
    return tuple((name, str(dtype)) for name, dtype in schema.items())


def difference(planned: Columns, given: Columns) -> str | None:
    """Return in words how two lists of columns differ, None where they do not."""
    if planned == given:
        return None
    names, given_names = ([name for name, _ in columns] for columns in (planned, given))
    if names != given_names:
        return f"the columns {given_names}, not {names}"
    wrong = ((name, now, dtype) for (name, dtype), (_, now) in zip(planned, given, strict=True))
    name, now, dtype = next(column for column in wrong if column[1] != column[2])
    return f"column {name!r} as {now}, not {dtype}"
