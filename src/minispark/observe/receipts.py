"""The receipts of a job's accepted attempts, and a comparison of two runs.

A receipt is the number of rows and their checksum in each partition of a task's output; the
checksum does not depend on the order of the rows or on floats. Receipts are read from the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from minispark.blocks.meta import Receipt
from minispark.journal.rows import Row, SuccessRow
from minispark.plan.stages import Label, OutputKind, Stage, StageGraph

Receipts = Mapping[tuple[int, int], Receipt]
"""Receipts by stage and task."""


@dataclass(frozen=True, slots=True)
class StageComparison:
    """A stage in two runs. ``tasks`` is the number of its tasks with a receipt in both."""

    stage: int
    name: str
    label: str
    tasks: int
    rows: int
    """Number of rows in the first run."""
    status: Literal["equal", "differs", "may differ", "not run"]
    differing: tuple[int, ...] = ()
    """Tasks whose receipts differ although the stage is repeatable."""
    what: str = ""


def receipts_of(graph: StageGraph, rows: Iterable[Row]) -> Receipts:
    """Return the last accepted receipt of each task from the rows of a job."""
    sinks = {stage.id for stage in graph.stages if stage.output.kind is OutputKind.SINK}
    receipts: dict[tuple[int, int], Receipt] = {}
    for row in rows:
        if not isinstance(row.happening, SuccessRow) or not row.accepted:
            continue
        report = row.happening.report
        receipt, sink = report.block.receipt, report.sink
        if report.key.stage in sinks:
            receipt = Receipt((0,), (0,))
            if sink is not None:
                receipt = Receipt((sink.rows,), (sink.rows_checksum,))
        receipts[report.key.stage, report.key.partition] = receipt
    return receipts


def compare(graph: StageGraph, first: Receipts, second: Receipts) -> list[StageComparison]:
    """Return for each stage whether both runs have equal receipts, if its label requires that."""
    return [_stage(stage, first, second) for stage in graph.stages]


def _stage(stage: Stage, first: Receipts, second: Receipts) -> StageComparison:
    tasks = [(stage.id, number) for number in range(stage.partitions)]
    both = [key for key in tasks if key in first and key in second]
    differing = tuple(key[1] for key in both if _differ(first[key], second[key]))
    status: Literal["equal", "differs", "may differ", "not run"] = "equal"
    if not both:
        status = "not run"
    elif stage.label is Label.INDETERMINATE:
        status = "may differ"
    elif differing:
        status = "differs"
    what = ""
    if status == "differs":
        number = differing[0]
        what = _difference(number, first[stage.id, number], second[stage.id, number])
    return StageComparison(
        stage=stage.id,
        name=stage.name,
        label=stage.label.value,
        tasks=len(both),
        rows=sum(sum(first[key].rows) for key in both),
        status=status,
        differing=differing if status == "differs" else (),
        what=what,
    )


def _differ(first: Receipt, second: Receipt) -> bool:
    if first.rows != second.rows:
        return True
    pairs = zip(first.rows_checksums, second.rows_checksums, strict=True)
    return any(a is not None and b is not None and a != b for a, b in pairs)


def _difference(number: int, first: Receipt, second: Receipt) -> str:
    if sum(first.rows) != sum(second.rows):
        return f"task {number} gave {sum(first.rows)} rows and then {sum(second.rows)}"
    if first.rows != second.rows:
        return f"task {number} distributed its {sum(first.rows)} rows differently"
    return f"task {number} gave {sum(first.rows)} rows each time, but different ones"
