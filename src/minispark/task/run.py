"""Runs one task: blocks and splits in, a fragment over them, a block or a sink file out.

It knows nothing of who runs it; every engine runs tasks by calling `attempt`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import EMPTY_BLOCK
from minispark.clock import monotonic_s
from minispark.errors import JobFailedError
from minispark.plan.counters import counting
from minispark.plan.leaves import bind
from minispark.plan.optimizations import query_flags
from minispark.task.confine import check_options, check_plan
from minispark.task.failures import failure_of, is_of_system
from minispark.task.inputs import Bindings, Inputs, bytes_read, input_generations, read_inputs
from minispark.task.outputs import write_output
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec

__all__ = ["NO_FRAGMENT", "attempt", "run_task"]

NO_FRAGMENT = b""
"""The fragment of a task that does nothing: what the engine itself costs is measured with it."""


def run_task(spec: TaskSpec, *, fetch: FetchSettings) -> TaskReport:
    """Run a task in this process, one at a time, and return its report.

    Raises
    ------
    BlockUnavailable
        An input block is gone or corrupt.
    Exception
        Whatever the fragment, a user's function or the disk raises; `attempt` sorts it out.
    """
    started_s = monotonic_s()
    if spec.fragment == NO_FRAGMENT:
        return TaskReport(key=spec.key, block=EMPTY_BLOCK)
    inputs = read_inputs(spec, fetch=fetch)
    frame, nodes = _collect(spec, inputs)
    written = write_output(spec, frame)
    return TaskReport(
        key=spec.key,
        block=written.block,
        inputs=input_generations(spec),
        nodes=nodes,
        rows_in=inputs.rows,
        bytes_read=bytes_read(spec.scans),
        bytes_fetched=inputs.http_bytes,
        duration_s=monotonic_s() - started_s,
        sink=written.sink,
    )


def attempt(spec: TaskSpec, *, fetch: FetchSettings) -> TaskReport | TaskFailure:
    """Run a task and say how it ended; raises nothing but an interrupt."""
    started_s = monotonic_s()
    try:
        return run_task(spec, fetch=fetch)
    # A user's function may call sys.exit, and a panic of Polars is no Exception.
    except (Exception, SystemExit, PanicException) as error:
        failure = failure_of(error)
    duration_s = monotonic_s() - started_s
    return TaskFailure(spec.key, failure, input_generations(spec), duration_s)


def _collect(spec: TaskSpec, inputs: Inputs) -> tuple[pl.DataFrame, Mapping[str, int]]:
    if spec.data_root is not None:
        check_plan(_plan(spec), Path(spec.data_root))
        for scan in spec.scans:
            check_options(scan.spec)
    bindings = Bindings(spec, inputs)
    with bind(bindings.leaves()), counting() as nodes:
        try:
            flags = query_flags(spec.optimizations)
            frame = _plan(spec).collect(engine="streaming", optimizations=flags)
        except (Exception, PanicException) as error:
            if bindings.error is not None:
                raise bindings.error from None
            if isinstance(error, PolarsError | PanicException) and not is_of_system(error):
                bad = bindings.bad_record(error)
                if bad is not None:
                    raise JobFailedError.from_info(bad) from error
            raise
        return frame, dict(nodes)


def _plan(spec: TaskSpec) -> pl.LazyFrame:
    return pl.LazyFrame.deserialize(io.BytesIO(spec.fragment))
