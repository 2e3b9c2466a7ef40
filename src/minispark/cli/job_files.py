"""JSON jobs as files: read, and pointed at another input."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from minispark.errors import UsageError

DATA_FOLDER = "data"
"""A path below it is sent as it is given: the data root means it on every machine."""


def read_job(path: Path) -> dict[str, Any]:
    """Read a job file; its content is checked by whoever runs it."""
    try:
        job = json.loads(path.read_text())
    except FileNotFoundError:
        msg = f"there is no job file {path}"
        raise UsageError(msg, file=str(path)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        row = getattr(error, "lineno", None)
        msg = f"this is not JSON: {error}"
        raise UsageError(msg, file=str(path), row=row) from error
    if not isinstance(job, dict):
        msg = "a job is a JSON object"
        raise UsageError(msg, file=str(path), hint='It begins with {"name": ..., "dag": ...}.')
    return job


def sent_path(path: str) -> str:
    """Return the path of an input as it is sent to a master: absolute, or as given in ``data/``."""
    if PurePosixPath(path).parts[:1] == (DATA_FOLDER,):
        return path
    return str(Path(path).absolute())


def with_input(job: dict[str, Any], path: str) -> dict[str, Any]:
    """Return ``job`` with its one input read from ``path``.

    Raises
    ------
    UsageError
        The job reads several inputs, or none.
    """
    dag = job.get("dag")
    nodes = dag.get("nodes") if isinstance(dag, dict) else None
    readers = [
        node
        for node in (nodes if isinstance(nodes, list) else [])
        if isinstance(node, dict) and str(node.get("op", "")).startswith("read_")
    ]
    if len(readers) != 1:
        msg = f"--input replaces the path of a job's one input; this job has {len(readers)}"
        raise UsageError(msg, hint="Name the paths in the job itself.")
    changed = [node | {"path": path} if node is readers[0] else node for node in nodes or []]
    return job | {"dag": {**(dag or {}), "nodes": changed}}
