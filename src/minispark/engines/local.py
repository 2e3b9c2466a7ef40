"""The embedded engine: runs plans in executor processes of this machine.

The event loop of the `EmbeddedMaster` runs in a thread of its own, so any thread may run jobs,
several at a time. The processes start with the first job and keep running.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.clock import wall_s
from minispark.engines.base import (
    JobOutcome,
    JobSummary,
    OnChange,
    OnStart,
    concatenated,
    raise_unless_succeeded,
    sinks_of,
)
from minispark.engines.block_dirs import BlockDirectories
from minispark.engines.embedded import EmbeddedMaster, RunResult
from minispark.engines.report import report_of_record
from minispark.ids import TaskKey
from minispark.observe.projection import finish
from minispark.observe.views import JobView
from minispark.plan.columns import with_columns_in_order
from minispark.plan.stages import StageGraph
from minispark.plan.stored import EMBEDDED, ResultRows, StoredBlock, StoredRows
from minispark.settings import CacheSettings, SchedulerSettings
from minispark.task.stored import stored_block
from minispark.tracebacks import interrupt
from minispark.worker.executors import ExecutorPool, Executors

if TYPE_CHECKING:
    import polars as pl

_CLOSE_S = 10.0
"""Executors end within a second; after this time the exit does not wait for one that hangs."""

_INTERRUPT_CHECK_S = 0.1
"""How often a waiting thread checks for an interrupt. Under Polars' signal handler an interrupt
does not end a wait by itself; the result does, at once."""

_T = TypeVar("_T")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalRunner:
    """A `Runner` on processes of this machine; any thread may use it.

    Parameters
    ----------
    slots
        Tasks at a time, one process each; None means one per core.
    threads_per_slot
        Polars threads of each process.
    data_root
        The directory of relative paths in plans; None is the working directory.
    task_timeout_s
        Maximum duration of an attempt.
    memory_limit_bytes
        Limit of all processes together.
    cache
        Limits of the cache for later jobs; None takes a worker's defaults.
    temp_dir
        Directory for blocks that do not fit into memory; None is the system's.
    """

    def __init__(
        self,
        slots: int | None = None,
        *,
        threads_per_slot: int = 1,
        data_root: Path | None = None,
        task_timeout_s: float | None = None,
        memory_limit_bytes: int | None = None,
        scheduler: SchedulerSettings | None = None,
        cache: CacheSettings | None = None,
        temp_dir: Path | None = None,
    ) -> None:
        self.slots = slots or available_cores()
        self._data_root = data_root
        self._settings = scheduler or SchedulerSettings()
        self._fetch = FetchSettings()
        self._threads_per_slot = threads_per_slot
        self._task_timeout_s = task_timeout_s
        self._memory_limit_bytes = memory_limit_bytes
        self._cache = cache or CacheSettings()
        self._block_dirs = BlockDirectories(temp_dir)
        self._lock = threading.Lock()
        self._thread: _MasterThread | None = None

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        graph: StageGraph,
        *,
        name: str,
        progress: OnChange | None = None,
        started: OnStart | None = None,
        keep: bool = False,
    ) -> JobOutcome:
        """Run a job; results are mapped, not copied, and stay as long as they are used."""
        thread = self._started_thread()
        views: queue.SimpleQueue[JobView | None] = queue.SimpleQueue()
        job_id = thread.master.new_job()
        running = thread.submit(thread.master.run(job_id, graph, name=name, changed=views.put))
        running.add_done_callback(lambda _: views.put(None))
        try:
            if started is not None:
                started(job_id)
            result = _wait_for_result(running, views, progress)
        except BaseException as error:
            # In the loop's thread: further interrupts (often there are many at once) end the wait
            # here, but not the cancellation.
            _wait(thread.submit(thread.master.abandon(job_id, running)))
            if isinstance(error, KeyboardInterrupt):
                raise interrupt(f"the query {name!r} was cancelled") from None
            raise
        lease = _Lease()
        release = weakref.finalize(lease, thread.release, job_id)
        release.atexit = False
        try:
            return self._outcome(job_id, graph, result, lease if keep else None)
        finally:
            if not keep:
                release.detach()
                _wait(thread.submit(thread.master.release(job_id))).result()

    def cancel(self, job_id: str) -> None:
        """Cancel a job that another thread runs; if the job has ended, do nothing."""
        thread = self._started_thread()
        _wait(thread.submit(thread.master.cancel(job_id)))

    def close(self) -> None:
        """End the processes and remove the blocks; the next job starts new ones."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        self._block_dirs.close()

    async def _new_pool(self) -> Executors:
        pool = ExecutorPool(
            self.slots,
            threads_per_slot=self._threads_per_slot,
            fetch=self._fetch,
            task_timeout_s=self._task_timeout_s,
            memory_limit_bytes=self._memory_limit_bytes,
            on_output=_to_stderr,
            spilling=self._block_dirs.spilling(self.slots, self._memory_limit_bytes),
        )
        await pool.start()
        return pool

    async def _new_master(self) -> EmbeddedMaster:
        return EmbeddedMaster(
            await self._new_pool(),
            slots=self.slots,
            block_dirs=self._block_dirs,
            data_root=self._data_root,
            settings=self._settings,
            cache=self._cache,
        )

    def _started_thread(self) -> _MasterThread:
        with self._lock:
            if self._thread is None:
                self._thread = _MasterThread(self._new_master)
                # Also called when the process ends.
                weakref.finalize(self, self._thread.close)
            return self._thread

    def _outcome(
        self, job_id: str, graph: StageGraph, result: RunResult, lease: _Lease | None
    ) -> JobOutcome:
        # The record has it already, unless the row of the end could not be applied.
        finish(result.record, result.end, wall_s())
        view = result.record.view()
        raise_unless_succeeded(view)
        sinks = sinks_of(graph)
        frames = {}
        for output in graph.results:
            if output.node not in sinks:
                sources = result.blocks.get(output.stage, [])
                parts = [read_block(source, settings=self._fetch) for source in sources]
                frames[output.node] = with_columns_in_order(concatenated(parts), output.columns)
        stages = {output.node: output.stage for output in graph.results}

        def scan(node: str) -> pl.LazyFrame:
            if lease is None:
                return frames[node].lazy()
            blocks = [stored_block(source) for source in result.blocks.get(stages[node], [])]
            kept = ResultRows(EMBEDDED, partial(lease.of, blocks), frames[node].lazy)
            return StoredRows((), kept).lazy(frames[node].schema)

        rows = tuple(result.rows)
        summary = JobSummary(result.record.metrics(), tuple(result.record.stage_rows()), self.slots)
        return JobOutcome(
            job_id=job_id,
            view=view,
            nodes=tuple(frames),
            sinks=sinks,
            read=frames.__getitem__,
            scan=scan,
            summary=lambda: summary,
            report=lambda: report_of_record(result.record, rows, summary),
        )


