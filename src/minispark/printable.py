"""Texts of others as a terminal may show them: control characters are written out.

Job names, columns, paths and errors may hold escape sequences that move the cursor, change the
title or forge a line. Whatever prints such a text for people takes it through here; JSON, files
and pipes of rows hold the text as it is.
"""

from __future__ import annotations

import re

_INVISIBLE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, line separators, what turns the direction of writing, half surrogates."""
_ALL = re.compile(rf"[\t\n{_INVISIBLE}]")
_ALL_BUT_LAYOUT = re.compile(rf"[{_INVISIBLE}]")


def printable(text: str) -> str:
    r"""Return a text as one line: what is not to be seen stands there as in ``'\x1b'``.

    Examples
    --------
    >>> print(printable("a\nforged line \x1b[2J"))
    a\nforged line \x1b[2J
    """
    return _ALL.sub(_written_out, text)


def printable_lines(text: str) -> str:
    """Return a text whose line breaks and tabs are ours, the rest as `printable` does."""
    return _ALL_BUT_LAYOUT.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]
