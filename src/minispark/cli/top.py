"""The live view of a cluster: take a snapshot, draw it, wait for a key."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import tty
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minispark.cli.cluster_metrics import WORKER_COLUMNS, worker_rows
from minispark.cli.terminal import columns_that_fit, minimum_widths, output, table_width
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError
from minispark.formatting import bytes_words, count_text, duration_text, local_time
from minispark.observe.cluster import SystemMetrics
from minispark.observe.estimate import left_words
from minispark.observe.views import ENDED, JobView
from minispark.printable import printable
from minispark.program import as_typed

_JOBS = 12
"""Jobs in a snapshot: as many as fit a usual terminal."""
_EVENTS = 8
_MAX_EVENTS = 50
"""Events of workers that the view remembers."""
_BAR = 24
_LEAST_BAR = 8
_TEXT = 20
"""Columns for a name or an error, before the bar gets more than its least."""
WIDTH = 160
"""Columns where no terminal has any."""
_FIXED_LINES = 12
"""Heads and rules: lines that hold no job, worker or event."""
_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "UP": "green",
    "DOWN": "red",
    "DRAINING": "yellow",
}


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """The state of a cluster at one moment.

    ``worker_events`` are changes between earlier snapshots; ``trouble`` says why this one is old.
    """

    url: str
    system: SystemMetrics
    jobs: tuple[JobView, ...]
    worker_events: tuple[tuple[float, str], ...] = ()
    trouble: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON document of the snapshot."""
        return {
            "url": self.url,
            "system": self.system.model_dump(mode="json"),
            "jobs": [view.model_dump(mode="json") for view in self.jobs],
            "events": [{"at": at, "event": text} for at, text in events(self)],
        }


@dataclass(frozen=True, slots=True)
class _JobRow:
    job: Text
    status: Text
    share: float
    tasks: str
    time: str
    what: Text


def take_snapshot(client: MasterClient) -> ClusterSnapshot:
    """Ask a master for the state of its cluster."""
    system = SystemMetrics.model_validate(client.get_json("/api/v1/metrics/system"))
    return ClusterSnapshot(client.url, system, tuple(client.jobs(limit=_JOBS)))


def next_snapshot(client: MasterClient, before: ClusterSnapshot) -> ClusterSnapshot:
    """Take the next snapshot; without a master, return the one before with its trouble."""
    try:
        now = take_snapshot(client)
    except MasterUnreachableError as error:
        return replace(before, trouble=f"{error.info.message}; trying again")
    old = {worker.worker_id: worker.status for worker in before.system.workers}
    new_events = [
        (now.system.at, f"worker {worker.worker_id} is {worker.status}")
        for worker in now.system.workers
        if worker.status not in ("DOWN", old.get(worker.worker_id))
    ]
    if before.system.master.epoch != now.system.master.epoch:
        new_events.append((now.system.at, "the master restarted"))
    return replace(now, worker_events=(*before.worker_events, *new_events)[-_MAX_EVENTS:])


def watch(client: MasterClient, snapshot: ClusterSnapshot, *, interval_s: float) -> None:
    """Show the cluster until q is pressed."""
    with _single_keys() as keyboard, Live(console=output, screen=True, auto_refresh=False) as live:
        while True:
            drawing = frame(snapshot, height=output.height, width=output.width)
            live.update(drawing, refresh=True)
            ready, _, _ = select.select(keyboard, [], [], interval_s)
            if ready and sys.stdin.read(1) in ("q", "Q", "\x1b", "\x04"):
                return
            snapshot = next_snapshot(client, snapshot)


@contextlib.contextmanager
def _single_keys() -> Iterator[list[Any]]:
    """Yield the files to read single keys from: none if standard input is not a terminal."""
    if not sys.stdin.isatty():
        yield []
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield [sys.stdin]
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def events(snapshot: ClusterSnapshot) -> list[tuple[float, str]]:
    """Return the events of jobs and workers, newest first."""
    rows = list(snapshot.worker_events)
    for view in snapshot.jobs:
        rows.append((view.submitted_at, f"{view.job_id} {view.name} was accepted"))
        if view.finished_at is not None:
            status = view.status.value.lower()
            took = duration_text(view.duration_s)
            why = f": {view.error.message}" if view.error is not None else ""
            rows.append((view.finished_at, f"{view.job_id} {status} after {took}{why}"))
        elif view.waiting:
            rows.append((snapshot.system.at, f"{view.job_id} waits: {view.waiting}"))
    for worker in snapshot.system.workers:
        if worker.status == "DOWN":
            heard_at = snapshot.system.at - worker.heartbeat_age_s
            rows.append(
                (heard_at, f"worker {worker.worker_id} stopped sending heartbeats; it is DOWN")
            )
    return sorted(rows, key=lambda row: row[0], reverse=True)


