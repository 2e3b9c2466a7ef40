"""Runs every task of a plan several times, and compares what the label of its stage promises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
import polars.selectors as cs
from polars.testing import assert_frame_equal
from tests.task.bench import run_task

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.meta import BlockSource
from minispark.plan.stages import Label, StageGraph
from minispark.task.spec import TaskReport, TaskSpec

_DIGITS = 5
_FETCH = FetchSettings()


class BrokenLabelError(AssertionError):
    """A task gave other rows, or another order, than the label of its stage allows."""


@dataclass(frozen=True, slots=True)
class Repeater:
    """Replaces `run_task`: runs a task ``times`` times and returns the first report."""

    graph: StageGraph
    times: int

    def __call__(self, spec: TaskSpec) -> TaskReport:
        """Run a task several times.

        Raises
        ------
        BrokenLabelError
            Two runs differ more than the label allows.
        """
        first = run_task(spec, fetch=_FETCH)
        stage = self.graph.stages[spec.key.stage]
        if stage.label is Label.INDETERMINATE:
            return first
        for attempt in range(1, self.times):
            again = replace(spec, key=spec.key._replace(attempt=attempt))
            second = run_task(again, fetch=_FETCH)
            try:
                _compare(spec, first, second, ordered=stage.label is Label.DETERMINATE)
            except AssertionError as error:
                msg = f"stage {stage.id} ({stage.name}) is labelled {stage.label}: {error}"
                raise BrokenLabelError(msg) from error
        return first


def _compare(spec: TaskSpec, first: TaskReport, second: TaskReport, *, ordered: bool) -> None:
    for number in range(len(first.block.partitions)):
        frames = [_rows(spec, report, number) for report in (first, second)]
        assert_frame_equal(*(frame if ordered else in_any_order(frame) for frame in frames))


def _rows(spec: TaskSpec, report: TaskReport, number: int) -> pl.DataFrame:
    part = report.block.partitions[number]
    source = BlockSource(report.key, number, part, _FETCH.host, spec.block_directory)
    return read_block(source, settings=_FETCH)


def in_any_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort rows, so that frames with the same rows become equal."""
    if not frame.width:
        return frame
    floats, categories = cs.float(), cs.categorical()
    # Floats that differ in their last digits must not put the rows in another order.
    keys = frame.select(
        categories.cast(pl.String),
        ~(floats | categories),
        (floats + 0.0).round_sig_figs(_DIGITS),
    )
    return frame[keys.select(pl.struct(pl.all()).arg_sort()).to_series()]
