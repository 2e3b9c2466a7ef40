"""The nearest name where one was mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 12
_CUTOFF = 0.6
"""Below it the words share too little to be one mistyped."""
_SHOWN_CHARS = 80


def did_you_mean(name: str, known: Iterable[str], *, else_list: str | None = None) -> str | None:
    """Return a hint that names the nearest of ``known``.

    Where nothing is near, it lists what is known, if ``else_list`` says what that is.
    """
    names = list(dict.fromkeys(known))
    lowered = {other.lower(): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=_CUTOFF)
    if near:
        return f"did you mean {shown(lowered[near[0]])}?"
    if else_list is None or not names:
        return None
    return f"{else_list}: {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence, the first dozen of them."""
    all_names = list(names)
    more = len(all_names) - _SHOWN
    text = ", ".join(shown(name) for name in all_names[:_SHOWN])
    return f"{text} and {more} more" if more > 0 else text


def shown(name: object) -> str:
    """Return a name or value in quotes, cut to a readable length."""
    text = repr(name)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 4]}...{text[-1]}"
