"""Isolates those who only watch: what one of them raises is logged, and stops nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minispark.logs import logger

_log = logger("observe")


class ReaderGuard:
    """Runs readers. The first error of each is logged in full; later ones are only counted."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        """How often each reader has raised."""

    def run(self, reader: str, act: Callable[..., object], *arguments: Any, **fields: Any) -> bool:
        """Run what a reader does with what it is given; return False if it raised."""
        try:
            act(*arguments)
        except Exception:
            self.failures[reader] = self.failures.get(reader, 0) + 1
            if self.failures[reader] == 1:
                _log.exception("reader_failed", reader=reader, **fields)
            return False
        return True
