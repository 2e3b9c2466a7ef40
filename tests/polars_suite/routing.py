"""Puts an engine behind everything in Polars that runs a LazyFrame.

``pl.Config.set_engine_affinity`` is not enough: tests restore the configuration, and many name an
engine. So the function that turns an ``engine`` argument into an engine is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import polars.functions.lazy
import polars.lazyframe.engine_config
import polars.lazyframe.frame
from polars.lazyframe.engine import Engine

_MODULES = (polars.lazyframe.engine_config, polars.lazyframe.frame, polars.functions.lazy)
_NAMES = ("auto", "cpu", "in-memory", "streaming")
_RUNNING = frozenset(
    {
        "collect",
        "collect_all",
        "collect_all_async",
        "collect_async",
        "collect_batches",
        "execute",
        "sink_batches",
        "sink_csv",
        "sink_ipc",
        "sink_ndjson",
        "sink_parquet",
    }
)
"""Functions of Polars that run a query. The others only describe it."""


class Routing:
    """Sends queries to ``engine`` while it is on, and counts them.

    Queries of Mini-Spark itself, and of functions in a task (``busy``), stay in Polars. With
    ``eager``, methods of a DataFrame that Polars runs as a query are queries too.
    """

    def __init__(
        self, engine: Callable[[], Engine], *, busy: Callable[[], bool], eager: bool = False
    ) -> None:
        self._engine = engine
        self._busy = busy
        self._plain = polars.lazyframe.engine_config._select_engine
        self._plain_eager = polars.lazyframe.engine_config._eager_engine
        self._functions: dict[str, Any] = {"_select_engine": self.select}
        if eager:
            self._functions["_eager_engine"] = self.select_eager
        self.on = True
        self.queries = 0

    def install(self) -> None:
        """Replace the functions in every module that has them."""
        for module in _MODULES:
            for name, function in self._functions.items():
                setattr(module, name, function)

    @property
    def installed(self) -> bool:
        """Whether no test has undone the replacement."""
        return all(
            getattr(module, name) == function
            for module in _MODULES
            for name, function in self._functions.items()
        )

    def select(self, engine: Any) -> Engine:
        """Return the engine for a call of Polars' interface."""
        named = isinstance(engine, str) and engine in _NAMES
        call = sys._getframe(1)
        runs = named and call.f_code.co_name in _RUNNING
        return self._counted() if runs and self._is_for_us(call) else self._plain(engine)

    def select_eager(self) -> Engine:
        """Return the engine for a method of a DataFrame."""
        ours = self._is_for_us(sys._getframe(1))
        return self._counted() if ours else self._plain_eager()

    def _is_for_us(self, call: Any) -> bool:
        return self.on and not self._busy() and not _caller(call).startswith("minispark.")

    def _counted(self) -> Engine:
        self.queries += 1
        return self._engine()


def _caller(frame: Any) -> str:
    """Return the module that called Polars."""
    while frame is not None and _module(frame).partition(".")[0] == "polars":
        frame = frame.f_back
    return "" if frame is None else _module(frame)


def _module(frame: Any) -> str:
    return str(frame.f_globals.get("__name__", ""))


def never_busy() -> bool:
    """Return False: the tasks of the engine run in other processes."""
    return False
