"""Collects the fragment of a task over its inputs, with Polars' streaming engine.

If a reader takes only some rows of each task (the head of a query), an error in other rows must not
fail the job: Polars alone would not have read these rows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import columns_of_schema
from minispark.plan.counters import counting
from minispark.plan.leaves import bind
from minispark.plan.serialization import fragment_flags
from minispark.task.failures import error_over_rows, is_system_error
from minispark.task.inputs import Bindings, Inputs
from minispark.task.path_sandbox import check_options, check_plan
from minispark.task.scan_inputs import with_file_names
from minispark.task.spec import TaskSpec

if TYPE_CHECKING:
    from polars._typing import EngineType


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The rows of a task, and the number of rows out of each counted DAG node."""

    frame: pl.DataFrame
    nodes: Mapping[str, int] = field(default_factory=dict)
    error: ErrorInfo | None = None
    """The error in the rows after these (before these, if the last rows are taken)."""


def collect(spec: TaskSpec, inputs: Inputs) -> TaskRows:
    """Run the fragment of a task and return its rows.

    Raises
    ------
    Exception
        Polars or a user's function raised it, and rows that are needed may be affected.
    """
    if spec.data_root is not None:
        check_plan(_plan(spec), Path(spec.data_root))
        for scan in spec.scans:
            check_options(scan.spec)
    try:
        return _run(spec, inputs, _plan(spec))
    except Exception as error:
        info = error_over_rows(error)
        if spec.output.take is None or info is None:
            raise
        return _rows_without_error(spec, inputs, spec.output.take, with_file_names(info))


def misplanned_schema(spec: TaskSpec, inputs: Inputs) -> pl.Schema | None:
    """Return the columns that the in-memory engine gives, although Polars plans those of the stage.

    None if Polars plans other columns than the stage, or cannot run the fragment.
    """
    try:
        if columns_of_schema(_plan(spec).collect_schema()) != spec.output.columns:
            return None
        with bind(Bindings(spec, inputs).leaves()):
            return _plan(spec).collect(engine="in-memory").schema
    except (Exception, PanicException):
        return None


def _rows_without_error(spec: TaskSpec, inputs: Inputs, take: int, error: ErrorInfo) -> TaskRows:
    """Return as many first or last rows as the fragment gives without an error (bisection)."""
    best = TaskRows(pl.DataFrame(), error=error)
    good, bad = 0, abs(take)
    while bad - good > 1:
        rows = (good + bad) // 2
        plan = _plan(spec).head(rows) if take > 0 else _plan(spec).tail(rows)
        try:
            best = replace(_run(spec, inputs, plan), error=error)
        except Exception as other:
            if error_over_rows(other) is None:
                raise
            bad = rows
        else:
            good = rows
    return best


def _run(spec: TaskSpec, inputs: Inputs, plan: pl.LazyFrame) -> TaskRows:
    bindings = Bindings(spec, inputs)
    with bind(bindings.leaves()), counting() as nodes:
        try:
            flags = fragment_flags(spec.optimizations)
            engine: EngineType = "in-memory" if spec.in_memory else "streaming"
            frame = plan.collect(engine=engine, optimizations=flags)
        except (Exception, PanicException) as error:
            if bindings.error is not None:
                raise bindings.error from None
            if isinstance(error, PolarsError | PanicException) and not is_system_error(error):
                info = bindings.bad_record(error)
                if info is not None:
                    raise JobFailedError.from_info(info) from error
            raise
        return TaskRows(frame, dict(nodes))


def _plan(spec: TaskSpec) -> pl.LazyFrame:
    """Return a new plan: one that was collected may hold rows of an earlier task."""
    return pl.LazyFrame.deserialize(io.BytesIO(spec.fragment))
