"""The timeline of a job in Chrome's trace format, for Perfetto, speedscope and chrome://tracing.

A worker is a process, a slot of it a thread; times are microseconds after the job's submission.
The format: "Trace Event Format", complete events (``X``) and metadata (``M``).
"""

from __future__ import annotations

from typing import Any

from minispark.ui.timeline import STATES, Timeline

_COLOURS = {"FAILED": "terrible", "CANCELLED": "grey"}
_US = 1e6


def trace_of(line: Timeline) -> dict[str, Any]:
    """Return the JSON object of a trace."""
    events: list[dict[str, Any]] = []
    for number, worker in enumerate(line.workers):
        events.append(_named("process_name", worker.worker, number))
        for lane in range(worker.lanes):
            events.append(_named("thread_name", f"slot {lane}", number, lane))
        events.append(_named("thread_name", "in line", number, worker.lanes))
    events += [_event(line, position) for position in range(len(line.lane))]
    return {
        "displayTimeUnit": "ms",
        "otherData": {"job_id": line.job_id, "began_at": line.began_at},
        "traceEvents": events,
    }


def _named(what: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _event(line: Timeline, position: int) -> dict[str, Any]:
    worker, lane, stage = line.worker[position], line.lane[position], line.stage[position]
    state = STATES[line.state[position]]
    event: dict[str, Any] = {
        "ph": "X",
        "name": f"stage {stage} {line.stages[stage]}",
        "cat": "task" if lane >= 0 else "in line",
        "pid": worker,
        "tid": lane if lane >= 0 else line.workers[worker].lanes,
        "ts": round(line.begin_s[position] * _US, 1),
        "dur": round(max(0.0, line.end_s[position] - line.begin_s[position]) * _US, 1),
        "args": {
            "partition": line.partition[position],
            "attempt": line.attempt[position],
            "generation": line.generation[position],
            "state": state,
            "rows": line.rows[position],
            "speculative": position in line.speculative,
        },
    }
    if state in _COLOURS:
        event["cname"] = _COLOURS[state]
    return event
