"""Carries out the scheduler's commands: leases to workers, commits, the ends of jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import assert_never

from minispark.blocks.meta import BlockSource
from minispark.clock import wall_s
from minispark.errors import Cancelled
from minispark.journal.rows import Manifest
from minispark.master.book import LiveJob
from minispark.master.commits import commit_failure, discard, manifests_of, publish
from minispark.master.outcome import Outcome, Placed, node_results
from minispark.master.parts import Parts
from minispark.observe.logs import logger, task_fields
from minispark.observe.specs import block_source, fragment, task_spec
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import JobCommitFailed, JobCommitted, JobReleased
from minispark.wire.messages import BlockFetch

__all__ = ["Hands"]

_log = logger("master")


class Hands:
    """One method per command."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def carry_out(self, command: Command) -> None:
        """Do what the scheduler ordered."""
        match command:
            case LaunchTask():
                self._launch(command)
            case CancelTask():
                self._cancel(command)
            case WorkerDown():
                self._worker_down(command)
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

    def retain(self) -> None:
        """Let go of finished jobs beyond the number that is kept."""
        parts = self._parts
        for job in parts.book.surplus():
            parts.carrier.feed(JobReleased(job))
            parts.book.forget(job)
            parts.journal.job_forgotten(job, totals=parts.book.forgotten)

    def _launch(self, command: LaunchTask) -> None:
        parts, key = self._parts, command.key
        entry = parts.registry.current(command.worker, command.epoch)
        live = parts.book.live.get(key.job)
        if entry is None or live is None:
            return
        entry.leased.add(key)
        live.record.launched(key, entry.worker_id, wall_s(), speculative=command.speculative)
        task = task_spec(live.record.graph, command, self._source)
        entry.outbox.launch(task, fragment(live.record.graph, task.fragment_key))
        parts.book.changed(key.job)
        _log.debug("task_launched", worker=entry.worker_id, **task_fields(key))

    def _source(self, ref: BlockRef) -> BlockSource:
        live = self._parts.book.live[ref.key.job]
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
        parts, key = self._parts, command.key
        live = parts.book.live.get(key.job)
        if live is not None:
            live.record.failed(key, Cancelled(), command.worker, wall_s())
            parts.book.changed(key.job)
        entry = parts.registry.current(command.worker, command.epoch)
        if entry is not None:
            entry.leased.discard(key)
            entry.outbox.cancel(key)

    def _fetch(self, ref: BlockRef) -> BlockFetch:
        """Say where a whole block file lies that another worker shall have."""
        holder = self._parts.registry.get(ref.worker)
        live = self._parts.book.live.get(ref.key.job)
        ends = (part.offset + part.length for part in self._parts.book.partitions(ref.key))
        return BlockFetch(
            key=ref.key,
            host="" if holder is None else holder.host,
            directory="" if holder is None else holder.directory,
            url="" if holder is None else holder.url,
            bytes=max(ends, default=0),
            kept=None if live is None else live.kept(ref.key, ref.worker),
        )

    def _worker_down(self, command: WorkerDown) -> None:
        parts = self._parts
        _log.warning("worker_down", worker=command.worker, reason=command.reason)
        parts.registry.down(command.worker, command.epoch)
        for job, live in parts.book.live.items():
            live.record.worker_lost(command.worker, command.reason, wall_s())
            parts.book.changed(job)
        parts.tell_waiting()

    def _commit(self, command: CommitJob) -> None:
        parts = self._parts
        live = parts.book.live[command.job]
        graph = live.record.graph
        manifests = live.manifests
        if manifests is None:  # Else an earlier life of the master began to publish them.
            manifests = manifests_of(graph, live.directories, command.sinks, live.files)
            parts.diary.commit(command.job, manifests)
        found = live.manifests = manifests
        parts.carrier.after_durable(lambda: parts.aside(self._publish(live, found)))

    async def _publish(self, live: LiveJob, manifests: list[Manifest]) -> None:
        parts, job = self._parts, live.record.job_id
        try:
            root = parts.config.data_root
            live.sinks = await asyncio.to_thread(
                publish, job, live.record.graph, manifests, root=root
            )
        # Whatever the disk says is the job's failure, not the master's.
        except Exception as error:
            _log.warning("commit_failed", job=job, reason=str(error))
            parts.carrier.feed(JobCommitFailed(job, commit_failure(error)))
        else:
            parts.diary.published(job, live.sinks)
            parts.carrier.feed(JobCommitted(job))

    def _ended(self, live: LiveJob) -> None:
        self._parts.book.changed(live.record.job_id)
        self._parts.on_ended(live.record)

    async def _clear(self, job: str, directories: list[Path]) -> None:
        """Remove what a job has staged and will not publish."""
        root = self._parts.config.data_root
        await asyncio.to_thread(discard, job, directories, root=root)
        self._parts.journal.job_cleared(job)

    def _finish(self, command: FinishJob) -> None:
        parts, now = self._parts, wall_s()
        live = parts.book.live[command.job]
        failed = command.status is JobStatus.FAILED and command.failure is not None
        error = None
        if failed and command.failure is not None:
            error = live.record.explain(command.failure, command.key)
        live.record.finished(command.status, error, now)
        sources = {ref: self._source(ref) for ref in command.results}
        outcome = Outcome.of(
            live.record,
            results=node_results(live.record.graph, command.results, sources),
            sinks=live.sinks,
            placed=[Placed(worker=ref.worker, key=ref.key) for ref in command.results],
        )
        parts.book.end(outcome)
        parts.registry.job_ended(command.job)
        parts.journal.job_ended(command.job, outcome, status=command.status.value, at=now)
        parts.carrier.after_durable(lambda: self._ended(live))
        if live.directories:
            parts.aside(self._clear(command.job, list(live.directories.values())))
        _log.info(
            "job_ended",
            job=command.job,
            status=command.status.value,
            duration_s=outcome.view.duration_s,
            error=None if error is None else error.message,
        )
        self.retain()
