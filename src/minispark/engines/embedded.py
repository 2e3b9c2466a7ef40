"""Drives the scheduler over executor processes, in one event loop and without a port.

The same brain and the same tasks as on a cluster; what is left out is the network: there is one
worker, ``local``, that cannot be lost and needs no heartbeat.

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
from collections.abc import Callable, Coroutine, Mapping
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
from minispark.engines.block_dirs import BlockDirectories
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
from minispark.observe.guard import ReaderGuard
from minispark.observe.projection import apply
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

WORKER = "local"
_EPOCH = 1

OnChange = Callable[[JobView], None]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended, and where its result blocks are until it is released."""

    record: JobRecord
    end: c.FinishJob
    blocks: dict[int, list[BlockSource]]


@dataclass(slots=True)
class _Job:
    record: JobRecord
    store: BlockStore
    changed: OnChange
    finished: asyncio.Future[Finished]
    directories: Mapping[int, Path]
    """Where the files of each sink stage go, as they were when the job began."""
    reports: dict[TaskKey, TaskReport] = field(default_factory=dict)
    found: dict[TaskKey, CacheHit] = field(default_factory=dict)


class EmbeddedMaster:
    """Runs any number of jobs at a time. All methods are for one event loop."""

    def __init__(
        self,
        pool: Executors,
        *,
        slots: int,
        places: BlockDirectories,
        data_root: Path | None,
        settings: SchedulerSettings,
        cache: CacheSettings,
    ) -> None:
        self._pool = pool
        self._places = places
        self._cache_settings = cache
        self._cache: BlockCache | None = None
        """Made for the first job that has something to keep."""
        self._data_root = None if data_root is None else str(data_root)
        self._scheduler = Scheduler(settings)
        self._jobs: dict[str, _Job] = {}
        self._held: dict[TaskKey, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = inf
        self._work: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._rows = 0
        self._guard = ReaderGuard()
        self._cluster = secrets.token_hex(3)
        self._step(e.WorkerRegistered(WORKER, _EPOCH, slots))

    def new_job(self) -> str:
        """Return the id for the next job."""
        return job_id(self._cluster, _EPOCH, next(self._numbers))

    async def run(self, job: str, graph: StageGraph, *, name: str, changed: OnChange) -> Finished:
        """Run a job to its end; its result blocks stay until `release`."""
        directories = {}
        for stage, sink in sink_stages(graph).items():
            directories[stage] = sinks.sink_directory(sink, self._data_root)
            sinks.check_directory(directories[stage], overwrite=sink.overwrite)
        known = self._jobs[job] = _Job(
            JobRecord(job, name, graph, wall_s()),
            self._places.store_for(graph.input_bytes),
            changed,
            asyncio.get_running_loop().create_future(),
            directories,
        )
        if self._cache is None and any(stage.cached is not None for stage in graph.stages):
            self._cache = self._places.cache(self._cache_settings)
        found = find_cached(graph, job, self._find_kept)
        known.found = {task.key: task for task in found}
        if self._cache is not None:
            self._cache.use([task.kept for task in found])
        self._step(Submission(job=job_spec(graph, job, found=found), found=found))
        return await known.finished

    def _find_kept(self, name: TaskKey) -> tuple[str, BlockMeta] | None:
        meta = None if self._cache is None else self._cache.get(name)
        return None if meta is None else (WORKER, meta)

    def cancel(self, job: str) -> None:
        """End a job early; its `run` then returns a record that says CANCELLED."""
        if job in self._jobs:
            self._step(e.JobCancelRequested(job))

    async def abandon(self, job: str, running: Future[Finished]) -> None:
        """Cancel a job, wait for the end of its `run` and delete what it leaves."""
        self.cancel(job)
        await asyncio.wait([asyncio.wrap_future(running)])
        self.release(job)

    def release(self, job: str) -> None:
        """Delete the result blocks of a job."""
        self._step(e.JobReleased(job))
        self._jobs.pop(job, None)

    async def close(self) -> None:
        """End all processes; jobs that still run never return."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._pool.close()

    def _step(self, happening: e.Event | Evidence) -> None:
        """Let the scheduler decide, carry that out, and show it: as a master does."""
        now = monotonic_s()
        event = self._scheduler.decide(event_of(happening), now)
        if event is not None:
            commands = self._scheduler.apply(event, now)
            job = job_of(event)
            what = happening if isinstance(happening, Evidence) else event
            self._rows += 1
            row = Row(self._rows, wall_s(), job, what, decisions_of(commands))
            if isinstance(what, SuccessRow) and row.accepted:
                self._keep(self._jobs[job], what.report)
            for command in commands:
                self._carry_out(command)
            for name in row.about(list(self._jobs)):
                self._guard.run("record", self._show, name, row, job=name)
        self._set_timer(self._scheduler.wake_s)

    def _show(self, name: str, row: Row) -> None:
        job = self._jobs.get(name)
        if job is not None:
            apply(job.record, row)
            job.changed(job.record.view())

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
                self._places.delete(keys)
            case c.ReleaseJob(job=job):
                self._places.delete_job(job)
            case c.RequireRegistration() | c.WorkerDown() | c.MoveBlocks() | c.DismissWorker():
                msg = f"the embedded engine lost itself: {command}"
                raise AssertionError(msg)

    def _launch(self, launch: c.LaunchTask) -> None:
        job = self._jobs[launch.key.job]
        self._held[launch.key] = None
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
            outcome = await self._pool.run(spec)
            if isinstance(outcome, TaskReport):
                await self._keep_for_later(job, spec, outcome)
        except Exception as error:  # a fault of ours must end the job, not hang it
            outcome = TaskFailure(key, failure_of(error))
        del self._held[key]
        if isinstance(outcome, TaskReport):
            self._step(SuccessRow(worker=WORKER, epoch=_EPOCH, report=outcome))
        else:
            self._drop_kept(job, outcome.failure)
            self._step(FailureRow(worker=WORKER, epoch=_EPOCH, report=outcome))

    async def _keep_for_later(self, job: _Job, spec: TaskSpec, report: TaskReport) -> None:
        """Keep the block of a cached node."""
        if self._cache is not None and spec.keep is not None:
            self._cache.missed()
            block = job.store.path_of(spec.key.block_id)
            # The task is done: nothing that is only for later may harm it.
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._cache.put, spec.keep, report.block, block)

    def _keep(self, job: _Job, report: TaskReport) -> None:
        """Remember a report that was accepted."""
        job.reports[report.key] = report

    def _drop_kept(self, job: _Job, failure: Failure) -> None:
        """Let a kept block go that could not be read: no other job shall try."""
        found = job.found.get(failure.key) if isinstance(failure, FetchFailed) else None
        if found is not None and self._cache is not None:
            self._cache.drop([found.kept])

    def _source(self, job: _Job, ref: c.BlockRef) -> BlockSource:
        found = job.found.get(ref.key)
        if found is not None and self._cache is not None:
            return block_source(
                ref,
                found.meta,
                host=host_identity(),
                directory=str(self._cache.directory),
                kept=found.kept,
            )
        return block_source(
            ref,
            job.reports[ref.key].block,
            host=host_identity(),
            directory=str(job.store.directory),
        )

    def _finish(self, command: c.FinishJob) -> None:
        job = self._jobs[command.job]
        if command.status is not c.JobStatus.SUCCEEDED:
            discard(command.job, job.directories.values(), root=self._root())
        blocks: dict[int, list[BlockSource]] = {}
        for ref in command.results:
            blocks.setdefault(ref.key.stage, []).append(self._source(job, ref))
        if not job.finished.done():
            job.finished.set_result(Finished(job.record, command, blocks))

    async def _commit(self, job: str, keys: tuple[TaskKey, ...]) -> None:
        known = self._jobs[job]
        files = {key: report.sink for key, report in known.reports.items()}
        manifests = manifests_of(known.record.graph, known.directories, keys, files)
        ended: e.Event = e.JobCommitted(job)
        try:
            await asyncio.to_thread(publish, job, known.record.graph, manifests, root=self._root())
        except Exception as error:  # whatever it is, the job has failed by it
            ended = e.JobCommitFailed(job, commit_failure(error))
        self._step(ended)

    def _root(self) -> Path | None:
        return None if self._data_root is None else Path(self._data_root)

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
        # The only worker is this process: whoever asks whether it lives is told so first.
        self._step(e.WorkerHeartbeat(WORKER, _EPOCH, tuple(self._held)))
        self._step(e.TimerFired())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
