"""One line in a notebook that is drawn anew in its place.

Jupyter, VS Code and others replace what was shown under a ``display_id``; no widgets are needed.
IPython is loaded only where a kernel has loaded it already.
"""

from __future__ import annotations

import html
import sys
from importlib import import_module
from typing import Any

from minispark.clock import monotonic_s

_PAUSE_S = 0.1
"""A front end draws no faster, and every drawing is a message that it must take."""


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookLine:
    """A line of a cell's output. Created when it is first drawn."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._drawn_s = 0.0

    def progress(self, what: str, done: int, total: int) -> None:
        """Draw a bar, unless that was done just now."""
        now = monotonic_s()
        if self._shown is None or now - self._drawn_s >= _PAUSE_S:
            self._drawn_s = now
            self._draw(
                f'<progress value="{done}" max="{max(total, 1)}"></progress> '
                f"{html.escape(what)}: {done}/{total} tasks"
            )

    def text(self, text: str) -> None:
        """Put a text in place of the bar."""
        self._draw(f'<span style="opacity:0.7">{html.escape(text)}</span>')

    def clear(self) -> None:
        """Take the bar away, if there is one."""
        if self._shown is not None:
            self._draw("")

    def _draw(self, markup: str) -> None:
        ipython = import_module("IPython.display")
        if self._shown is None:
            self._shown = ipython.display(ipython.HTML(markup), display_id=True)
        else:
            self._shown.update(ipython.HTML(markup))
