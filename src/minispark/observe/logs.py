"""Logs: one JSON object a line on standard error, with job, stage, task, attempt and worker."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from minispark.ids import TaskKey
from minispark.masks import masked

__all__ = ["configure_logs", "logger", "task_fields"]


def configure_logs(*, level: str = "info") -> None:
    """Write JSON lines to standard error; ``debug`` adds a line for every task."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _without_secrets(_logger: Any, _method: str, event: Any) -> Any:
    return {
        name: masked(value) if isinstance(value, str) else value for name, value in event.items()
    }


def logger(part: str) -> Any:
    """Return the logger of a part (``master``, ``worker``)."""
    return structlog.get_logger(part=part)


def task_fields(key: TaskKey) -> dict[str, Any]:
    """Return the fields that name an attempt."""
    return {
        "job": key.job,
        "stage": key.stage,
        "task": key.partition,
        "attempt": key.attempt,
        "generation": key.generation,
    }
