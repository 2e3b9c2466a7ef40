"""A master inside this process: the scheduler over executor processes, in one event loop.

Scheduler and tasks are those of a cluster; only the network is missing. There is one worker,
``local``, which cannot be lost and needs no heartbeat.

::

    run(graph) --JobSubmitted--> Scheduler --LaunchTask--> ExecutorPool
                                     ^                          |
                                     +---- TaskSucceeded <------+
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from minispark.blocks.cache import BlockCache
from minispark.blocks.cache_hits import CacheHit, find_cached
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.blocks.store import BlockStore
from minispark.clock import monotonic_s, wall_s
from minispark.engines.base import OnChange
from minispark.engines.block_dirs import BlockDirectories
from minispark.engines.report import MAX_STEPS
from minispark.errors import Failure, FetchFailed
from minispark.ids import TaskKey, job_id
from minispark.journal.commits import commit_failure, discard, manifests_of, publish, sink_stages
from minispark.journal.decisions import decisions_of
from minispark.journal.rows import (
    Evidence,
    FailureRow,
    Row,
    Submission,
    SuccessRow,
    event_of,
    job_of,
)
from minispark.observe.live_progress import LiveProgress
from minispark.observe.projection import ReaderGuard, apply
from minispark.observe.record import JobRecord
from minispark.observe.views import JobView
from minispark.plan.stages import StageGraph
from minispark.scheduler import commands as c
from minispark.scheduler import events as e
from minispark.scheduler.core import Scheduler
from minispark.settings import CacheSettings, SchedulerSettings
from minispark.specs import block_source, fragment, job_spec, task_spec
from minispark.task import sinks
from minispark.task.failures import failure_of
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.executors import Executors

_PROGRESS_S = 0.5
"""Time between two looks at what running attempts have read."""
WORKER = "local"
_EPOCH = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """The record of a job that has ended, and its result blocks, which stay until its release.

    ``rows`` are the first `MAX_STEPS` rows about it, for its story; until its release there may be
    more.
    """

    record: JobRecord
    end: c.FinishJob
    blocks: dict[int, list[BlockSource]]
    rows: Sequence[Row]


@dataclass(slots=True)
class _Job:
    record: JobRecord
    store: BlockStore
    changed: OnChange
    ended: asyncio.Future[RunResult]
    directories: Mapping[int, Path]
    """Output directory of each sink stage, resolved when the job began."""
    reports: dict[TaskKey, TaskReport] = field(default_factory=dict)
    hits: dict[TaskKey, CacheHit] = field(default_factory=dict)
    progress: LiveProgress = field(default_factory=LiveProgress)
    rows: list[Row] = field(default_factory=list)


class EmbeddedMaster:
    """A master that runs any number of jobs at a time. All methods are for one event loop."""

    def __init__(
        self,
        pool: Executors,
        *,
        slots: int,
        block_dirs: BlockDirectories,
        data_root: Path | None,
        settings: SchedulerSettings,
        cache: CacheSettings,
    ) -> None:
        self._pool = pool
        self._slots = slots
        self._block_dirs = block_dirs
        self._cache_settings = cache
        self._cache: BlockCache | None = None
        """Created for the first job with a cached node."""
        self._root = data_root
        self._data_root = None if data_root is None else str(data_root)
        self._scheduler = Scheduler(settings)
        self._jobs: dict[str, _Job] = {}
        self._running: dict[TaskKey, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = inf
        self._background: set[asyncio.Task[None]] = set()
        self._job_numbers = itertools.count(1)
        self._row_numbers = itertools.count(1)
        self._guard = ReaderGuard()
        self._cluster = secrets.token_hex(3)
        self._step(e.WorkerRegistered(WORKER, _EPOCH, slots))

    def new_job(self) -> str:
        """Return the id for the next job."""
        return job_id(self._cluster, _EPOCH, next(self._job_numbers))

    async def run(self, job: str, graph: StageGraph, *, name: str, changed: OnChange) -> RunResult:
        """Run a job to its end; its result blocks stay until `release`."""
        directories = {}
        for stage, sink in sink_stages(graph).items():
            directories[stage] = sinks.sink_directory(sink, self._data_root)
            sinks.check_directory(directories[stage], overwrite=sink.overwrite)
        entry = self._jobs[job] = _Job(
            JobRecord(job, name, graph, wall_s()),
            self._block_dirs.store_for(graph.input_bytes),
            changed,
            asyncio.get_running_loop().create_future(),
            directories,
        )
        if self._cache is None and any(stage.cached is not None for stage in graph.stages):
            self._cache = self._block_dirs.cache(self._cache_settings)
        hits = find_cached(graph, job, self._cached_block)
        entry.hits = {hit.key: hit for hit in hits}
        if self._cache is not None:
            self._cache.use([hit.kept for hit in hits])
        self._step(Submission(job=job_spec(graph, job, hits=hits), found=hits))
        return await entry.ended

    def _cached_block(self, name: TaskKey) -> tuple[str, BlockMeta] | None:
        meta = None if self._cache is None else self._cache.get(name)
        return None if meta is None else (WORKER, meta)

    async def cancel(self, job: str) -> None:
        """End a job early; its `run` returns a record with status CANCELLED."""
        if job in self._jobs:
            self._step(e.JobCancelRequested(job))

    async def abandon(self, job: str, running: Future[RunResult]) -> None:
        """Cancel a job, wait for the end of its `run` and delete its blocks."""
        await self.cancel(job)
        # Its error is that of the caller; asyncio prints one that is not taken from a future.
        await asyncio.gather(asyncio.wrap_future(running), return_exceptions=True)
        await self.release(job)

    async def release(self, job: str) -> None:
        """Delete the result blocks of a job."""
        self._step(e.JobReleased(job))
        self._jobs.pop(job, None)

    async def close(self) -> None:
        """End all processes; the `run` of a job that still runs never returns."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._pool.close()

    def _step(self, message: e.Event | Evidence) -> None:
        """Decide, carry out the commands, then update the projections, as a master does."""
        now = monotonic_s()
        event = self._scheduler.decide(event_of(message), now)
        if event is not None:
            commands = self._scheduler.apply(event, now)
            job = job_of(event)
            content = message if isinstance(message, Evidence) else event
            row = Row(next(self._row_numbers), wall_s(), job, content, decisions_of(commands))
            if isinstance(content, SuccessRow) and row.accepted:
                self._accept(self._jobs[job], content.report)
            for command in commands:
                self._carry_out(command)
            for name in row.about(list(self._jobs)):
                self._guard.run("record", self._show, name, row, job=name)
        self._set_timer(self._scheduler.wake_s)

    def _show(self, name: str, row: Row) -> None:
        job = self._jobs.get(name)
        if job is not None:
            if len(job.rows) < MAX_STEPS:
                job.rows.append(row)
            apply(job.record, row)
            job.changed(self._view(job))

    def _view(self, job: _Job) -> JobView:
        return job.progress.view(job.record, slots=self._slots, now=wall_s())

    async def _watch_progress(self) -> None:
        """Show what running attempts have read, for as long as a job runs."""
        while self._running:
            await asyncio.sleep(_PROGRESS_S)
            progress = self._pool.progress()
            for name, job in list(self._jobs.items()):
                own = [each for each in progress if each.key.job == name]
                if job.progress.update(WORKER, own, now=wall_s()):
                    self._guard.run("progress", lambda job=job: job.changed(self._view(job)))

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.ReportAccepted() | c.ReportDropped():
                pass
            case c.LaunchTask():
                self._launch(command)
            case c.CancelTask(key=key):
                self._spawn(self._pool.cancel(key))
            case c.CommitJob(job=job, sinks=keys):
                self._spawn(self._commit(job, keys))
            case c.FinishJob():
                self._finish(command)
            case c.ReleaseBlocks(keys=keys):
                self._block_dirs.delete(keys)
            case c.ReleaseJob(job=job):
                self._block_dirs.delete_job(job)
            case c.RequireRegistration() | c.WorkerDown() | c.MoveBlocks() | c.DismissWorker():
                msg = f"the embedded engine lost itself: {command}"
                raise AssertionError(msg)

    def _launch(self, launch: c.LaunchTask) -> None:
        job = self._jobs[launch.key.job]
        if not self._running:
            self._spawn(self._watch_progress())
        self._running[launch.key] = None
        self._spawn(self._attempt(job, launch))

    async def _attempt(self, job: _Job, launch: c.LaunchTask) -> None:
        key = launch.key
        try:
            spec = task_spec(job.record.graph, launch, lambda ref: self._source(job, ref))
            spec = replace(
                spec,
                fragment=fragment(job.record.graph, spec.fragment_key),
                block_directory=str(job.store.directory),
                data_root=self._data_root,
            )
            began_s = monotonic_s()
            outcome = await self._pool.run(spec)
            queued_s = max(0.0, monotonic_s() - began_s - outcome.duration_s)
            outcome = replace(outcome, queued_s=queued_s)
            if isinstance(outcome, TaskReport):
                await self._fill_cache(job, spec, outcome)
        except Exception as error:  # a bug of ours must end the job: it would wait forever
            outcome = TaskFailure(key, failure_of(error))
        del self._running[key]
        if isinstance(outcome, TaskReport):
            self._step(SuccessRow(worker=WORKER, epoch=_EPOCH, report=outcome))
        else:
            self._drop_cached(job, outcome.failure)
            self._step(FailureRow(worker=WORKER, epoch=_EPOCH, report=outcome))

    async def _fill_cache(self, job: _Job, spec: TaskSpec, report: TaskReport) -> None:
        """Put the block of a cached node into the cache."""
        if self._cache is not None and spec.keep is not None:
            self._cache.missed()
            block = job.store.path_of(spec.key.block_id)
            # The task has succeeded: a fault of the cache must not fail it.
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._cache.put, spec.keep, report.block, block)

    def _accept(self, job: _Job, report: TaskReport) -> None:
        job.reports[report.key] = report

    def _drop_cached(self, job: _Job, failure: Failure) -> None:
        """Remove a cached block that could not be read: other jobs must not read it."""
        hit = job.hits.get(failure.key) if isinstance(failure, FetchFailed) else None
        if hit is not None and self._cache is not None:
            self._cache.drop([hit.kept])

    def _source(self, job: _Job, ref: c.BlockRef) -> BlockSource:
        hit, host = job.hits.get(ref.key), host_identity()
        if hit is not None and self._cache is not None:
            directory = str(self._cache.directory)
            return block_source(ref, hit.meta, host=host, directory=directory, kept=hit.kept)
        block = job.reports[ref.key].block
        return block_source(ref, block, host=host, directory=str(job.store.directory))

    def _finish(self, command: c.FinishJob) -> None:
        job = self._jobs[command.job]
        if command.status is not c.JobStatus.SUCCEEDED:
            discard(command.job, job.directories.values(), root=self._root)
        blocks: dict[int, list[BlockSource]] = {}
        for ref in command.results:
            blocks.setdefault(ref.key.stage, []).append(self._source(job, ref))
        if not job.ended.done():
            job.ended.set_result(RunResult(job.record, command, blocks, job.rows))

    async def _commit(self, job: str, keys: tuple[TaskKey, ...]) -> None:
        entry = self._jobs[job]
        graph = entry.record.graph
        files = {key: report.sink for key, report in entry.reports.items()}
        manifests = manifests_of(graph, entry.directories, keys, files)
        event: e.Event = e.JobCommitted(job)
        try:
            await asyncio.to_thread(publish, job, graph, manifests, root=self._root)
        except Exception as error:  # any error fails the job
            event = e.JobCommitFailed(job, commit_failure(error))
        self._step(event)

    def _set_timer(self, at_s: float) -> None:
        if at_s == self._wake_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_s = at_s
        if at_s < inf:
            delay_s = max(0.0, at_s - monotonic_s())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._wake_s = inf
        # The only worker is this process: it sends its heartbeat before the scheduler checks.
        self._step(e.WorkerHeartbeat(WORKER, _EPOCH, tuple(self._running)))
        self._step(e.TimerFired())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
