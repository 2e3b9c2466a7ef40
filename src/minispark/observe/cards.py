"""A job and a cluster as a few lines of HTML, for notebooks; all text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from minispark.errors import ErrorInfo

_COLUMNS = ("worker", "status", "tasks", "slots", "memory")


def job_card(name: str, job_id: str, status: str, progress: float, error: ErrorInfo | None) -> str:
    """Return a job with its progress bar and, if it failed, its error and hint."""
    lines = [
        f"<b>{html.escape(name)}</b> {html.escape(job_id)}: {html.escape(status)} "
        f'<progress value="{progress:g}" max="100"></progress> {progress:.0f} %'
    ]
    if error is not None:
        lines.append(f"{html.escape(error.code)}: {html.escape(error.message)}")
        lines += [html.escape(error.hint)] if error.hint else []
        lines += [f"<pre>{html.escape(error.detail)}</pre>"] if error.detail else []
    return "<br>".join(lines)


def workers_table(workers: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of workers, given as the master lists them."""
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(f"<tr>{_cells(worker)}</tr>" for worker in workers)
    return f"<table><tr>{head}</tr>{rows}</table>" if rows else "<br>no worker is running"


def _cells(worker: Mapping[str, Any]) -> str:
    memory = worker.get("memory_bytes")
    values = (
        worker.get("worker_id", ""),
        worker.get("status", ""),
        worker.get("active_tasks", 0),
        worker.get("slots", 0),
        "" if memory is None else f"{memory / (1 << 20):,.0f} MiB",
    )
    return "".join(f"<td>{html.escape(str(value))}</td>" for value in values)
