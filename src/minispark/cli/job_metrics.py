"""The figures of a job as tables: stages, total time, throughput."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from minispark.cli.failures import render
from minispark.cli.terminal import count_text, duration_text, output, print_table, rate_text
from minispark.formatting import bytes_words
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.observe.why import Advice

if TYPE_CHECKING:
    import polars as pl

FUSED = "Fused nodes run as one query: each is told an equal part of its time."


def print_json(value: object) -> None:
    """Print a value for scripts."""
    # All but ASCII is escaped; of what is left, a terminal obeys this one.
    sys.stdout.write(json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n")


def print_frame(frame: pl.DataFrame) -> None:
    """Print rows as a table."""
    print_table(
        frame.columns,
        [["" if cell is None else str(cell) for cell in row] for row in frame.iter_rows()],
        numbers=[name for name, dtype in frame.schema.items() if dtype.is_numeric()],
    )


def print_job(view: JobView, rows: Sequence[StageRow]) -> None:
    """Print how a job stands."""
    line = f"{view.job_id}  {view.name}  {view.status}  {view.progress:.0f} %"
    if view.workers_waiting:
        line += "  waits for workers"
    if view.duration_s is not None:
        line += f"  {duration_text(view.duration_s)}"
    output.print_line(line)
    if view.error is not None:
        output.print(render(view.error).rstrip())
    print_stages(rows)


def print_why(advice: Sequence[Advice]) -> None:
    """Print what stands out in a job, and the changes to make."""
    for one in advice:
        output.print_line(f"why ({one.rule}): {one.what}")
        output.print_line(f"  {one.change}")


def print_jobs(views: Sequence[JobView]) -> None:
    """Print a line for each job."""
    if not views:
        output.print("no jobs yet")
        return
    print_table(
        ("job", "name", "status", "progress", "submitted", "duration"),
        [
            (
                view.job_id,
                view.name,
                view.status,
                f"{view.progress:.0f} %",
                datetime.fromtimestamp(view.submitted_at, UTC).astimezone().strftime("%F %T"),
                duration_text(view.duration_s),
            )
            for view in views
        ],
        numbers=("progress", "duration"),
    )


def print_workers(workers: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each worker."""
    if not workers:
        output.print("no workers yet; start one with: minispark worker")
        return
    print_table(
        ("worker", "status", "URL", "tasks", "slots", "cpu", "memory"),
        [
            (
                str(worker["worker_id"]),
                _standing(worker),
                str(worker.get("url") or "-"),
                str(worker["active_tasks"]),
                str(worker.get("slots") or "-"),
                _figure(worker, "cpu_percent", lambda value: f"{value:.0f} %"),
                _figure(worker, "memory_bytes", lambda value: bytes_words(int(value))),
            )
            for worker in workers
        ],
        numbers=("tasks", "slots", "cpu", "memory"),
    )


def _standing(worker: Mapping[str, Any]) -> str:
    """Say whether a worker gets work, and if not, why."""
    notes = [str(worker["status"])]
    if worker.get("full"):
        notes.append(f"{worker['full']} full")
    if worker.get("excluded"):
        notes.append("excluded")
    return ", ".join(notes)


def _figure(worker: Mapping[str, Any], name: str, text: Callable[[float], str]) -> str:
    value = worker.get(name)
    return "-" if value is None else text(float(value))


def print_stages(rows: Sequence[StageRow]) -> None:
    """Print the stage table: DAG nodes where the job has them, else physical stages."""
    nodes = [row for row in rows if row.kind == "node"] or rows
    print_table(
        ("stage", "status", "duration", "tasks", "records"),
        [
            (
                row.name,
                _status(row),
                duration_text(row.duration_s),
                f"{row.tasks_done}/{row.tasks}" if row.tasks_done != row.tasks else str(row.tasks),
                count_text(row.records_out),
            )
            for row in nodes
        ],
        numbers=("duration", "tasks", "records"),
    )
    if any(row.fused for row in nodes):
        output.print(FUSED)


def _status(row: StageRow) -> str:
    if not row.cached:
        return row.status
    return f"{row.status}, cached" if row.status == "SKIPPED" else f"{row.status}, part cached"


def print_figures(metrics: JobMetrics, *, total_s: float | None = None) -> None:
    """Print total time and throughput, of the input and over all operators."""
    seconds = metrics.total_time_s if total_s is None else total_s
    lines = [
        f"total time           {duration_text(seconds)}",
        f"input                {count_text(metrics.input_records)} records, "
        f"{rate_text(metrics.input_records, seconds)}",
        f"over all operators   {count_text(metrics.all_records)} records, "
        f"{rate_text(metrics.all_records, seconds)}",
        f"tasks                {metrics.tasks_done} ({metrics.retries} run again), "
        f"stages {metrics.stages}, {bytes_words(metrics.bytes_shuffled)} from stage to stage",
    ]
    if metrics.cache_hits or metrics.cache_misses:
        lines.append(
            f"cached               {count_text(metrics.cache_hits)} parts found, "
            f"{count_text(metrics.cache_misses)} computed"
        )
    for line in lines:
        output.print_line(line)