class _Lease:
    """Keeps the blocks of a job: they are deleted when it is collected."""

    def of(self, blocks: list[StoredBlock]) -> list[StoredBlock]:
        """Return blocks that stay as long as the lease; the bound method holds it."""
        return blocks


def _to_stderr(_pid: int, _key: TaskKey | None, line: str) -> None:
    """Print a task's line to stderr; standard output belongs to the program that runs the job."""
    sys.stderr.write(f"{line}\n")


def _wait_for_result(
    running: Future[RunResult],
    views: queue.SimpleQueue[JobView | None],
    progress: OnChange | None,
) -> RunResult:
    """Call ``progress`` in the caller's thread until the job has ended."""
    while True:
        with contextlib.suppress(queue.Empty):
            view = views.get(timeout=_INTERRUPT_CHECK_S)
            if view is None:
                return running.result()
            if progress is not None:
                progress(view)


def _wait(work: Future[_T]) -> Future[_T]:
    """Wait for a result; an interrupt ends the wait."""
    while not wait([work], timeout=_INTERRUPT_CHECK_S).done:
        pass
    return work


class _MasterThread:
    """A thread with an event loop, and the master in it."""

    def __init__(self, new_master: Callable[[], Coroutine[Any, Any, EmbeddedMaster]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="minispark", daemon=True)
        self._thread.start()
        self._owner = os.getpid()
        try:
            self.master = _wait(self.submit(new_master())).result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def release(self, job_id: str) -> None:
        """Delete the result blocks of a job, some time; any thread may call this."""
        if not self._loop.is_closed() and os.getpid() == self._owner:
            self.submit(self.master.release(job_id))

    def close(self) -> None:
        # A forked child does not have the thread, and must not end its parent's processes.
        if self._loop.is_closed() or os.getpid() != self._owner:
            return
        try:
            self.submit(self.master.close()).result(_CLOSE_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
