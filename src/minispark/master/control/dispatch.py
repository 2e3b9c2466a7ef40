"""Carries out the scheduler's commands: leases to workers, commits, the ends of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from minispark.blocks.meta import BlockSource
from minispark.journal.commits import commit_failure, discard, manifests_of, publish
from minispark.journal.rows import FailureRow, Manifest, Row, Submission
from minispark.logs import logger, task_fields
from minispark.master.control.components import Components
from minispark.master.jobs.finished_job import Ending, ResultLocation, node_results
from minispark.master.jobs.job_store import RunningJob
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    DismissWorker,
    FinishJob,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    ReportAccepted,
    ReportDropped,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import JobCommitFailed, JobCommitted
from minispark.specs import block_source, fragment, task_spec
from minispark.wire.messages import BlockFetch

_log = logger("master")


class CommandDispatcher:
    """One method per command."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts

    def carry_out(self, row: Row | None, commands: Sequence[Command]) -> None:
        """Do what follows from a durable row: note where its output is, then its commands."""
        if row is not None:
            self._take(row)
        for command in commands:
            self._carry_out(command)

    def _take(self, row: Row) -> None:
        parts, happening = self._parts, row.happening
        live = parts.jobs.live.get(row.job)
        if live is None:
            return
        live.take(row)
        if isinstance(happening, Submission):
            parts.use_cached(happening.found)
        elif isinstance(happening, FailureRow) and row.accepted:
            parts.drop_cached(live, happening.report.failure)

    def _carry_out(self, command: Command) -> None:
        match command:
            case LaunchTask():
                self._launch(command)
            case ReportAccepted() | ReportDropped():
                pass
            case CancelTask():
                self._cancel(command)
            case WorkerDown():
                self._parts.registry.down(command.worker, command.epoch)
            case CommitJob():
                self._commit(command)
            case FinishJob():
                self._finish(command)
            case _:
                self._tell_worker(command)

    def _tell_worker(
        self,
        command: ReleaseBlocks | ReleaseJob | MoveBlocks | DismissWorker | RequireRegistration,
    ) -> None:
        """Put into a worker's outbox what concerns nobody else."""
        entry = self._parts.registry.current(command.worker, command.epoch)
        if entry is None:
            return
        match command:
            case ReleaseBlocks():
                entry.outbox.release([key.block_id for key in command.keys])
            case ReleaseJob():
                entry.outbox.release_job(command.job)
            case MoveBlocks():
                entry.outbox.move([self._fetch(ref) for ref in command.blocks])
            case DismissWorker():
                entry.outbox.dismiss()
            case RequireRegistration():
                entry.outbox.register_again()
            case _:
                assert_never(command)

    def _launch(self, command: LaunchTask) -> None:
        parts, key = self._parts, command.key
        entry = parts.registry.current(command.worker, command.epoch)
        live = parts.jobs.live.get(key.job)
        if entry is None or live is None:
            return
        entry.leased.add(key)
        task = task_spec(live.graph, command, self._source)
        entry.outbox.launch(task, fragment(live.graph, task.fragment_key))
        _log.debug("task_launched", worker=entry.worker_id, **task_fields(key))

    def _source(self, ref: BlockRef) -> BlockSource:
        live = self._parts.jobs.live[ref.key.job]
        entry = self._parts.registry.get(ref.worker)
        return block_source(
            ref,
            live.blocks[ref.key],
            # Of a worker that is long gone nothing is known: the reader says that it is lost.
            host="" if entry is None else entry.host,
            directory="" if entry is None else entry.directory,
            url=None if entry is None else entry.url,
            kept=live.kept(ref.key, ref.worker),
        )

    def _cancel(self, command: CancelTask) -> None:
        entry = self._parts.registry.current(command.worker, command.epoch)
        if entry is not None:
            entry.leased.discard(command.key)
            entry.outbox.cancel(command.key)

    def _fetch(self, ref: BlockRef) -> BlockFetch:
        """Say where a whole block file lies that another worker shall have."""
        holder = self._parts.registry.get(ref.worker)
        live = self._parts.jobs.live.get(ref.key.job)
        ends = (part.offset + part.length for part in self._parts.jobs.partitions(ref.key))
        return BlockFetch(
            key=ref.key,
            host="" if holder is None else holder.host,
            directory="" if holder is None else holder.directory,
            url="" if holder is None else holder.url,
            bytes=max(ends, default=0),
            kept=None if live is None else live.kept(ref.key, ref.worker),
        )

    def _commit(self, command: CommitJob) -> None:
        parts = self._parts
        live = parts.jobs.live[command.job]
        manifests = live.manifests
        if manifests is None:  # Else an earlier life of the master began to publish them.
            manifests = manifests_of(live.graph, live.directories, command.sinks, live.files)
            parts.journal_writer.commit(command.job, manifests)
        found = live.manifests = manifests
        parts.loop.after_durable(lambda: parts.spawn(self._publish(live, found)))

    async def _publish(self, live: RunningJob, manifests: list[Manifest]) -> None:
        parts, job = self._parts, live.job_id
        try:
            root = parts.config.data_root
            live.sinks = await asyncio.to_thread(publish, job, live.graph, manifests, root=root)
        # Whatever the disk says is the job's failure, not the master's.
        except Exception as error:
            _log.warning("commit_failed", job=job, reason=str(error))
            parts.loop.handle(JobCommitFailed(job, commit_failure(error)))
        else:
            parts.journal_writer.published(job, live.sinks)
            parts.loop.handle(JobCommitted(job))

    async def _clear(self, job: str, directories: list[Path]) -> None:
        """Remove what a job has staged and will not publish."""
        root = self._parts.config.data_root
        await asyncio.to_thread(discard, job, directories, root=root)
        self._parts.journal.job_cleared(job)

    def _finish(self, command: FinishJob) -> None:
        parts = self._parts
        live = parts.jobs.live[command.job]
        sources = {ref: self._source(ref) for ref in command.results}
        live.ending = Ending(
            command,
            results=node_results(live.graph, command.results, sources),
            sinks=live.sinks,
            placed=[ResultLocation(worker=ref.worker, key=ref.key) for ref in command.results],
        )
        parts.registry.job_ended(command.job)
        if live.directories:
            parts.spawn(self._clear(command.job, list(live.directories.values())))
