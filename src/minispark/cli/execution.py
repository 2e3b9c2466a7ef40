"""Runs a ready-made job where the user said, and prints rows and figures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from minispark.cli.job_metrics import print_figures, print_frame, print_json, print_stages
from minispark.cli.options import master_of
from minispark.cli.terminal import count_text, notes, output, phase
from minispark.observe.views import JobMetrics, StageRow
from minispark.plan.columns import exact_columns


@dataclass(frozen=True, slots=True)
class _Ran:
    frame: pl.DataFrame | None
    """The rows, unless they were written as files."""
    rows: Sequence[StageRow]
    metrics: JobMetrics
    where: str


def absolute(path: str | Path) -> str:
    """Return a path as every process on this machine means it."""
    return str(Path(path).absolute())


def run_and_show(
    job: Mapping[str, Any],
    *,
    engine: str,
    top: int,
    order_by: str | None = None,
    as_json: bool = False,
) -> None:
    """Run a job of one result; print its first rows, the largest ``order_by`` first."""
    start = time.perf_counter()
    ran = _runner_for(engine)(job)
    seconds = time.perf_counter() - start
    if as_json:
        first = None if ran.frame is None else _first(ran.frame, top, order_by)
        print_json(
            {
                "rows": None if first is None else json.loads(first.write_json()),
                "rows_in_all": None if ran.frame is None else ran.frame.height,
                "total_time_s": seconds,
                "metrics": ran.metrics.model_dump(mode="json"),
                "stages": [row.model_dump(mode="json") for row in ran.rows],
            }
        )
        return
    if ran.frame is not None and top:
        _print_rows(ran.frame, top, order_by)
    print_stages(ran.rows)
    print_figures(ran.metrics, total_s=seconds)
    notes.print_line(ran.where)


def _runner_for(engine: str) -> Callable[[Mapping[str, Any]], _Ran]:
    url = master_of(engine)
    return _run_here if url is None else lambda job: _run_there(job, url)


def _run_here(job: Mapping[str, Any]) -> _Ran:
    from minispark.engines.in_process import WHOLE_BYTES, InProcessRunner, fits_whole
    from minispark.engines.local import LocalRunner
    from minispark.jobs import plan_job
    from minispark.settings import PlanSettings

    with phase("running"):
        # With the limit of a whole query as that of one task, what is small is one task.
        graph = plan_job(job, settings=PlanSettings(single_task_bytes=WHOLE_BYTES))
        small = job.get("parallelism") is None and fits_whole(graph)
        if not small:
            graph = plan_job(job)
        with InProcessRunner() if small else LocalRunner() as runner:
            outcome = runner.run(graph, name=str(job.get("name", "job")))
            figures = outcome.figures()
            frame = outcome.frame() if outcome.nodes else None
    where = "this process" if small else f"{runner.slots} processes of this machine"
    return _Ran(frame, figures.stages, figures.metrics, f"ran in {where}")


def _run_there(job: Mapping[str, Any], url: str) -> _Ran:
    from minispark.cli.remote import wait_for
    from minispark.engines.base import raise_unless_succeeded
    from minispark.engines.http import MasterClient

    with MasterClient(url) as client:
        job_id = client.submit_json(job)
        raise_unless_succeeded(wait_for(client, job_id))
        written = any(node["op"].startswith("write_") for node in job["dag"]["nodes"])
        frame = None if written else client.result_frame(job_id)
        return _Ran(frame, client.stages(job_id), client.metrics(job_id), f"{job_id} on {url}")


def _first(frame: pl.DataFrame, top: int, order_by: str | None) -> pl.DataFrame:
    if order_by is None:
        return frame.head(top)
    by = [order_by, *(name for name in frame.columns if name != order_by)]
    descending = [name == order_by for name in by]
    return frame.sort(exact_columns(by), descending=descending).head(top)


def _print_rows(frame: pl.DataFrame, top: int, order_by: str | None) -> None:
    shown = _first(frame, top, order_by)
    print_frame(shown)
    if frame.height > shown.height:
        output.print(f"{count_text(frame.height)} rows in all\n")
