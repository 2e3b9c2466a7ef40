"""Tables of jobs and workers: views, stages, metrics, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minispark.cli.failures import render
from minispark.cli.terminal import output, print_hint, print_pairs, print_table
from minispark.formatting import age_words, bytes_words, count_text, duration_text, rate_text
from minispark.observe.estimate import left_words
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.observe.why import Advice

if TYPE_CHECKING:
    import polars as pl

FUSED = "Fused operators run as one query, so their time is divided equally."


def print_frame(frame: pl.DataFrame) -> None:
    """Print rows as a table."""
    print_table(
        frame.columns,
        [["" if cell is None else str(cell) for cell in row] for row in frame.iter_rows()],
        numbers=[name for name, dtype in frame.schema.items() if dtype.is_numeric()],
    )


def print_job(view: JobView, rows: Sequence[StageRow]) -> None:
    """Print the state of a job and its stages."""
    line = f"{view.job_id}  {view.name}  {view.status}  {view.progress:.0f} %"
    left = left_words(view.left_s, view.left_sure)
    if left is not None:
        line += f"  {left}"
    if view.workers_waiting:
        line += "  waits for workers"
    if view.duration_s is not None:
        line += f"  {duration_text(view.duration_s)}"
    output.print_line(line)
    if view.error is not None:
        output.print(render(view.error).rstrip())
    print_stages(rows)
    print_stage_usage(rows)


def print_why(advice: Sequence[Advice]) -> None:
    """Print advice about a job."""
    for item in advice:
        output.print_line(f"why ({item.rule}): {item.what}")
        output.print_line(f"  {item.change}")


def print_jobs(views: Sequence[JobView], *, now: float) -> None:
    """Print a line for each job; ``now`` is in seconds since the epoch."""
    if not views:
        output.print("no jobs yet")
        return
    users = ("user",) if any(view.submitted_by for view in views) else ()
    print_table(
        ("job", "name", "status", "progress", "submitted", "duration", *users),
        [
            (
                view.job_id,
                view.name,
                view.status,
                f"{view.progress:.0f} %",
                age_words(now - view.submitted_at),
                duration_text(view.duration_s),
                *(view.submitted_by or "-" for _ in users),
            )
            for view in views
        ],
        numbers=("progress", "duration"),
        whole=("job", "status", "submitted"),
    )


def print_workers(workers: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each worker."""
    if not workers:
        print_hint("no workers yet; start one with: minispark worker")
        return
    print_table(
        ("worker", "status", "URL", "tasks", "slots", "cpu", "memory"),
        [
            (
                str(worker["worker_id"]),
                _worker_status(worker),
                str(worker.get("url") or "-"),
                str(worker["active_tasks"]),
                str(worker.get("slots") or "-"),
                percent_text(worker.get("cpu_percent")),
                bytes_words(worker.get("memory_bytes")),
            )
            for worker in workers
        ],
        numbers=("tasks", "slots", "cpu", "memory"),
        whole=("worker", "status"),
    )


def percent_text(percent: float | None) -> str:
    """Return ``87 %``, or a dash for None."""
    return "-" if percent is None else f"{percent:.0f} %"


def _worker_status(worker: Mapping[str, Any]) -> str:
    """Return a worker's status, and why it gets no work."""
    notes = [str(worker["status"])]
    if worker.get("full"):
        notes.append(f"{worker['full']} full")
    if worker.get("excluded"):
        notes.append("excluded")
    return ", ".join(notes)


def print_stages(rows: Sequence[StageRow]) -> None:
    """Print the stage table: the DAG's nodes if the job has them, else the physical stages."""
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


def print_stage_usage(rows: Sequence[StageRow]) -> None:
    """Print what the tasks of each physical stage used, once one has ended."""
    stages = [row for row in rows if row.kind == "stage" and row.queued_s is not None]
    if not stages:
        return
    output.print()
    columns = ("stage", "ran", "queued", "CPU", "peak memory", "read", "written", "spilled")
    print_table(
        columns,
        [
            (
                f"{row.id.removeprefix('stage-')} {row.name}",
                duration_text(row.task_time_s),
                duration_text(row.queued_s),
                duration_text(row.cpu_s),
                bytes_words(row.peak_memory_bytes),
                bytes_words((row.bytes_read or 0) + (row.block_bytes_read or 0)),
                bytes_words(row.bytes_written),
                bytes_words(row.bytes_spilled),
            )
            for row in stages
        ],
        numbers=columns[1:],
    )


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


def print_job_metrics(metrics: JobMetrics) -> None:
    """Print all metrics of one job."""
    seconds = metrics.total_time_s
    failures = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in metrics.failures.items())
    print_pairs(
        [
            ("job", f"{metrics.job_id}  {metrics.name}  {metrics.status.value}"),
            (
                "total time",
                f"{duration_text(seconds)}, tasks ran {duration_text(metrics.task_time_s)} "
                f"and were queued {duration_text(metrics.queued_s)}",
            ),
            (
                "cpu, memory",
                f"CPU {duration_text(metrics.cpu_s)}, "
                f"largest task {bytes_words(metrics.peak_memory_bytes)}, "
                f"{bytes_words(metrics.bytes_spilled)} spilled to disk",
            ),
            (
                "input",
                f"{count_text(metrics.input_records)} records, {bytes_words(metrics.bytes_read)}, "
                f"{rate_text(metrics.input_records, seconds)}",
            ),
            (
                "over all operators",
                f"{count_text(metrics.all_records)} records, "
                f"{rate_text(metrics.all_records, seconds)}",
            ),
            ("tasks", f"{metrics.tasks_done}/{metrics.tasks} in {metrics.stages} stages"),
            ("run again", f"{metrics.retries}" + (f" ({failures})" if failures else "")),
            (
                "shuffled",
                f"{bytes_words(metrics.bytes_shuffled)}; "
                f"{bytes_words(metrics.bytes_fetched)} fetched over HTTP",
            ),
            ("cache", f"{metrics.cache_hits} hits, {metrics.cache_misses} misses"),
            ("skew", "-" if metrics.skew is None else f"{metrics.skew:.2f}"),
        ]
    )
    if not metrics.nodes:
        return
    print_table(
        ("node", "records in", "records out", "time", "skew", "fused with"),
        [
            (
                node.id,
                count_text(node.records_in),
                count_text(node.records_out),
                duration_text(node.duration_s),
                "-" if node.skew is None else f"{node.skew:.2f}",
                ", ".join(node.fused_with) or "-",
            )
            for node in metrics.nodes
        ],
        numbers=("records in", "records out", "time", "skew"),
    )
    if any(node.fused for node in metrics.nodes):
        output.print(FUSED)
