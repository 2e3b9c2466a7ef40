"""All attempts of a job: laid into lanes, as columns for the timeline, and as a Chrome trace.

A worker does not report the slot of an attempt; it reports how long the attempt ran. Attempts are
laid into lanes in the order of their begin, each into the lane that has been free for longest, and
never into more lanes than the worker has slots; then those that reported no time, into the gaps. An
attempt without a lane was only queued.

Columns and not rows: 10,000 attempts are half a megabyte instead of three.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from pydantic import BaseModel

from minispark.ids import TaskKey
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import Attempt
from minispark.observe.stage_totals import rows_out

STATES = ("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")
_SLACK_S = 0.05
"""An attempt may seem to end this long after the next began: its end is the report's arrival."""
_COLOURS = {"FAILED": "terrible", "CANCELLED": "grey"}
_US = 1e6


@dataclass(frozen=True, slots=True)
class LanePosition:
    """The lane and the time of an attempt. ``lane`` is None for an attempt that was only queued."""

    attempt: Attempt
    lane: int | None
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class WorkerLanes:
    """The attempts of one worker in the order of their begin."""

    worker: str
    lanes: int
    positions: tuple[LanePosition, ...]


class TimelineWorker(BaseModel):
    """A worker and its number of lanes; the line of its queued attempts comes after them."""

    worker: str
    lanes: int


class Timeline(BaseModel):
    """Attempts as columns: each list has one item per attempt. Times are seconds after began_at."""

    job_id: str
    began_at: float
    until_s: float
    ended: bool
    stages: dict[int, str]
    """Names of the stages."""
    workers: list[TimelineWorker]
    worker: list[int] = []
    """Position in ``workers``."""
    lane: list[int] = []
    """-1 for an attempt that was only queued."""
    stage: list[int] = []
    generation: list[int] = []
    partition: list[int] = []
    attempt: list[int] = []
    """Counted from 0, as in ids; what people see counts from 1."""
    state: list[int] = []
    """Position in `STATES`."""
    speculative: list[int] = []
    """Positions of attempts that ran beside another attempt of the same task."""
    leased_s: list[float] = []
    begin_s: list[float] = []
    end_s: list[float] = []
    rows: list[int] = []
    """Rows that the attempt returned; 0 if it did not succeed."""


def lanes_of(
    attempts: Iterable[Attempt], *, slots: Mapping[str, int], now: float
) -> list[WorkerLanes]:
    """Lay attempts into lanes, by worker; ``slots`` are the slots of known workers."""
    by_worker: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_worker.setdefault(attempt.worker, []).append(attempt)
    return [_lanes(name, by_worker[name], slots.get(name), now) for name in sorted(by_worker)]


def timeline_of(record: JobRecord, *, slots: Mapping[str, int], now: float) -> Timeline:
    """Return every attempt of a job."""
    zero, until = record.submitted_at, record.finished_at or now
    workers = lanes_of(record.attempts.values(), slots=slots, now=until)
    positions = [position for worker in workers for position in worker.positions]
    attempts = [position.attempt for position in positions]
    keys = [attempt.key for attempt in attempts]
    timeline = Timeline(
        job_id=record.job_id,
        began_at=zero,
        until_s=round(max(0.0, until - zero), 4),
        ended=record.ended,
        stages={stage.id: stage.name for stage in record.graph.stages},
        workers=[TimelineWorker(worker=w.worker, lanes=w.lanes) for w in workers],
    )
    # Assigned, not given to the constructor: it would check every item.
    timeline.worker = [number for number, worker in enumerate(workers) for _ in worker.positions]
    timeline.lane = [-1 if position.lane is None else position.lane for position in positions]
    timeline.stage = [key.stage for key in keys]
    timeline.generation = [key.generation for key in keys]
    timeline.partition = [key.partition for key in keys]
    timeline.attempt = [key.attempt for key in keys]
    timeline.state = [STATES.index(attempt.status) for attempt in attempts]
    timeline.speculative = [n for n, attempt in enumerate(attempts) if attempt.speculative]
    timeline.leased_s = [round(attempt.started_at - zero, 4) for attempt in attempts]
    timeline.begin_s = [round(position.begin - zero, 4) for position in positions]
    timeline.end_s = [round(position.end - zero, 4) for position in positions]
    timeline.rows = [_rows(record, key) for key in keys]
    return timeline


