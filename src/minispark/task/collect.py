"""Collects the fragment of a task over its inputs, with Polars' streaming engine.

Where a reader takes only some rows of each task (the head of a query), an error over other rows
must not fail the job: Polars alone would not have read these rows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, JobFailedError
from minispark.plan.columns import columns_of_schema
from minispark.plan.counters import counting
from minispark.plan.leaves import bind
from minispark.plan.serialization import fragment_flags
from minispark.task.failures import error_over_rows, is_of_system
from minispark.task.inputs import Bindings, Inputs
from minispark.task.path_sandbox import check_options, check_plan
from minispark.task.scan_inputs import with_names
from minispark.task.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Collected:
    """The rows of a task, and how many each counted DAG node gave."""

    frame: pl.DataFrame
    nodes: Mapping[str, int] = field(default_factory=dict)
    error: ErrorInfo | None = None
    """What the rows after these (before these, where the last are taken) failed with."""


def collect(spec: TaskSpec, inputs: Inputs) -> Collected:
    """Run the fragment of a task.

    Raises
    ------
    Exception
        Whatever Polars or a user's function raises, unless it is over rows that may not be needed.
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
        return _rows_without_error(spec, inputs, spec.output.take, with_names(info))


def misplanned_schema(spec: TaskSpec, inputs: Inputs) -> pl.Schema | None:
    """Return the columns of a fragment that Polars plans as its stage says, and gives otherwise.

    They are those of the in-memory engine. None where it is not Polars that plans them wrong.
    """
    try:
        if columns_of_schema(_plan(spec).collect_schema()) != spec.output.columns:
            return None
        with bind(Bindings(spec, inputs).leaves()):
            return _plan(spec).collect(engine="in-memory").schema
    except (Exception, PanicException):
        return None


def _rows_without_error(spec: TaskSpec, inputs: Inputs, take: int, error: ErrorInfo) -> Collected:
    """Return as many rows of an end of the fragment as it gives without an error (bisection)."""
    best = Collected(pl.DataFrame(), error=error)
    good, bad = 0, abs(take)
    while bad - good > 1:
        rows = (good + bad) // 2
        plan = _plan(spec).head(rows) if take > 0 else _plan(spec).tail(rows)
        try:
            collected = _run(spec, inputs, plan)
        except Exception as again:
            if error_over_rows(again) is None:
                raise
            bad = rows
        else:
            good = rows
            best = Collected(collected.frame, collected.nodes, error)
    return best


def _run(spec: TaskSpec, inputs: Inputs, plan: pl.LazyFrame) -> Collected:
    bindings = Bindings(spec, inputs)
    with bind(bindings.leaves()), counting() as nodes:
        try:
            flags = fragment_flags(spec.optimizations)
            engine: Literal["in-memory", "streaming"] = (
                "in-memory" if spec.in_memory else "streaming"
            )
            frame = plan.collect(engine=engine, optimizations=flags)
        except (Exception, PanicException) as error:
            if bindings.error is not None:
                raise bindings.error from None
            if isinstance(error, PolarsError | PanicException) and not is_of_system(error):
                bad = bindings.bad_record(error)
                if bad is not None:
                    raise JobFailedError.from_info(bad) from error
            raise
        return Collected(frame, dict(nodes))


def _plan(spec: TaskSpec) -> pl.LazyFrame:
    """Return a new plan: a task never keeps one for the next, which has other rows."""
    return pl.LazyFrame.deserialize(io.BytesIO(spec.fragment))
