"""Runs a ready-made job on the chosen engine, and prints its rows and metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from minispark.cli.job_metrics import print_figures, print_frame, print_stages
from minispark.cli.options import connect, master_of, print_json
from minispark.cli.terminal import notes, output, phase
from minispark.cli.words import Words
from minispark.formatting import count_text
from minispark.observe.views import JobMetrics, StageRow
from minispark.plan.columns import exact_columns


@dataclass(frozen=True, slots=True)
class _Run:
    frame: pl.DataFrame | None
    """The rows; None if the job wrote files."""
    rows: Sequence[StageRow]
    metrics: JobMetrics
    where: str


def run_and_show(
    job: Mapping[str, Any],
    *,
    engine: str,
    top: int,
    order_by: str | None = None,
    about: Words | None = None,
    as_json: bool = False,
) -> None:
    """Run a job of one result; print its first rows, the largest ``order_by`` first.

    ``about`` is what a word count reads.
    """
    url = master_of(engine)
    start = time.perf_counter()
    run = _run_here(job) if url is None else _run_there(job, url)
    seconds = time.perf_counter() - start
    if as_json:
        first = None if run.frame is None else _first_rows(run.frame, top, order_by)
        column = {} if about is None else {"column": about.column}
        print_json(
            column
            | {
                "rows": None if first is None else json.loads(first.write_json()),
                "rows_in_all": None if run.frame is None else run.frame.height,
                "total_time_s": seconds,
                "metrics": run.metrics.model_dump(mode="json"),
                "stages": [row.model_dump(mode="json") for row in run.rows],
            }
        )
        return
    if about is not None:
        output.print_line(str(about))
    if run.frame is not None and top:
        rows = _first_rows(run.frame, top, order_by)
        print_frame(rows)
        if run.frame.height > rows.height:
            output.print(f"{count_text(run.frame.height)} rows in all\n")
    print_stages(run.rows)
    print_figures(run.metrics, total_s=seconds)
    for node in job["dag"]["nodes"]:
        if node["op"].startswith("write_"):
            output.print_line(f"written to {node['path']}")
    notes.print_line(run.where)


def _run_here(job: Mapping[str, Any]) -> _Run:
    from minispark.engines.in_process import InProcessRunner
    from minispark.engines.local import LocalRunner
    from minispark.engines.whole import fits_whole, whole_limit
    from minispark.jobs import plan_job
    from minispark.settings import PlanSettings

    with phase("running"):
        # Planned with the limit of small queries: a small job gets one task.
        limit = whole_limit()
        graph = plan_job(job, settings=PlanSettings(single_task_bytes=limit))
        small = job.get("parallelism") is None and fits_whole(graph, limit_bytes=limit)
        if not small:
            graph = plan_job(job)
        with InProcessRunner() if small else LocalRunner() as runner:
            outcome = runner.run(graph, name=str(job.get("name", "job")))
            summary = outcome.summary()
            frame = outcome.frame() if outcome.nodes else None
    where = "this process" if small else f"{runner.slots} processes of this machine"
    return _Run(frame, summary.stages, summary.metrics, f"ran in {where}")


def _run_there(job: Mapping[str, Any], url: str) -> _Run:
    from minispark.cli.remote import wait_for
    from minispark.engines.base import raise_unless_succeeded

    with connect(url) as client:
        job_id = client.submit_json(job)
        raise_unless_succeeded(wait_for(client, job_id), page=client.page(job_id))
        written = any(node["op"].startswith("write_") for node in job["dag"]["nodes"])
        frame = None if written else client.result_frame(job_id)
        return _Run(frame, client.stages(job_id), client.metrics(job_id), f"{job_id} on {url}")


def _first_rows(frame: pl.DataFrame, top: int, order_by: str | None) -> pl.DataFrame:
    if order_by is None:
        return frame.head(top)
    by = [order_by, *(name for name in frame.columns if name != order_by)]
    descending = [name == order_by for name in by]
    return frame.sort(exact_columns(by), descending=descending).head(top)
