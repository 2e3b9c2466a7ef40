"""Carries out the scheduler's commands: leases to workers, commits, the ends of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

from minispark.blocks.meta import BlockSource
from minispark.errors import FetchFailed, sentence_of
from minispark.journal.commits import commit_failure, discard, manifests_of, publish
from minispark.journal.rows import FailureRow, Manifest, Registration, Row, Submission
from minispark.logs import logger, task_fields
from minispark.master.control.components import Components
from minispark.master.jobs.finished_job import Ending, ResultLocation, node_results
from minispark.master.jobs.job_store import RunningJob
from minispark.scheduler import commands
from minispark.scheduler.events import JobCommitFailed, JobCommitted
from minispark.specs import block_source, fragment, task_spec
from minispark.wire.messages import BlockFetch

_UNKNOWN = Registration(worker="", epoch=0, slots=0, url="", host="", directory="")
"""Address of a worker that is not known any more: tasks find that its blocks are lost."""

_log = logger("master")


class CommandDispatcher:
    """One method per command."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._registry = components.registry
        self._jobs = components.jobs

    def carry_out(self, row: Row | None, decided: Sequence[commands.Command]) -> None:
        """Act on a durable row: note where its output is, then carry out its commands."""
        if row is not None:
            self._take(row)
        for command in decided:
            self._carry_out(command)

    def _take(self, row: Row) -> None:
        happening, live = row.happening, self._jobs.live.get(row.job)
        if live is None:
            return
        live.take(row)
        if isinstance(happening, Submission):
            self._registry.use_cached(happening.found)
        elif isinstance(happening, FailureRow) and row.accepted:
            failure = happening.report.failure
            hit = live.cache_hits.get(failure.key) if isinstance(failure, FetchFailed) else None
            if hit is not None:
                self._registry.drop_cached(hit)

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.LaunchTask():
                self._launch(command)
            case commands.ReportAccepted() | commands.ReportDropped():
                pass
            case commands.CancelTask():
                self._cancel(command)
            case commands.WorkerDown():
                self._registry.down(command.worker, command.epoch)
            case commands.CommitJob():
                self._commit(command)
            case commands.FinishJob():
                self._finish(command)
            case _:
                self._send(command)

    def _send(
        self,
        command: commands.ReleaseBlocks
        | commands.ReleaseJob
        | commands.MoveBlocks
        | commands.DismissWorker
        | commands.RequireRegistration,
    ) -> None:
        """Put a command that only its worker acts on into the outbox of that worker."""
        session = self._registry.current(command.worker, command.epoch)
        if session is None:
            return
        match command:
            case commands.ReleaseBlocks():
                session.outbox.release([key.block_id for key in command.keys])
            case commands.ReleaseJob():
                session.outbox.release_job(command.job)
            case commands.MoveBlocks():
                session.outbox.move([self._block_fetch(ref) for ref in command.blocks])
            case commands.DismissWorker():
                session.outbox.dismiss()
            case commands.RequireRegistration():
                session.outbox.register_again()
            case _:
                assert_never(command)

    def _launch(self, command: commands.LaunchTask) -> None:
        key = command.key
        session = self._registry.current(command.worker, command.epoch)
        live = self._jobs.live.get(key.job)
        if session is None or live is None:
            return
        session.leased.add(key)
        task = task_spec(live.graph, command, self._block_source)
        session.outbox.launch(task, fragment(live.graph, task.fragment_key))
        _log.debug("task_launched", worker=session.worker_id, **task_fields(key))

    def _cancel(self, command: commands.CancelTask) -> None:
        session = self._registry.current(command.worker, command.epoch)
        if session is not None:
            session.leased.discard(command.key)
            session.outbox.cancel(command.key)

    def _holder(self, ref: commands.BlockRef) -> Registration:
        session = self._registry.get(ref.worker)
        return _UNKNOWN if session is None else session.registration

    def _block_source(self, ref: commands.BlockRef) -> BlockSource:
        live, holder = self._jobs.live[ref.key.job], self._holder(ref)
        return block_source(
            ref,
            live.blocks[ref.key],
            host=holder.host,
            directory=holder.directory,
            url=holder.url or None,
            kept=live.cached_name(ref.key, ref.worker),
        )

    def _block_fetch(self, ref: commands.BlockRef) -> BlockFetch:
        """Return where the whole block file is that another worker is to fetch."""
        live, holder = self._jobs.live.get(ref.key.job), self._holder(ref)
        ends = (part.offset + part.length for part in self._jobs.partitions(ref.key))
        return BlockFetch(
            key=ref.key,
            host=holder.host,
            directory=holder.directory,
            url=holder.url,
            bytes=max(ends, default=0),
            kept=None if live is None else live.cached_name(ref.key, ref.worker),
        )

    def _commit(self, command: commands.CommitJob) -> None:
        live, loop = self._jobs.live[command.job], self._components.loop
        if live.manifests is None:  # Else an earlier master began to publish them.
            live.manifests = manifests_of(live.graph, live.directories, command.sinks, live.files)
            self._components.journal_writer.commit(command.job, live.manifests)
        manifests = live.manifests
        loop.after_durable(lambda: loop.spawn(self._publish(live, manifests)))

    async def _publish(self, live: RunningJob, manifests: list[Manifest]) -> None:
        components, job = self._components, live.job_id
        try:
            run = partial(publish, job, live.graph, manifests, root=components.config.data_root)
            live.sinks = await asyncio.to_thread(run)
        # Whatever the disk says is a failure of the job, not of the master.
        except Exception as error:
            _log.warning("commit_failed", job=job, reason=sentence_of(error))
            components.loop.handle(JobCommitFailed(job, commit_failure(error)))
        else:
            components.journal_writer.published(job, live.sinks)
            components.loop.handle(JobCommitted(job))

    def _finish(self, command: commands.FinishJob) -> None:
        live = self._jobs.live[command.job]
        sources = {ref: self._block_source(ref) for ref in command.results}
        live.ending = Ending(
            command,
            results=node_results(live.graph, command.results, sources),
            sinks=live.sinks,
            placed=[ResultLocation(worker=ref.worker, key=ref.key) for ref in command.results],
        )
        self._registry.job_ended(command.job)
        if live.directories:
            discarding = self._discard_staged(command.job, list(live.directories.values()))
            self._components.loop.spawn(discarding)

    async def _discard_staged(self, job: str, directories: list[Path]) -> None:
        """Remove the staged files of a job that it will not publish."""
        root = self._components.config.data_root
        await asyncio.to_thread(discard, job, directories, root=root)
        self._components.journal.job_cleared(job)
