"""Queries that run in a thread while the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import polars as pl
from polars.lazyframe.in_process import InProcessQuery

from minispark.engines.public import public
from minispark.tracebacks import interrupt

_T = TypeVar("_T")


def in_background(run: Callable[[], _T], done: Callable[[_T | Exception], None]) -> None:
    """Call ``run`` in a thread of its own, and ``done`` there with its result or exception."""

    def work() -> None:
        try:
            result: _T | Exception = public(run)()
        except Exception as error:  # the reader of the result raises it
            result = error
        done(result)

    threading.Thread(target=work, name="minispark-query", daemon=True).start()


class Cancellation:
    """The request to cancel a query, which may come before there is anything to cancel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._cancel: Callable[[], None] | None = None

    def started(self, cancel: Callable[[], None]) -> None:
        """Take the function that cancels what has just started."""
        with self._lock:
            self._cancel = cancel
            requested = self._requested
        if requested:
            cancel()

    def request(self) -> None:
        """Cancel the query, now or when it starts."""
        with self._lock:
            self._requested = True
            cancel = self._cancel
        if cancel is not None:
            cancel()


class BackgroundQuery(InProcessQuery):
    """A query that runs in the background; what ``collect(background=True)`` returns."""

    def __init__(self, run: Callable[[], pl.DataFrame], cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._ended = threading.Event()
        self._result: pl.DataFrame | Exception | None = None
        in_background(run, self._end)

    def _end(self, result: pl.DataFrame | Exception) -> None:
        self._result = result
        self._ended.set()

    def cancel(self) -> None:
        """Cancel the query; after its end this does nothing."""
        if not self._ended.is_set():
            self._cancellation.request()

    @public
    def fetch(self) -> pl.DataFrame | None:
        """Return the rows, or None while the query runs.

        Raises
        ------
        JobFailedError, JobCancelledError
            The query did not succeed.
        """
        return self.fetch_blocking() if self._ended.is_set() else None

    @public
    def fetch_blocking(self) -> pl.DataFrame:
        """Wait for the end of the query and return its rows.

        Raises
        ------
        JobFailedError, JobCancelledError
            The query did not succeed.
        """
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            msg = "the query still runs in the background; its cancel() cancels it"
            raise interrupt(msg) from None
        if isinstance(self._result, Exception):
            raise self._result
        assert self._result is not None  # noqa: S101 - set before the event
        return self._result
