"""Masks secrets in texts that people read: tracebacks, errors, logs.

It masks the values of environment variables whose names say that they are secret, at every place of
a text, and values that are written right after such a name (``AWS_SECRET_KEY = "..."``,
``"db_password": "..."``).

Does not cover: secrets that are neither in the environment nor after such a name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache

from minispark.errors import ErrorInfo

MASK = "***"
_MIN_VALUE_CHARS = 6
"""Shorter values (``1``, ``true``) occur everywhere and are no secrets."""
_MAX_VALUE_CHARS = 1_000
_MAX_TEXT_CHARS = 65_536
"""Longer texts are cut before they are masked, since a peer may choose their length."""

_WORD = re.compile(r"[A-Za-z0-9_]++")
_QUOTED = r"""[bru]{0,2}(?:"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|'(?:[^'\\]|\\.)*+(?:'|\\?\Z))"""
"""A quoted text; one that was cut has no closing quote."""
_VALUE = re.compile(
    rf"""
    ["']?\]?\s*+
    (?: =[=>]?\s*+(?P<assigned>{_QUOTED}|[^\s"'(){{}}\[\],;&]++) | :\s*+(?P<quoted>{_QUOTED}) )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
"""A value after a name. Every repetition is possessive and begins at its own word or quote, so that
the time grows only in proportion to the text."""
_BEARER = re.compile(r"(?P<before>\bBearer\s++)[A-Za-z0-9._~+/=-]{6,}+", re.IGNORECASE)
_CAPITAL = re.compile(r"[A-Z0-9_]+_(?:KEY|TOKEN)|[A-Z0-9_]*APIKEY")
"""Only capital letters: ``*_key`` and ``*_token`` in small ones are mostly columns of tables."""
_ENDS = ("API_KEY", "ACCESS_TOKEN")
_PARTS = ("PASSWORD", "PASSWD", "SECRET")


def tells_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is secret."""
    return _names_secret(name.upper())


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text with its known secrets masked.

    Without ``environment``, the variables are those of this process at the first call. The text
    after 64 Ki characters is left out.
    """
    cut = len(text) > _MAX_TEXT_CHARS
    if cut:
        text = text[:_MAX_TEXT_CHARS]
    for value in _own_secrets() if environment is None else _secrets(environment):
        text = text.replace(value, MASK)
    text = _BEARER.sub(rf"\g<before>{MASK}", _without_assigned(text))
    # The cut may have split a secret, whose first part is not masked.
    return f"{text[:-_MAX_VALUE_CHARS]}..." if cut else text


def masked_error(info: ErrorInfo) -> ErrorInfo:
    """Return an error with its texts masked, by the environment as it is now."""
    environment = dict(os.environ)
    names = ("message", "hint", "detail", "exception_message")
    return info.map_texts(lambda text: masked(text, environment), names=names)


def _names_secret(name: str) -> bool:
    upper = name.upper()
    return (
        upper.endswith(_ENDS)
        or any(part in upper for part in _PARTS)
        or _CAPITAL.fullmatch(name) is not None
    )


def _without_assigned(text: str) -> str:
    """Mask values that are written right after the name of a secret."""
    parts, end = [], 0
    for word in _WORD.finditer(text):
        if word.start() < end or not _names_secret(word[0]):
            continue
        value = _VALUE.match(text, word.end())
        if value is not None:
            parts += [text[end : value.start(value.lastgroup or 0)], MASK]
            end = value.end()
    return "".join([*parts, text[end:]])


@cache
def _own_secrets() -> tuple[str, ...]:
    return _secrets(os.environ)


def _secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values to mask, the longest first: one may be part of another."""
    values = {
        value
        for name, value in environment.items()
        if tells_secret(name) and _MIN_VALUE_CHARS <= len(value) <= _MAX_VALUE_CHARS
    }
    return tuple(sorted(values, key=len, reverse=True))