def frame(snapshot: ClusterSnapshot, *, height: int | None, width: int = WIDTH) -> RenderableType:
    """Draw a snapshot for a terminal; ``height`` None is no limit."""
    workers = snapshot.system.workers
    room = None if height is None else max(4, height - _FIXED_LINES - min(len(workers), 8))
    rows = events(snapshot)[: _EVENTS if room is None else min(_EVENTS, max(2, room // 3))]
    jobs = _jobs(snapshot, lines=None if room is None else max(2, room - len(rows)), width=width)
    shown = workers if height is None else workers[:8]
    parts: list[RenderableType] = [
        _head(snapshot),
        jobs,
        _workers(snapshot, len(shown), width),
        _events(rows),
    ]
    if snapshot.trouble is not None:
        parts.insert(1, _text(snapshot.trouble, "bold red"))
    return Group(*parts)


def _head(snapshot: ClusterSnapshot) -> Text:
    system, totals = snapshot.system, snapshot.system.totals
    status = system.status.replace("_", " ")
    text = Text.assemble(
        (f"Mini-Spark {printable(snapshot.url)}  ", "bold"),
        (status, "green" if status == "ok" else "bold red"),
        f"  {local_time(system.at, '%T')}",
        f"\nworkers {system.workers_up} up",
        f", {system.workers_down} down" if system.workers_down else "",
        f", {system.workers_draining} draining" if system.workers_draining else "",
        f"   tasks {system.active_tasks}/{system.slots} slots",
        f"   cpu {system.cpu_percent:.0f} %   memory {bytes_words(system.memory_bytes)}",
        f"   jobs {system.jobs_running} running",
        f", {system.jobs_waiting} waiting for workers" if system.jobs_waiting else "",
        f"   ever: {count_text(totals.tasks_done)} tasks, {totals.retries} run again, "
        f"{sum(totals.failures.values())} failed",
    )
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


def _jobs(snapshot: ClusterSnapshot, *, lines: int | None, width: int) -> Table:
    """Draw jobs and running stages; a narrow terminal cuts off the bar and the text, never ids."""
    running = [view for view in snapshot.jobs if view.status not in ENDED]
    ended = [view for view in snapshot.jobs if view.status in ENDED]
    rows = [row for view in (*running, *ended) for row in _job_rows(view, snapshot.system.at)]
    if not snapshot.jobs:
        hint = as_typed("minispark submit --input FILE")
        rows.append(_JobRow(_text("no jobs yet"), Text(), 0.0, "", "", _text(hint)))
    rows = rows if lines is None else rows[: max(0, lines)]
    cells = [(row.job.plain, row.status.plain, row.tasks, row.time) for row in rows]
    heads = ("job", "status", "tasks", "time")
    job, status, tasks, time = minimum_widths(heads, cells, heads)
    left = width - table_width((job, status, tasks, time, 0, 0))
    bar = max(_LEAST_BAR, min(_BAR, left - _TEXT))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, size in (("job", job), ("status", status), ("progress", bar)):
        table.add_column(name, no_wrap=True, width=size)
    for name, size in (("tasks", tasks), ("time", time)):
        table.add_column(name, no_wrap=True, width=size, justify="right")
    table.add_column("what", no_wrap=True, overflow="ellipsis", width=max(1, left - bar))
    for row in rows:
        progress = ProgressBar(1.0, row.share)
        table.add_row(row.job, row.status, progress, row.tasks, row.time, row.what)
    return table


def _job_rows(view: JobView, now: float) -> Iterable[_JobRow]:
    """Yield the row of a job, and of each running stage."""
    running = view.status not in ENDED
    took = now - view.submitted_at if view.duration_s is None else view.duration_s
    tasks = sum(stage.tasks for stage in view.stages)
    done = sum(stage.tasks_done for stage in view.stages)
    text = view.waiting or (view.error.message if view.error is not None else view.name)
    left = left_words(view.left_s, view.left_sure)
    if left is not None:
        text = f"{left}: {text}"
    yield _JobRow(
        _text(view.job_id),
        _styled(view.status.value),
        view.progress / 100,
        f"{done}/{tasks}",
        duration_text(max(0.0, took)),
        _text(text),
    )
    for stage in view.stages:
        if running and stage.status == "RUNNING":
            yield _JobRow(
                _text(f"  {stage.id}", "dim"),
                _styled(stage.status),
                stage.progress / 100,
                f"{stage.tasks_done}/{stage.tasks}",
                "",
                _text(stage.name, "dim"),
            )


def _workers(snapshot: ClusterSnapshot, count: int, width: int) -> Table:
    """Draw workers; the last columns are left out where the terminal is too narrow."""
    rows = worker_rows(snapshot.system.workers[:count])
    minimums = minimum_widths(WORKER_COLUMNS, rows, WORKER_COLUMNS)
    shown = columns_that_fit(minimums, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in WORKER_COLUMNS[:shown]:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(_text(row[0]), _styled(row[1]), *(_text(cell) for cell in row[2:shown]))
    more = len(snapshot.system.workers) - count
    if more > 0:
        table.add_row(f"and {more} more")
    if not rows:
        table.add_row(as_typed("no workers yet: minispark worker"))
    return table


def _events(rows: Sequence[tuple[float, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True, min_width=len("12:34:56"))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for at, text in rows:
        table.add_row(local_time(at, "%T"), _text(text))
    return table


def _styled(status: str) -> Text:
    return _text(status, _STYLES.get(status, ""))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
