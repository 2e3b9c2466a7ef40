"""The engine of a cluster: submits plans to the master, waits, reads the results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import cache, partial

import polars as pl
from polars.io.plugins import register_io_source

from minispark.blocks.fetch import FetchSettings, fetch_blocks
from minispark.blocks.meta import BlockUnavailable
from minispark.engines.base import (
    JobOutcome,
    JobSummary,
    OnChange,
    OnStart,
    concatenated,
    raise_unless_succeeded,
    sinks_of,
)
from minispark.engines.http import MasterClient
from minispark.engines.report import report_of_job
from minispark.errors import MinisparkError
from minispark.observe.views import ENDED, JobView
from minispark.plan.columns import with_columns_in_order
from minispark.plan.stages import StageGraph
from minispark.plan.stored import ResultRows, StoredBlock, StoredRows
from minispark.task.stored import stored_block
from minispark.tracebacks import interrupt

_CONNECT_S = 2.0
"""Longer than a worker that the client can reach needs to accept a connection."""


class ClusterRunner:
    """A `Runner` over HTTP; any thread may use it. It keeps its connections open."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.client = MasterClient(url, token=token)
        self._fetch = FetchSettings(connect_timeout_s=_CONNECT_S, ca_file=self.client.ca_file)
        self._reads_blocks = True
        self._sql: str | None = None

    def for_sql(self, text: str) -> ClusterRunner:
        """Return a runner with the same connections, which sends this text with its jobs."""
        runner = copy(self)
        runner._sql = text
        return runner

    def run(
        self,
        graph: StageGraph,
        *,
        name: str,
        progress: OnChange | None = None,
        started: OnStart | None = None,
        keep: bool = False,
    ) -> JobOutcome:
        """Submit a job and wait for its end; its results stay on the cluster until read."""
        del keep
        try:
            job_id = self.client.submit_planned(graph, name=name, sql=self._sql)
        except KeyboardInterrupt:
            msg = f"the master may have accepted the query {name!r}; see {self.client.url}"
            raise interrupt(msg) from None
        if started is not None:
            started(job_id)
        view = self.wait(job_id, progress=progress)
        raise_unless_succeeded(view, page=self.client.page(job_id))
        columns = {result.node: result.columns for result in graph.results}
        sinks = sinks_of(graph)

        def parts(node: str) -> Iterator[pl.DataFrame]:
            return (
                with_columns_in_order(part, columns[node]) for part in self._parts(job_id, node)
            )

        def scan(node: str) -> pl.LazyFrame:
            rows = _Rows(partial(parts, node))
            schema = rows.schema()
            read = partial(register_io_source, rows, schema=schema, is_pure=True)
            kept = ResultRows(self.client.url, partial(self._stored, job_id, node), read)
            return StoredRows((), kept).lazy(schema)

        return JobOutcome(
            job_id=job_id,
            view=view,
            nodes=tuple(node for node in columns if node not in sinks),
            sinks=sinks,
            read=lambda node: concatenated(list(parts(node))),
            scan=scan,
            summary=cache(lambda: self._summary(job_id)),
            report=lambda: report_of_job(self.client, job_id),
        )

    def _stored(self, job_id: str, node: str) -> list[StoredBlock]:
        """Return the blocks of a result for the tasks of another job."""
        sources, _ = self.client.result_blocks(job_id, node)
        return [stored_block(source) for source in sources]

    def _parts(self, job_id: str, node: str) -> Iterator[pl.DataFrame]:
        """Give the partitions of a result from their workers, or all rows through the master.

        Blocks of this host are mapped; other blocks come from their workers. If the network lets
        clients reach the master only, the master sends the rows.
        """
        done = 0
        if self._reads_blocks:
            sources, ticket = self.client.result_blocks(job_id, node)
            # The ticket and not the token: any machine may have registered as a worker.
            settings = replace(self._fetch, token=ticket)
            empty = pl.DataFrame()
            try:
                for part in fetch_blocks(sources, settings=settings):
                    done += part.frame.height
                    if part.frame.height:
                        yield part.frame
                    elif part.frame.width:
                        empty = part.frame
            except BlockUnavailable:
                self._reads_blocks = False
            else:
                if not done:
                    yield empty
                return
        yield self.client.result_frame(job_id, node=node).slice(done)

    def _summary(self, job_id: str) -> JobSummary:
        return JobSummary(
            metrics=self.client.metrics(job_id),
            stages=tuple(self.client.stages(job_id)),
            workers=len(self.client.workers()),
        )

    def wait(self, job_id: str, *, progress: OnChange | None = None) -> JobView:
        """Wait for the end of a job; a KeyboardInterrupt cancels the job and says so."""
        try:
            return self.client.wait(job_id, on_change=progress)
        except KeyboardInterrupt:
            # In a thread, where further interrupts do not arrive: often there are many at once.
            said: list[str] = []
            cancelling = threading.Thread(target=lambda: said.append(self._cancel(job_id)))
            cancelling.start()
            cancelling.join()
            raise interrupt(*said, job_url=self.client.page(job_id)) from None

    def cancel(self, job_id: str) -> None:
        """Cancel a job that another thread runs; if the job has ended, do nothing."""
        self.client.cancel(job_id)

    def _cancel(self, job_id: str) -> str:
        """Cancel a job and return what happens to it, as a sentence."""
        try:
            view = self.client.cancel(job_id)
        except MinisparkError as error:
            command = f"minispark cancel {job_id} --master {self.client.url}"
            return f"job {job_id} still runs: {error.info.message}; cancel it with: {command}"
        if view.status in ENDED:
            return f"job {job_id} is {view.status}"
        return f"job {job_id} is being cancelled"

    def close(self) -> None:
        """Close the connection to the master."""
        self.client.close()


class _Rows:
    """The rows of a result as a source of Polars: read again each time it is collected."""

    def __init__(self, parts: Callable[[], Iterator[pl.DataFrame]]) -> None:
        self._parts = parts

    def schema(self) -> pl.Schema:
        return next(self._parts()).schema

    def __call__(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for rows in self._parts():
            part = rows if n_rows is None else rows.head(n_rows)
            n_rows = None if n_rows is None else n_rows - part.height
            if predicate is not None:
                part = part.filter(predicate)
            yield part if with_columns is None else with_columns_in_order(part, with_columns)
            if n_rows == 0:
                return
