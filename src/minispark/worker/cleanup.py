"""Removal of what attempts leave in a worker: blocks, and files that no commit publishes.

A removal that fails is logged and never raised: the job's commit or end removes the staging
directory, the next heartbeat asks for the blocks again, and a worker continues without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minispark.blocks.format import SUFFIXES
from minispark.logs import logger, task_fields
from minispark.task.sinks import discard_part
from minispark.task.spec import TaskSpec

_log = logger("worker")


@contextmanager
def log_errors(event: str, what: str, **fields: Any) -> Iterator[None]:
    """Log what is raised within the block: a worker must not end by it."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        _log.warning(event, what=what, reason=reason, **fields)


def discard_staged(spec: TaskSpec) -> None:
    """Remove the staged file of an attempt, if its output is a file."""
    sink = spec.output.sink
    if sink is not None:
        with log_errors("cleanup_failed", "staged file", **task_fields(spec.key)):
            discard_part(sink, key=spec.key, data_root=spec.data_root)


def discard_attempt(spec: TaskSpec) -> None:
    """Remove the block and the staged file of an attempt that was killed."""
    for suffix in SUFFIXES:
        with log_errors("cleanup_failed", "block", **task_fields(spec.key)):
            Path(spec.block_directory, f"{spec.key.block_id}{suffix}").unlink(missing_ok=True)
    discard_staged(spec)