def trace_of(timeline: Timeline) -> dict[str, Any]:
    """Return a timeline in Chrome's trace format, for Perfetto, speedscope and chrome://tracing.

    A worker is a process, a slot a thread; times are microseconds after the job's submission. The
    format is "Trace Event Format", with complete events (``X``) and metadata (``M``).
    """
    events: list[dict[str, Any]] = []
    for number, worker in enumerate(timeline.workers):
        events.append(_metadata("process_name", worker.worker, number))
        for lane in range(worker.lanes):
            events.append(_metadata("thread_name", f"slot {lane}", number, lane))
        events.append(_metadata("thread_name", "queued", number, worker.lanes))
    events += [_event(timeline, position) for position in range(len(timeline.lane))]
    return {
        "displayTimeUnit": "ms",
        "otherData": {"job_id": timeline.job_id, "began_at": timeline.began_at},
        "traceEvents": events,
    }


def _lanes(name: str, attempts: list[Attempt], slots: int | None, now: float) -> WorkerLanes:
    lanes: list[list[tuple[float, float]]] = []
    positions = []
    # Those that say how long they ran come first: they were in a slot. The others fill the gaps.
    for attempt in sorted(attempts, key=lambda each: (each.took_s is None, _begin(each))):
        begin, end = _begin(attempt), attempt.finished_at or max(now, attempt.started_at)
        free_at = [_free_at(lane, end) for lane in lanes]
        lane = min(range(len(lanes)), key=free_at.__getitem__, default=None)
        if (lane is None or free_at[lane] > begin + _SLACK_S) and (
            slots is None or len(lanes) < slots
        ):
            lanes.append([])
            free_at.append(begin)
            lane = len(lanes) - 1
        if lane is not None and (free_at[lane] < end or attempt.took_s is not None):
            begin = min(max(begin, free_at[lane]), end)
            if begin < end:
                insort(lanes[lane], (begin, end))
        else:
            lane = None
        positions.append(LanePosition(attempt, lane, begin, end))
    positions.sort(key=lambda each: (each.begin, each.end))
    return WorkerLanes(name, max(len(lanes), slots or 1), tuple(positions))


def _free_at(lane: list[tuple[float, float]], end: float) -> float:
    """Return when the last attempt in a lane that began before ``end`` ended."""
    before = bisect_left(lane, (end, end))
    return lane[before - 1][1] if before else -inf


def _begin(attempt: Attempt) -> float:
    if attempt.took_s is None or attempt.finished_at is None:
        return attempt.started_at
    return max(attempt.started_at, attempt.finished_at - attempt.took_s)


def _rows(record: JobRecord, key: TaskKey) -> int:
    report = record.stages[key.stage].reports.get(key.partition)
    return 0 if report is None or report.key != key else rows_out(report)


def _metadata(kind: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _event(timeline: Timeline, position: int) -> dict[str, Any]:
    worker, lane = timeline.worker[position], timeline.lane[position]
    stage, state = timeline.stage[position], STATES[timeline.state[position]]
    begin_s, end_s = timeline.begin_s[position], timeline.end_s[position]
    event: dict[str, Any] = {
        "ph": "X",
        "name": f"stage {stage} {timeline.stages[stage]}",
        "cat": "task" if lane >= 0 else "queued",
        "pid": worker,
        "tid": lane if lane >= 0 else timeline.workers[worker].lanes,
        "ts": round(begin_s * _US, 1),
        "dur": round(max(0.0, end_s - begin_s) * _US, 1),
        "args": {
            "partition": timeline.partition[position],
            "attempt": timeline.attempt[position] + 1,
            "generation": timeline.generation[position],
            "state": state,
            "rows": timeline.rows[position],
            "speculative": position in timeline.speculative,
        },
    }
    if state in _COLOURS:
        event["cname"] = _COLOURS[state]
    return event
