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

MASK = "***"
_MIN_VALUE_CHARS = 6
"""Shorter values (``1``, ``true``) stand everywhere and hide nothing."""
_MAX_VALUE_CHARS = 1_000
_MAX_TEXT_CHARS = 65_536
"""Longer texts are cut before they are masked: a peer may choose their length."""

_WORD = re.compile(r"[A-Za-z0-9_]++")
_QUOTED = r"""[bru]{0,2}(?:"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))"""
"""A text that was cut has no closing quote."""
_VALUE = re.compile(
    rf"""
    ["']?\]?\s*+
    (?: =[=>]?\s*+(?P<assigned>{_QUOTED}|[^\s"'(){{}}\[\],;&]++) | :\s*+(?P<quoted>{_QUOTED}) )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
"""What may stand right after a name. Every repetition is possessive, and each begins at a word of
its own or at a quote of its own: the time grows as the text does."""
_BEARER = re.compile(r"(?P<before>\bBearer\s++)[A-Za-z0-9._~+/=-]{6,}+", re.IGNORECASE)
_CAPITAL = re.compile(r"[A-Z0-9_]+_(?:KEY|TOKEN)|[A-Z0-9_]*APIKEY")
"""Small ``*_key`` and ``*_token`` are columns of tables more often than secrets."""
_ENDS = ("API_KEY", "ACCESS_TOKEN")
_PARTS = ("PASSWORD", "PASSWD", "SECRET")


def tells_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is secret."""
    return _names_secret(name.upper())


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text without the secrets that can be known as such.

    Without ``environment`` it is that of this process as it was at the first call. What is beyond
    64 Ki characters is left out.
    """
    cut = len(text) > _MAX_TEXT_CHARS
    if cut:
        text = text[:_MAX_TEXT_CHARS]
    for value in _own_secrets() if environment is None else _secrets(environment):
        text = text.replace(value, MASK)
    text = _BEARER.sub(rf"\g<before>{MASK}", _without_assigned(text))
    # The cut may have gone through a secret, of which the first part is not found.
    return f"{text[:-_MAX_VALUE_CHARS]}..." if cut else text


def masked_error(info: ErrorInfo) -> ErrorInfo:
    """Return an error whose texts are masked, with the environment as it is now."""
    now = dict(os.environ)
    return replace(
        info,
        message=masked(info.message, now),
        hint=None if info.hint is None else masked(info.hint, now),
        detail=None if info.detail is None else masked(info.detail, now),
        exception_message=(
            None if info.exception_message is None else masked(info.exception_message, now)
        ),
    )


def _names_secret(name: str) -> bool:
    upper = name.upper()
    return (
        upper.endswith(_ENDS)
        or any(part in upper for part in _PARTS)
        or _CAPITAL.fullmatch(name) is not None
    )


def _without_assigned(text: str) -> str:
    """Mask what is written right after the name of a secret."""
    kept, end = [], 0
    for word in _WORD.finditer(text):
        if word.start() < end or not _names_secret(word[0]):
            continue
        found = _VALUE.match(text, word.end())
        if found is not None:
            kept += [text[end : found.start(found.lastgroup or 0)], MASK]
            end = found.end()
    return "".join([*kept, text[end:]])


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
