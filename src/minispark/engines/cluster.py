"""The engine of a cluster: submits plans to the master, waits, reads the results."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from functools import cache

import polars as pl

from minispark.blocks.fetch import FetchSettings, fetch_blocks
from minispark.blocks.meta import BlockUnavailable
from minispark.engines.base import (
    JobOutcome,
    JobSummary,
    OnChange,
    concatenated,
    raise_unless_succeeded,
    sinks_of,
)
from minispark.engines.http import MasterClient
from minispark.errors import MinisparkError
from minispark.observe.views import JobView
from minispark.plan.columns import with_columns_in_order
from minispark.plan.stages import StageGraph

_CONNECT_S = 2.0
"""Longer than a worker that the client can reach needs to accept a connection."""


class ClusterRunner:
    """A `Runner` over HTTP, for one thread at a time; it keeps its connection open."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.client = MasterClient(url, token=token)
        self._fetch = FetchSettings(connect_timeout_s=_CONNECT_S, ca_file=self.client.ca_file)
        self._reads_blocks = True

    def run(self, graph: StageGraph, *, name: str, progress: OnChange | None = None) -> JobOutcome:
        """Submit a job and wait for its end; its results stay on the cluster until read."""
        job_id = self.client.submit_planned(graph, name=name)
        view = self.wait(job_id, progress=progress)
        raise_unless_succeeded(view)
        columns = {result.node: result.columns for result in graph.results}
        sinks = sinks_of(graph)

        def read(node: str) -> pl.DataFrame:
            return with_columns_in_order(self._read(job_id, node), columns[node])

        return JobOutcome(
            job_id=job_id,
            view=view,
            nodes=tuple(node for node in columns if node not in sinks),
            sinks=sinks,
            read=read,
            summary=cache(lambda: self._summary(job_id)),
        )

    def _read(self, job_id: str, node: str) -> pl.DataFrame:
        """Read the blocks of a result from their workers, or through the master.

        Blocks of this host are mapped; other blocks come from their workers. If the network lets
        clients reach the master only, the master sends the rows.
        """
        if self._reads_blocks:
            sources, ticket = self.client.result_blocks(job_id, node)
            # The ticket and not the token: any machine may have registered as a worker.
            settings = replace(self._fetch, token=ticket)
            try:
                parts = [part.frame for part in fetch_blocks(sources, settings=settings)]
            except BlockUnavailable:
                self._reads_blocks = False
            else:
                return concatenated(parts)
        return self.client.result_frame(job_id, node=node)

    def _summary(self, job_id: str) -> JobSummary:
        return JobSummary(
            metrics=self.client.metrics(job_id),
            stages=tuple(self.client.stages(job_id)),
            workers=len(self.client.workers()),
        )

    def wait(self, job_id: str, *, progress: OnChange | None = None) -> JobView:
        """Wait for the end of a job; a KeyboardInterrupt cancels the job."""
        try:
            return self.client.wait(job_id, on_change=progress)
        except KeyboardInterrupt:
            # In a thread, where further interrupts do not arrive: often there are many at once.
            cancelling = threading.Thread(target=self._cancel, args=(job_id,))
            cancelling.start()
            cancelling.join()
            raise

    def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(MinisparkError):
            self.client.cancel(job_id)

    def close(self) -> None:
        """Close the connection to the master."""
        self.client.close()
