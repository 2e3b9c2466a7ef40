r"""Names and texts of other people as messages and terminals show them.

Job names, columns, paths and errors may hold escape sequences that move the cursor, change the
title or forge a line. A command that prints such a text for people makes it `printable` first;
JSON, files and pipes of rows hold the text unchanged. In a sentence a name is `shown` in quotes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_INVISIBLE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, line separators, changes of the writing direction, half surrogate pairs."""
_ALL = re.compile(rf"[\t\n{_INVISIBLE}]")
_ALL_BUT_LAYOUT = re.compile(rf"[{_INVISIBLE}]")
_LISTED = 12
_CUTOFF = 0.6
"""Names that are less similar are not a mistyped form of each other."""
_SHOWN_CHARS = 80


def printable(text: str) -> str:
    r"""Return a text as one line, with characters that cannot be seen written as ``'\x1b'``.

    Examples
    --------
    >>> print(printable("a\nforged line \x1b[2J"))
    a\nforged line \x1b[2J
    """
    return _ALL.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, but keep line breaks and tabs."""
    return _ALL_BUT_LAYOUT.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def did_you_mean(
    name: str, candidates: Iterable[str], *, else_list: str | None = None
) -> str | None:
    """Return a hint that names the most similar candidate.

    If none is similar, the hint lists the candidates after the words ``else_list``, if given.
    """
    names = list(dict.fromkeys(candidates))
    lowered = {candidate.lower(): candidate for candidate in reversed(names)}
    nearest = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=_CUTOFF)
    if nearest:
        return f"did you mean {shown(lowered[nearest[0]])}?"
    if else_list is None or not names:
        return None
    return f"{else_list}: {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence, the first dozen of them."""
    all_names = list(names)
    more = len(all_names) - _LISTED
    text = ", ".join(shown(name) for name in all_names[:_LISTED])
    return f"{text} and {more} more" if more > 0 else text


def cut(text: str, chars: int) -> str:
    """Return a text, cut after some characters."""
    return text if len(text) <= chars else f"{text[:chars]}..."


def shown(name: object) -> str:
    """Return a name or value in quotes, cut to a readable length."""
    text = repr(name)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 4]}...{text[-1]}"
