"""Takes secrets out of texts that people will read: tracebacks, error sentences, logs.

Two ways, since each misses something: values of environment variables whose names tell a secret
are masked wherever they stand, and so is whatever is written right after such a name
(``AWS_SECRET_KEY = "..."``, ``"db_password": "..."``).

Does not cover: secrets that neither stand in the environment nor beside their name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from minispark.errors import ErrorInfo

__all__ = ["MASK", "masked", "masked_error", "tells_secret"]

MASK = "***"
_MIN_VALUE_CHARS = 6
"""Shorter values (``1``, ``true``) stand everywhere and hide nothing."""
_MAX_VALUE_CHARS = 1_000

_NAME = (
    r"(?:[A-Z0-9_]+_KEY|[A-Z0-9_]*APIKEY|[A-Z0-9_]+_TOKEN"
    r"|(?i:\w*PASSWORD\w*|\w*PASSWD\w*|\w*SECRET\w*|\w*API_KEY|\w*ACCESS_TOKEN))"
)
"""Small ``*_key`` and ``*_token`` are columns of tables more often than secrets."""
_NAMED = re.compile(_NAME)
_QUOTED = r"""(?:[bru]{0,2}"(?:[^"\\]|\\.)*"|[bru]{0,2}'(?:[^'\\]|\\.)*')"""
_ASSIGNED = re.compile(
    rf"""
    (?P<before>(?<![A-Za-z0-9_]){_NAME}["']?\]?\s*)
    (?: (?P<equals>=>?\s*)(?:{_QUOTED}|[^\s"'(){{}}\[\],;&]+) | (?P<colon>:\s*){_QUOTED} )
    """,
    re.VERBOSE | re.ASCII,
)
_BEARER = re.compile(r"(?P<before>\bBearer\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)


def tells_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is nobody's business."""
    return _NAMED.fullmatch(name.upper()) is not None


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text without the secrets that can be known for such.

    Without ``environment`` it is that of this process as it was at the first call.
    """
    for value in _own_secrets() if environment is None else _secrets(environment):
        text = text.replace(value, MASK)
    text = _ASSIGNED.sub(lambda found: f"{found[1]}{found[2] or found[3]}{MASK}", text)
    return _BEARER.sub(rf"\g<before>{MASK}", text)


def masked_error(info: ErrorInfo) -> ErrorInfo:
    """Return an error whose texts are masked, with the environment as it is now."""
    now = dict(os.environ)
    return replace(
        info,
        message=masked(info.message, now),
        hint=None if info.hint is None else masked(info.hint, now),
        detail=None if info.detail is None else masked(info.detail, now),
    )


@cache
def _own_secrets() -> tuple[str, ...]:
    return _secrets(os.environ)


def _secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values to hide, the longest first: one may be part of another."""
    found = {
        value
        for name, value in environment.items()
        if tells_secret(name) and _MIN_VALUE_CHARS <= len(value) <= _MAX_VALUE_CHARS
    }
    return tuple(sorted(found, key=len, reverse=True))
