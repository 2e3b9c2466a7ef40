"""Bounds of values from other processes, as types of fields.

A field of a message, or of a dataclass in one, is written as ``rows: Count`` and is checked when
the message is read. Pydantic asks these types for their rules. Nothing here imports pydantic, since
the scheduler uses the same dataclasses.

Covers: numbers that are finite and can be stored, lengths. Does not cover: what a value means
(`minispark.master.control.worker_service`), the size of a body (`minispark.wire.guard`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

MAX_COUNT = 2**63 - 1
"""The largest integer that SQLite and Arrow can store."""
MAX_TEXT_CHARS = 100_000
"""For errors and tracebacks, which are cut below this (`minispark.masks`)."""
MAX_ITEMS = 1_000_000
"""For one list: a stage has at most 65,536 tasks, and a job some thousand stages."""
_MAX_OPTION_DEPTH = 20
_MAX_OPTIONS = 1_000_000
"""The schema of a wide file is one option with an entry for each column."""

_Schema = dict[str, Any]
_Handler = Callable[[Any], _Schema]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``: no NaN and no infinity."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> _Schema:
        """Return the rules of the type, with these bounds."""
        schema = handler(source)
        if schema["type"] == "float":
            schema = {**schema, "allow_inf_nan": False}
        return {**schema, "ge": self.low, "le": self.high}


@dataclass(frozen=True, slots=True)
class Length:
    """Texts, bytes and collections of at most ``most`` elements."""

    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> _Schema:
        """Return the rules of the type, with this bound."""
        schema = {**handler(source), "max_length": self.most}
        # By default pydantic finds every mistake, of which there may be a million; one is reported.
        if schema["type"] == "tuple":
            schema["fail_fast"] = True
        if schema["type"] == "dict":
            check = {"type": "no-info", "function": self._check_entries}
            return {"type": "function-before", "function": check, "schema": schema}
        return schema

    def _check_entries(self, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > self.most:
            msg = f"it has {len(value)} entries; at most {self.most} are allowed"
            raise ValueError(msg)
        return value


@dataclass(frozen=True, slots=True)
class _BoundedJson:
    """Any JSON value, of bounded size and depth and with finite numbers."""

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> _Schema:
        check = {"type": "no-info", "function": _check_json}
        return {"type": "function-after", "function": check, "schema": handler(source)}


def _check_json(json: Any) -> Any:
    stack, count = [(json, 0)], 0
    while stack:
        value, depth = stack.pop()
        count += 1
        if depth > _MAX_OPTION_DEPTH or count > _MAX_OPTIONS:
            msg = "it is nested too deeply or holds too many values"
            raise ValueError(msg)
        if isinstance(value, dict):
            stack += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list | tuple):
            stack += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
            msg = f"a text in it has more than {MAX_TEXT_CHARS} characters"
            raise ValueError(msg)
        elif isinstance(value, int | float) and not -MAX_COUNT <= value <= MAX_COUNT:
            msg = "a number in it is not finite, or too large"
            raise ValueError(msg)
    return json


Id = Annotated[str, Length(1_000)]
"""The name of a job, a worker, a host or a leaf, a version, or a URL."""
Path = Annotated[str, Length(10_000)]
"""Twice the longest path of Linux, in characters."""
Text = Annotated[str, Length(MAX_TEXT_CHARS)]
Data = Annotated[bytes, Length(1 << 26)]
"""A fragment of a plan; the limit is that of a body."""
Count = Annotated[int, Range(0, MAX_COUNT)]
Signed = Annotated[int, Range(-MAX_COUNT, MAX_COUNT)]
Checksum = Annotated[int, Range(0, 2**64 - 1)]
Slots = Annotated[int, Range(1, 10_000)]
Seconds = Annotated[float, Range(0, 1e9)]
"""Up to thirty years."""
Quantity = Annotated[float, Range(0, 1e18)]
"""A metric of a worker; the largest are counts of bytes."""
Items = Length(MAX_ITEMS)
Entries = Length(10_000)
"""For a mapping: a job has at most a thousand nodes, and a master some hundred jobs."""
Options = Annotated[Any, _BoundedJson()]
