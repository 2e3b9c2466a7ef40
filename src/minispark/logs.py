"""Logs on standard error: one JSON object a line, or text for people on a terminal.

A line about an attempt names job, stage, task, attempt and worker. Lines of libraries have the same
form. A worker keeps its latest lines in memory (`LogBuffer`), masked as those that it writes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections import deque
from typing import Any

import structlog

from minispark.ids import TaskKey
from minispark.masks import MASK, masked, tells_secret
from minispark.printable import printable, printable_lines
from minispark.settings import LogSettings

LEVELS = ("debug", "info", "warning", "error")


class LogBuffer:
    """The latest lines of each level, in memory; a processor of structlog."""

    def __init__(self, settings: LogSettings | None = None) -> None:
        self._settings = settings or LogSettings()
        self._lines: dict[str, deque[dict[str, Any]]] = {
            level: deque(maxlen=self._settings.kept_lines) for level in LEVELS
        }
        self._number = 0
        self._lock = threading.Lock()

    def __call__(self, _logger: Any, _method: str, event: Any) -> Any:
        """Keep a line that is ready to be written; return it unchanged."""
        fields = dict(event)
        level, at = str(fields.pop("level", "info")), fields.pop("timestamp", "")
        kept = self._settings.kept_chars
        name = str(fields.pop("event", ""))[:kept]
        short = _within(fields, kept - len(name))
        line = {"at": str(at), "event": name, "fields": short}
        with self._lock:
            self._number += 1
            lines = self._lines.get(level, self._lines["error"])
            lines.append({"number": self._number, "level": level, **line})
        return event

    def latest(self, *, level: str, limit: int, after: int = 0) -> list[dict[str, Any]]:
        """Return the last lines of at least this level with higher numbers, oldest first."""
        wanted = LEVELS[LEVELS.index(level) :]
        with self._lock:
            lines = [line for each in wanted for line in self._lines[each]]
        lines.sort(key=lambda line: int(line["number"]))
        return [line for line in lines if line["number"] > after][-limit:]


def _within(fields: dict[str, Any], chars: int) -> dict[str, Any]:
    """Return fields of simple values, cut so that all together stay below a limit."""
    short: dict[str, Any] = {}
    for name, value in fields.items():
        chars -= len(name)
        if chars <= 0:
            break
        if tells_secret(name):
            short[name] = MASK
        elif value is None or isinstance(value, bool | int | float):
            short[name] = value
        else:
            # Texts are masked already; other values are not, and may refer to large objects.
            text = value if isinstance(value, str) else masked(json.dumps(value, default=str))
            # The last line of a traceback says what happened.
            short[name] = text[-chars:] if name == "exception" else text[:chars]
        chars -= len(str(short[name]))
    return short


def configure_logs(
    settings: LogSettings | None = None, *, buffer: LogBuffer | None = None, **fields: Any
) -> None:
    """Set up logging to standard error; ``fields`` are in every line of this process.

    ``auto`` is text on a terminal and JSON elsewhere; the level ``debug`` adds lines for every
    task. ``buffer`` gets each line that is written.
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
    keep = [] if buffer is None else [buffer]
    finish = [_without_secrets, *keep, *([_printable] if as_text else []), last]
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
