"""Runs one task: blocks and splits in, a fragment over them, a block or a sink file out.

Every engine runs tasks by calling `attempt`; nothing here depends on the engine.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from polars.exceptions import PanicException

from minispark.blocks.format import EMPTY_BLOCK
from minispark.blocks.port import BlockPort
from minispark.clock import monotonic_s
from minispark.plan.stored import reading_stored
from minispark.task.collect import collect
from minispark.task.failures import failure_of
from minispark.task.inputs import bytes_read, input_generations, read_inputs
from minispark.task.outputs import write_output
from minispark.task.progress import begin
from minispark.task.scan_inputs import pinned_inputs
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.task.stored import read_stored
from minispark.task.usage import UsageMeter

NO_FRAGMENT = b"no-op"
"""The fragment of a task that does nothing: it measures the cost of the engine itself."""


def run_task(spec: TaskSpec, *, port: BlockPort, meter: UsageMeter | None = None) -> TaskReport:
    """Run a task in this process, one at a time, and return its report.

    A ``meter`` is for processes that do nothing else.

    Raises
    ------
    BlockUnavailable
        An input block is gone or corrupt.
    Exception
        The fragment, a user's function or the disk raised it; see `failure_of`.
    """
    started_s = monotonic_s()
    if spec.fragment == NO_FRAGMENT:
        return TaskReport(key=spec.key, block=EMPTY_BLOCK)
    begin()
    inputs = read_inputs(spec, port=port)
    with pinned_inputs(), reading_stored(partial(read_stored, port=port)):
        with nullcontext() if meter is None else meter.collecting():
            rows = collect(spec, inputs)
        output = write_output(spec, rows, port=port, inputs=inputs)
    return TaskReport(
        key=spec.key,
        block=output.block,
        inputs=input_generations(spec),
        nodes=rows.nodes,
        rows_in=inputs.rows,
        bytes_read=bytes_read(spec.scans),
        bytes_fetched=inputs.http_bytes,
        duration_s=monotonic_s() - started_s,
        sink=output.sink,
        block_bytes_read=inputs.bytes,
        usage=None if meter is None else meter.usage(),
    )


def attempt(
    spec: TaskSpec, *, port: BlockPort, meter: UsageMeter | None = None
) -> TaskReport | TaskFailure:
    """Run a task and return how it ended. Raises nothing, except at an interrupt."""
    started_s = monotonic_s()
    if meter is not None:
        meter.begin()
    try:
        return run_task(spec, port=port, meter=meter)
    # A user's function may call sys.exit, and a panic of Polars is not an Exception.
    except (Exception, SystemExit, PanicException) as error:
        failure = failure_of(error)
    duration_s = monotonic_s() - started_s
    usage = None if meter is None else meter.usage()
    return TaskFailure(spec.key, failure, input_generations(spec), duration_s, usage=usage)
