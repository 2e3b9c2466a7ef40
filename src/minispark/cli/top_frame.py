"""One look at a cluster, and the picture that is drawn of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from minispark.cli.cluster_metrics import WORKER_COLUMNS, worker_rows
from minispark.cli.terminal import count_text, duration_text
from minispark.engines.console import PrintableConsole
from minispark.engines.http import MasterClient
from minispark.formatting import bytes_words
from minispark.observe.cluster import SystemMetrics
from minispark.observe.views import ENDED, JobView
from minispark.printable import printable

_JOBS = 12
"""Jobs that are asked for: what fits a usual terminal, running ones first."""
_EVENTS = 8
_BAR = 24
_FIXED_LINES = 12
"""Lines that are neither of jobs nor of workers nor of events: heads and rules."""
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
    """What was seen at one moment. ``told`` are happenings that only a watcher knows."""

    url: str
    system: SystemMetrics
    jobs: tuple[JobView, ...]
    told: tuple[tuple[float, str], ...] = ()
    trouble: str | None = None
    """Why nothing newer is seen."""

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "url": self.url,
            "system": self.system.model_dump(mode="json"),
            "jobs": [view.model_dump(mode="json") for view in self.jobs],
            "events": [{"at": at, "event": said} for at, said in events(self)],
        }


def look(client: MasterClient) -> ClusterSnapshot:
    """Ask a master how its cluster is."""
    system = SystemMetrics.model_validate(client.get_json("/api/v1/metrics/system"))
    return ClusterSnapshot(client.url, system, tuple(client.jobs(limit=_JOBS)))


def events(seen: ClusterSnapshot) -> list[tuple[float, str]]:
    """Return what happened, newest first: with jobs, and what a watcher saw of workers."""
    found = list(seen.told)
    for view in seen.jobs:
        found.append((view.submitted_at, f"{view.job_id} {view.name} was accepted"))
        if view.finished_at is not None:
            how = view.status.value.lower()
            took = duration_text(view.duration_s)
            why = f": {view.error.message}" if view.error is not None else ""
            found.append((view.finished_at, f"{view.job_id} {how} after {took}{why}"))
        elif view.waiting:
            found.append((seen.system.at, f"{view.job_id} waits: {view.waiting}"))
    for worker in seen.system.workers:
        if worker.status == "DOWN":
            heard_at = seen.system.at - worker.heartbeat_age_s
            found.append((heard_at, f"worker {worker.worker_id} was last heard; it is DOWN"))
    return sorted(found, key=lambda one: one[0], reverse=True)


def frame(seen: ClusterSnapshot, *, height: int | None) -> RenderableType:
    """Draw it; ``height`` is that of the terminal, None where nothing has to fit."""
    workers = seen.system.workers
    room = None if height is None else max(4, height - _FIXED_LINES - min(len(workers), 8))
    happened = events(seen)[: _EVENTS if room is None else min(_EVENTS, max(2, room // 3))]
    jobs = _jobs(seen, lines=None if room is None else max(2, room - len(happened)))
    shown = workers if height is None else workers[:8]
    parts: list[RenderableType] = [_head(seen), jobs, _workers(seen, len(shown)), _events(happened)]
    if seen.trouble is not None:
        parts.insert(1, _text(seen.trouble, "bold red"))
    return Group(*parts)


def width_for(console: PrintableConsole) -> PrintableConsole:
    """Return where to print a whole frame: off a terminal nothing is cut."""
    if console.is_terminal:
        return console
    return PrintableConsole(file=console.file, width=160)


def _head(seen: ClusterSnapshot) -> Text:
    system, totals = seen.system, seen.system.totals
    status = system.status.replace("_", " ")
    text = Text.assemble(
        (f"Mini-Spark {printable(seen.url)}  ", "bold"),
        (status, "green" if status == "ok" else "bold red"),
        f"  {datetime.fromtimestamp(system.at, UTC).astimezone():%T}",
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


def _jobs(seen: ClusterSnapshot, *, lines: int | None) -> Table:
    table = _table("job", "status", "progress", "tasks", "time", "what")
    running = [view for view in seen.jobs if view.status not in ENDED]
    left = lines
    for view in [*running, *(view for view in seen.jobs if view.status in ENDED)]:
        rows = list(_job_rows(view, seen.system.at))
        if left is not None:
            rows = rows[: max(0, left)]
            left -= len(rows)
        for row in rows:
            table.add_row(*row)
    if not seen.jobs:
        table.add_row("no jobs yet", "", "", "", "", "minispark submit --input FILE")
    return table


def _job_rows(view: JobView, now: float) -> Iterable[tuple[RenderableType, ...]]:
    """Yield a line for a job, and one for each stage of it that runs."""
    running = view.status not in ENDED
    took = now - view.submitted_at if view.duration_s is None else view.duration_s
    tasks = sum(stage.tasks for stage in view.stages)
    done = sum(stage.tasks_done for stage in view.stages)
    what = view.waiting or (view.error.message if view.error is not None else view.name)
    yield (
        _text(view.job_id),
        _styled(view.status.value),
        _bar(view.progress / 100),
        Text(f"{done}/{tasks}", justify="right"),
        Text(duration_text(max(0.0, took)), justify="right"),
        _text(what),
    )
    for stage in view.stages:
        if running and stage.status == "RUNNING":
            yield (
                _text(f"  {stage.id}", "dim"),
                _styled(stage.status),
                _bar(stage.tasks_done / max(1, stage.tasks)),
                Text(f"{stage.tasks_done}/{stage.tasks}", justify="right"),
                Text(""),
                _text(stage.name, "dim"),
            )


def _workers(seen: ClusterSnapshot, count: int) -> Table:
    table = _table(*WORKER_COLUMNS)
    rows = worker_rows(seen.system.workers[:count])
    for row in rows:
        table.add_row(_text(row[0]), _styled(row[1]), *(_text(cell) for cell in row[2:]))
    more = len(seen.system.workers) - count
    if more > 0:
        table.add_row(f"and {more} more")
    if not rows:
        table.add_row("no workers yet: minispark worker")
    return table


def _events(happened: Sequence[tuple[float, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for at, said in happened:
        time = f"{datetime.fromtimestamp(at, UTC).astimezone():%T}"
        table.add_row(time, _text(said))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, width=_BAR)


def _styled(status: str) -> Text:
    return _text(status, _STYLES.get(status, ""))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
