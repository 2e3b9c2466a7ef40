"""Sends the traces of finished jobs, one after the other, beside the loop."""

from __future__ import annotations

import asyncio
import contextlib

from minispark.logs import logger
from minispark.observe.record import JobRecord
from minispark.observe.traces import Traces

_QUEUE = 100
"""Jobs that wait for a slow collector; further traces are dropped, and the log says so."""
_CLOSE_S = 5.0
"""How long a master that stops waits for the collector."""

_log = logger("master")


class Tracing:
    """A queue before `Traces`, so that a slow collector delays nothing else."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._queue: asyncio.Queue[JobRecord] = asyncio.Queue(_QUEUE)

    def ended(self, record: JobRecord) -> None:
        """Queue the trace of a finished job."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            _log.warning("trace_dropped", job=record.job_id, reason="the collector is too slow")

    async def run(self) -> None:
        """Send traces until cancelled."""
        while True:
            record = await self._queue.get()
            try:
                trace = await asyncio.to_thread(self._traces.export, record)
            # The next trace must be sent, whatever is wrong with this one.
            except Exception:
                _log.exception("trace_failed", job=record.job_id)
            else:
                if trace is None:
                    _log.warning("trace_not_taken", job=record.job_id)
                else:
                    _log.debug("trace_sent", job=record.job_id, trace=trace)
            finally:
                self._queue.task_done()

    async def close(self) -> None:
        """Send the queue for at most some seconds, then close the collector."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), _CLOSE_S)
        await asyncio.to_thread(self._traces.close)
