"""The speed of a job over its time: rows, or bytes of files, that its tasks read in a second.

An attempt is taken to have read evenly while it ran, since a report only has sums. So the same plot
comes from a running job, from the journal, and in a report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

from minispark.ids import TaskKey
from minispark.observe.live_progress import RunningAttempt
from minispark.observe.record import JobRecord

_STEPS = 60
"""As many as a small plot can show."""


class Throughput(BaseModel):
    """What was read in each of equal steps, as an amount per second."""

    unit: Literal["rows", "bytes"]
    step_s: float
    values: list[float]

    @property
    def top(self) -> float:
        """The largest value."""
        return max(self.values, default=0.0)


def throughput_of(
    record: JobRecord, running: Mapping[TaskKey, RunningAttempt], *, now: float
) -> Throughput | None:
    """Return the speed of a job over its time; None if nothing of its input was read."""
    for unit in ("rows", "bytes"):
        spans = [span for span in _spans(record, running, unit, now=now) if span[2] > 0]
        if spans:
            began = min(begin for begin, _, _ in spans)
            return _plot(spans, unit, began=began, ended=max(end for _, end, _ in spans))
    return None


def _spans(
    record: JobRecord,
    running: Mapping[TaskKey, RunningAttempt],
    unit: Literal["rows", "bytes"],
    *,
    now: float,
) -> Iterator[tuple[float, float, float]]:
    """Yield when each task began and ended to read files, and how much it read."""
    sources = [node for node, reads in record.graph.flow.items() if not reads]
    for state in record.stages.values():
        if not state.scans_rows:
            continue
        for report in state.reports.values():
            ended = record.attempts[report.key].finished_at or now
            rows = sum(report.nodes.get(node, 0) for node in sources)
            amount = rows if unit == "rows" else report.bytes_read
            yield ended - report.duration_s, ended, amount
    for key, attempt in running.items():
        if record.stages[key.stage].scans_rows:
            amount = attempt.rows_read if unit == "rows" else attempt.bytes_read
            yield now - attempt.ran_s, now, amount


def _plot(
    spans: list[tuple[float, float, float]],
    unit: Literal["rows", "bytes"],
    *,
    began: float,
    ended: float,
) -> Throughput:
    step_s = max((ended - began) / _STEPS, 1e-3)
    sums = [0.0] * _STEPS
    for begin, end, amount in spans:
        first, last = ((at - began) / step_s for at in (begin, end))
        length = max(last - first, 1e-9)
        for step in range(min(int(first), _STEPS - 1), min(int(last), _STEPS - 1) + 1):
            inside = min(step + 1, last) - max(step, first)
            # A task without a length is in one step.
            sums[step] += amount * (min(1.0, inside / length) if length > 1e-9 else 1.0)
    return Throughput(unit=unit, step_s=step_s, values=[round(value / step_s, 1) for value in sums])
