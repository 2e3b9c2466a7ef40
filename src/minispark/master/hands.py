"""Carries out the scheduler's commands: leases to workers, commits, the ends of jobs."""

from __future__ import annotations

import asyncio

from minispark.blocks.meta import BlockSource
from minispark.clock import wall_s
from minispark.errors import Cancelled
from minispark.master.book import LiveJob
from minispark.master.commits import commit_failure, discard, manifests_of, publish
from minispark.master.diary import Manifest
from minispark.master.outcome import Outcome, Placed, node_results
from minispark.master.parts import Parts
from minispark.observe import block_source, task_spec
from minispark.observe.logs import logger, task_fields
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
            case ReleaseBlocks():
                self._release(command)
            case RequireRegistration():
                entry = self._parts.registry.current(command.worker, command.epoch)
                if entry is not None:
                    entry.outbox.register_again()
            case WorkerDown():
                self._worker_down(command)
            case CommitJob():
                self._commit(command)
            case FinishJob():
                self._finish(command)
            case ReleaseJob():
                entry = self._parts.registry.current(command.worker, command.epoch)
                if entry is not None:
                    entry.outbox.release_job(command.job)
            case MoveBlocks() | DismissWorker():
                msg = f"no worker asked for it: {command}"
                raise AssertionError(msg)

    def retain(self) -> None:
        """Let go of finished jobs beyond the number that is kept."""
        parts = self._parts
        for job, outcome in parts.book.surplus():
            if parts.scheduler.job_status(job) is None:
                self._release_restored(outcome)
            parts.carrier.feed(JobReleased(job))
            parts.journal.job_forgotten(job)
            parts.book.forget(job)

    def _launch(self, command: LaunchTask) -> None:
        parts, key = self._parts, command.key
        entry = parts.registry.current(command.worker, command.epoch)
        live = parts.book.live.get(key.job)
        if entry is None or live is None:
            return
        entry.leased.add(key)
        live.record.launched(key, entry.worker_id, wall_s())
        entry.outbox.launch(task_spec(live.record.graph, command, self._source))
        parts.book.changed(key.job)
        _log.debug("task_launched", worker=entry.worker_id, **task_fields(key))

    def _source(self, ref: BlockRef) -> BlockSource:
        live = self._parts.book.live[ref.key.job]
        entry = self._parts.registry.get(ref.worker)
        if entry is None:
            raise KeyError(ref.worker)
        return block_source(
            ref,
            live.blocks[ref.key],
            host=entry.host,
            directory=entry.directory,
            url=entry.url,
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

    def _release(self, command: ReleaseBlocks) -> None:
        entry = self._parts.registry.current(command.worker, command.epoch)
        if entry is not None:
            entry.outbox.release([key.block_id for key in command.keys])

    def _release_restored(self, outcome: Outcome) -> None:
        """Let blocks of a job go that the scheduler of this life never knew."""
        for placed in outcome.placed:
            entry = self._parts.registry.get(placed.worker)
            if entry is not None:
                entry.outbox.release([placed.key.block_id])

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
        manifests = manifests_of(graph, live.directories, command.sinks, live.files)
        parts.diary.commit(command.job, manifests)
        parts.carrier.after_durable(lambda: parts.aside(self._publish(live, manifests)))

    async def _publish(self, live: LiveJob, manifests: list[Manifest]) -> None:
        parts, job = self._parts, live.record.job_id
        try:
            live.sinks = await asyncio.to_thread(publish, job, live.record.graph, manifests)
        # Whatever the disk says is the job's failure, not the master's.
        except Exception as error:
            _log.warning("commit_failed", job=job, reason=str(error))
            parts.carrier.feed(JobCommitFailed(job, commit_failure(error)))
        else:
            parts.carrier.feed(JobCommitted(job))

    def _finish(self, command: FinishJob) -> None:
        parts, now = self._parts, wall_s()
        live = parts.book.live[command.job]
        failed = command.status is JobStatus.FAILED and command.failure is not None
        error = live.record.explain(command.failure) if failed and command.failure else None
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
        parts.carrier.after_durable(lambda: parts.book.changed(command.job))
        if command.status is not JobStatus.SUCCEEDED and live.directories:
            staged = list(live.directories.values())
            parts.aside(asyncio.to_thread(discard, command.job, staged))
        _log.info(
            "job_ended",
            job=command.job,
            status=command.status.value,
            duration_s=outcome.view.duration_s,
            error=None if error is None else error.message,
        )
        self.retain()
