"""Logs on standard error: one JSON object a line, or text for people on a terminal.

A line about an attempt names job, stage, task, attempt and worker. Lines of libraries have the same
form.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

from minispark.ids import TaskKey
from minispark.masks import masked
from minispark.printable import printable, printable_lines
from minispark.settings import LogSettings


def configure_logs(settings: LogSettings | None = None, **fields: Any) -> None:
    """Set up logging to standard error; ``fields`` are in every line of this process.

    ``auto`` is text on a terminal and JSON elsewhere; the level ``debug`` adds lines for every
    task.
    """
    settings = settings or LogSettings()
    terminal = sys.stderr.isatty()
    as_text = settings.format == "text" or (settings.format == "auto" and terminal)
    colours = terminal and not os.environ.get("NO_COLOR")
    shared = _shared(fields)
    last: Any = (
        structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback
        )
        if as_text
        else structlog.processors.JSONRenderer(default=str)
    )
    finish = [_without_secrets, *([_printable] if as_text else []), last]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        processors=[*shared, *finish],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_over_logging(shared, finish)


def logger(part: str) -> Any:
    """Return the logger of a part (``master``, ``worker``)."""
    return structlog.get_logger(part=part)


def task_fields(key: TaskKey) -> dict[str, Any]:
    """Return the fields that name an attempt."""
    return {
        "job": key.job,
        "stage": key.stage,
        "task": key.partition,
        "attempt": key.attempt_number,
        "generation": key.generation,
    }


def _shared(fields: dict[str, Any]) -> list[Any]:
    def add_fields(_logger: Any, _method: str, event: Any) -> Any:
        return {**fields, **event}

    return [
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Before secrets are masked, and not by a renderer, which would show local variables.
        structlog.processors.format_exc_info,
    ]


def _take_over_logging(shared: list[Any], finish: list[Any]) -> None:
    """Give lines of libraries, which use ``logging``, the form of our own lines."""
    handler = logging.StreamHandler(sys.stderr)
    finish = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish]
    foreign = [*shared, structlog.stdlib.add_logger_name]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=finish)
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _without_secrets(_logger: Any, _method: str, event: Any) -> Any:
    return {
        name: masked(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _printable(_logger: Any, _method: str, event: Any) -> Any:
    """Escape control characters; only a traceback keeps its lines."""
    return {
        name: (printable_lines if name == "exception" else printable)(value)
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }
