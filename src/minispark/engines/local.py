"""Runs plans in executor processes of this machine: the embedded engine.

The event loop of the `EmbeddedMaster` runs in a thread of its own, so that any thread may run jobs,
several at a time. Processes start with the first job and stay warm.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.clock import wall_s
from minispark.engines.base import (
    JobOutcome,
    JobSummary,
    OnChange,
    concatenated,
    raise_unless_succeeded,
    sinks_of,
)
from minispark.engines.block_dirs import BlockDirectories
from minispark.engines.embedded import EmbeddedMaster, Finished
from minispark.ids import TaskKey
from minispark.observe.projection import finish
from minispark.observe.views import JobView
from minispark.plan.columns import with_columns_in_order
from minispark.plan.stages import StageGraph
from minispark.settings import CacheSettings, SchedulerSettings
from minispark.worker.executors import ExecutorPool, Executors

_CLOSE_S = 10.0
"""Executors end within a second; beyond this something hangs that the exit must not wait for."""

_LOOK_UP_S = 0.1
"""How often a thread that waits looks whether it was interrupted. Polars' own signal handler lets
waits go on, so an interrupt alone wakes nobody; what is waited for wakes the thread at once."""

_T = TypeVar("_T")


def available_cores() -> int:
    """Return how many cores this process may use."""
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
        What relative paths in plans mean; None is the working directory.
    task_timeout_s
        How long an attempt may run.
    memory_limit_bytes
        For all processes together.
    cache
        What is kept of cached nodes for later jobs; None keeps what a worker would.
    temp_dir
        Where blocks go that do not fit into memory; None is the usual place.
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
        self._threads = threads_per_slot
        self._task_timeout_s = task_timeout_s
        self._memory_limit_bytes = memory_limit_bytes
        self._cache = cache or CacheSettings()
        self._places = BlockDirectories(temp_dir)
        self._lock = threading.Lock()
        self._shell: _Shell | None = None

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes now instead of with the first job."""
        self._started()

    def run(self, graph: StageGraph, *, name: str, progress: OnChange | None = None) -> JobOutcome:
        """Run a job; results are mapped, not copied, and stay as long as they are used."""
        shell = self._started()
        news: queue.SimpleQueue[JobView | None] = queue.SimpleQueue()
        job_id = shell.driver.new_job()
        running = shell.submit(shell.driver.run(job_id, graph, name=name, changed=news.put))
        running.add_done_callback(lambda _: news.put(None))
        try:
            finished = _followed(running, news, progress)
        except BaseException:
            # All of it in the loop's thread: further interrupts, which often come many at once,
            # end the wait for it but nothing else.
            _ended(shell.submit(shell.driver.abandon(job_id, running)))
            raise
        try:
            return self._outcome(job_id, graph, finished)
        finally:
            shell.call(partial(shell.driver.release, job_id))

    def close(self) -> None:
        """End the processes and remove the blocks; the next job starts them anew."""
        with self._lock:
            shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()
        self._places.close()

    async def _new_pool(self) -> Executors:
        pool = ExecutorPool(
            self.slots,
            threads_per_slot=self._threads,
            fetch=self._fetch,
            task_timeout_s=self._task_timeout_s,
            memory_limit_bytes=self._memory_limit_bytes,
            on_output=_to_stderr,
        )
        await pool.start()
        return pool

    def _new_driver(self, pool: Executors) -> EmbeddedMaster:
        return EmbeddedMaster(
            pool,
            slots=self.slots,
            places=self._places,
            data_root=self._data_root,
            settings=self._settings,
            cache=self._cache,
        )

    def _started(self) -> _Shell:
        with self._lock:
            if self._shell is None:
                self._shell = _Shell.start(self._new_pool, self._new_driver)
                # Also runs when the process ends.
                weakref.finalize(self, self._shell.close)
            return self._shell

    def _outcome(self, job_id: str, graph: StageGraph, finished: Finished) -> JobOutcome:
        # The record has it already, unless the row of the end could not be applied.
        finish(finished.record, finished.end, wall_s())
        view = finished.record.view()
        raise_unless_succeeded(view)
        sinks = sinks_of(graph)
        frames = {}
        for result in graph.results:
            if result.node not in sinks:
                sources = finished.blocks.get(result.stage, [])
                parts = [read_block(source, settings=self._fetch) for source in sources]
                frames[result.node] = with_columns_in_order(concatenated(parts), result.columns)
        figures = JobSummary(
            finished.record.metrics(), tuple(finished.record.stage_rows()), self.slots
        )
        return JobOutcome(
            job_id=job_id,
            view=view,
            nodes=tuple(frames),
            sinks=sinks,
            read=frames.__getitem__,
            figures=lambda: figures,
        )


def _to_stderr(_pid: int, _key: TaskKey | None, line: str) -> None:
    """Show what a task printed; standard output belongs to the program that runs the job."""
    sys.stderr.write(f"{line}\n")


def _followed(
    running: Future[Finished],
    news: queue.SimpleQueue[JobView | None],
    progress: OnChange | None,
) -> Finished:
    """Hand views on in the caller's thread until the job has ended."""
    while True:
        with contextlib.suppress(queue.Empty):
            view = news.get(timeout=_LOOK_UP_S)
            if view is None:
                return running.result()
            if progress is not None:
                progress(view)


def _ended(work: Future[_T]) -> Future[_T]:
    """Wait for something, and stay open to interrupts."""
    while not wait([work], timeout=_LOOK_UP_S).done:
        pass
    return work


@dataclass(frozen=True, slots=True)
class _Shell:
    """An event loop in a thread, and the driver and the processes in it."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    driver: EmbeddedMaster
    owner: int

    @classmethod
    def start(
        cls,
        new_pool: Callable[[], Coroutine[Any, Any, Executors]],
        new_driver: Callable[[Executors], EmbeddedMaster],
    ) -> _Shell:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(loop,), name="minispark", daemon=True)
        thread.start()

        async def begin() -> EmbeddedMaster:
            return new_driver(await new_pool())

        try:
            driver = _ended(asyncio.run_coroutine_threadsafe(begin(), loop)).result()
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        return cls(loop, thread, driver, os.getpid())

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, act: Callable[[], None]) -> None:
        """Do something in the loop's thread and wait until it is done."""

        async def acting() -> None:
            act()

        _ended(self.submit(acting())).result()

    def close(self) -> None:
        # A forked child has neither the thread nor, by right, the processes.
        if self.loop.is_closed() or os.getpid() != self.owner:
            return
        try:
            self.submit(self.driver.close()).result(_CLOSE_S)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(_CLOSE_S)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
