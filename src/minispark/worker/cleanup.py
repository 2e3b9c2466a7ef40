"""Removal of what attempts leave in a worker: blocks, and files that no commit will publish.

A removal that fails is logged and never raised: the job's commit or end removes the staging
directory, the next heartbeat asks again for the blocks, and a worker goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from minispark.blocks.format import SUFFIXES
from minispark.logs import logger, task_fields
from minispark.task.sinks import discard_part
from minispark.task.spec import TaskSpec

_log = logger("worker")


def clean_up(what: str, remove: Callable[[], object], **fields: Any) -> None:
    """Call ``remove``; log what it raises."""
    try:
        remove()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        _log.warning("cleanup_failed", what=what, reason=reason, **fields)


def discard_staged(spec: TaskSpec) -> None:
    """Remove the file that an attempt staged, if its output is a file."""
    sink = spec.output.sink
    if sink is not None:
        clean_up(
            "staged file",
            partial(discard_part, sink, key=spec.key, data_root=spec.data_root),
            **task_fields(spec.key),
        )


def discard_attempt(spec: TaskSpec) -> None:
    """Remove the block and the staged file of an attempt that was killed."""
    for suffix in SUFFIXES:
        block = Path(spec.block_directory, f"{spec.key.block_id}{suffix}")
        clean_up("block", partial(block.unlink, missing_ok=True), **task_fields(spec.key))
    discard_staged(spec)
