"""What the accepted attempts of a job promised, and whether two runs promised the same.

A receipt is the number of rows and their checksum in each partition of a task's output; the
checksum hangs neither on the order of the rows nor on floats. Made of a job's journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from minispark.ids import TaskKey
from minispark.plan.stages import Label, OutputKind, Stage, StageGraph

__all__ = ["Compared", "Receipt", "compare", "receipts_of"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Rows and checksums of the output of a task, partition by partition."""

    rows: tuple[int, ...]
    checksums: tuple[int | None, ...]


Receipts = Mapping[tuple[int, int], Receipt]
"""By stage and task."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A stage of two runs. ``tasks`` is how many of its tasks have a receipt in both."""

    stage: int
    name: str
    label: str
    tasks: int
    rows: int
    """As the first run promised them."""
    status: Literal["equal", "differs", "may differ", "not run"]
    differing: tuple[int, ...] = ()
    """Tasks whose receipts differ where they must not."""
    what: str = ""


def receipts_of(graph: StageGraph, events: Iterable[tuple[str, Any]]) -> Receipts:
    """Return the last accepted receipt of each task from the kinds and payloads of events."""
    sinks = {stage.id for stage in graph.stages if stage.output.kind is OutputKind.SINK}
    found: dict[tuple[int, int], Receipt] = {}
    for kind, payload in events:
        if kind != "task_succeeded" or not payload.get("counted", True):
            continue
        report = payload["report"]
        key = TaskKey(**report["key"])
        sink, parts = report.get("sink"), report["block"]["partitions"]
        if key.stage not in sinks:
            rows = tuple(part["rows"] for part in parts)
            checksums = tuple(part["rows_checksum"] for part in parts)
        elif sink is None:
            rows, checksums = (0,), (0,)
        else:
            rows, checksums = (sink["rows"],), (sink.get("rows_checksum"),)
        found[key.stage, key.partition] = Receipt(rows, checksums)
    return found


def compare(graph: StageGraph, first: Receipts, second: Receipts) -> list[Compared]:
    """Say of each stage whether both runs promised the same, as far as its label promises it."""
    return [_stage(stage, first, second) for stage in graph.stages]


def _stage(stage: Stage, first: Receipts, second: Receipts) -> Compared:
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
        what = _what(number, first[stage.id, number], second[stage.id, number])
    return Compared(
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
    pairs = zip(first.checksums, second.checksums, strict=True)
    return any(a is not None and b is not None and a != b for a, b in pairs)


def _what(number: int, first: Receipt, second: Receipt) -> str:
    if sum(first.rows) != sum(second.rows):
        return f"task {number} gave {sum(first.rows)} rows and then {sum(second.rows)}"
    if first.rows != second.rows:
        return f"task {number} spread its {sum(first.rows)} rows otherwise over the partitions"
    return f"task {number} gave {sum(first.rows)} rows each time, but others"
