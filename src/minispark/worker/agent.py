"""The loops of a worker: IO around its `Machine`.

Four loops live as long as an epoch: poll, report, heartbeat, leave. When the master says "register
again", all of them end, what runs is cancelled, and a new epoch begins.

A worker that drains says so and continues: what runs ends, other workers fetch its blocks, and when
the master dismisses it, or does not answer any more, `run` returns.

Each message may be lost, and so may its answer. Reports are sent until they are answered (the
master drops duplicates); a poll reply that never arrives is noticed by the master from the attempts
in the heartbeat. Nothing that a job leaves or reports ends a loop: a clean-up that fails is logged
(`cleanup`), and a report that the master refuses becomes a failure of its task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import replace
from typing import TypeVar

from minispark import errors
from minispark.blocks.cache import BlockCache
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.store import BlockStore
from minispark.clock import monotonic_s
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.task.spec import FragmentKey, TaskFailure, TaskReport, TaskSpec
from minispark.wire import messages
from minispark.worker import machine
from minispark.worker.cache_sync import CacheSync
from minispark.worker.capacity import CapacityGate
from minispark.worker.cleanup import discard_staged, log_errors
from minispark.worker.executors import Executors
from minispark.worker.fragments import Fragments
from minispark.worker.migration import BlockMigrator
from minispark.worker.report_queue import ReportQueue
from minispark.worker.rpc import Backoff, MasterRpc, RegisterAgain, ReportRefusedError
from minispark.worker.settings import WorkerConfig
from minispark.worker.worker_metrics import WorkerMetrics

_SHORT_EPOCH_S = 5.0
"""After an epoch shorter than this the worker pauses before it registers again."""
_UNANSWERED_S = 5.0
"""A draining worker leaves after this time and a heartbeat's without an answer: its master has
ended too, and no worker can take its blocks."""

_log = logger("worker")

Measured = TypeVar("Measured")


class _MayLeave(Exception):  # noqa: N818 - the end of a drain, not a mistake
    """The master has dismissed this worker, or does not answer."""


class Agent:
    """Registers, and does what the master says until it is stopped."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        rpc: MasterRpc,
        executors: Executors,
        store: BlockStore,
        fetch: FetchSettings,
        capacity: CapacityGate,
        register: messages.RegisterRequest,
        on_registered: Callable[[], None],
        cache: BlockCache | None = None,
    ) -> None:
        self._config = config
        self._rpc = rpc
        self._executors = executors
        self._store = store
        self._capacity = capacity
        self._full: messages.Full | None = None
        self._register = register
        self._on_registered = on_registered
        self.machine = machine.Machine(config.slots)
        self.worker_metrics = WorkerMetrics()
        self._reports = ReportQueue(self.machine.queue_counts)
        self._received_s: dict[TaskKey, float] = {}
        """When the attempts arrived that have not ended, monotonic."""
        self._staged: dict[TaskKey, TaskSpec] = {}
        """Attempts with a staged file, until their job is released."""
        self._migrator = BlockMigrator(store, fetch, on_moved=self._reports.add_moved)
        self._cache_sync = CacheSync(cache)
        self._fragments = Fragments(self._request_fragment, is_wanted=self.machine.is_wanted)
        self._draining = asyncio.Event()
        self._unmeasured: set[str] = set()
        """Measurements that failed for the last heartbeat."""
        self._answered_s = 0.0
        """When the master last answered, monotonic."""
        self._background: set[asyncio.Task[None]] = set()
        self._member: messages.Membership | None = None

    async def run(self) -> None:
        """Serve epoch after epoch, until the worker may leave; or until an error or a cancel."""
        backoff, began_s = Backoff(), monotonic_s()
        while not self._draining.is_set():
            if monotonic_s() - began_s > _SHORT_EPOCH_S:
                backoff.reset()
            elif self._member is not None:
                await asyncio.sleep(backoff.next_s())
            member = self._member = await self._begin_epoch()
            began_s = monotonic_s()
            try:
                async with asyncio.TaskGroup() as loops:
                    loops.create_task(self._poll(member))
                    loops.create_task(self._report(member))
                    loops.create_task(self._heartbeat(member))
                    loops.create_task(self._leave(member))
            except* RegisterAgain:
                _log.warning("register_again", epoch=member.epoch)
            except* _MayLeave:
                _log.info("may_leave", epoch=member.epoch)
            if not self._draining.is_set():
                self._carry_out(machine.Unregistered())

    def drain(self) -> bool:
        """Begin to leave; False if the master does not know this worker, which may go at once."""
        self._draining.set()
        return self.machine.epoch is not None

    async def close(self) -> None:
        """Tell the master that this worker leaves, and end what runs; others run the attempts."""
        if self._member is not None and self.machine.epoch is not None:
            try:
                await self._rpc.leave(self._member)
            except (errors.MinisparkError, RegisterAgain) as error:
                _log.info("goodbye_failed", reason=errors.sentence_of(error))
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, self._migrator.stop(), return_exceptions=True)
        await self._executors.close()
        await self._rpc.close()

    def metrics(self) -> dict[str, float]:
        """Return the metrics for `/metrics` and the heartbeat."""
        active = {"active_tasks": float(len(self.machine.attempts))}
        return {**active, **self.worker_metrics.measure(), **self._cache_sync.metrics()}

    def _measure(self, what: str, measure: Callable[[], Measured], default: Measured) -> Measured:
        """Return a measurement, the default if it fails: a heartbeat must not depend on it."""
        try:
            value = measure()
        except Exception as error:
            if what not in self._unmeasured:
                _log.warning("not_measured", what=what, reason=f"{type(error).__name__}: {error}")
            self._unmeasured.add(what)
            return default
        self._unmeasured.discard(what)
        return value

    async def _begin_epoch(self) -> messages.Membership:
        backoff = Backoff()
        while True:
            try:
                member = (await self._rpc.register(self._register)).member
                break
            except errors.MasterUnreachableError as error:
                if backoff.tries == 0:
                    _log.warning(
                        "waiting_for_master", url=self._rpc.url, reason=errors.sentence_of(error)
                    )
                await asyncio.sleep(backoff.next_s())
        if self._member is not None and self._member.cluster_id != member.cluster_id:
            self._cache_sync.clear()
            with log_errors("cleanup_failed", "blocks of another cluster"):
                self._store.sweep()
        # What the attempts left stays until the master releases it: it may have their reports, and
        # only its answer was lost.
        self._reports.clear()
        self._fragments.clear()
        self._answered_s = monotonic_s()
        self._carry_out(machine.Registered(member.epoch))
        _log.info("registered", master=self._rpc.url, epoch=member.epoch, slots=self.machine.slots)
        self._on_registered()
        return member

    async def _poll(self, member: messages.Membership) -> None:
        backoff, url = Backoff(), self._rpc.url
        while True:
            try:
                reply = await self._rpc.poll(member, self._config.poll_s)
            except errors.MasterUnreachableError as error:
                # Logged once, not at each try.
                if backoff.tries == 0:
                    _log.warning(
                        "master_does_not_answer", url=url, reason=errors.sentence_of(error)
                    )
                await asyncio.sleep(backoff.next_s())
                continue
            if backoff.tries > 0:
                _log.info("master_answers_again", url=url)
                backoff.reset()
            self._apply_reply(reply)

    def _apply_reply(self, reply: messages.PollReply) -> None:
        # Cancels first: they free slots for the tasks of the same reply.
        if reply.cancel:
            self._carry_out(machine.CancelAsked(reply.cancel))
        self._fragments.add(reply.fragments)
        self._migrator.add(reply.move)
        self._cache_sync.apply(reply)
        if reply.tasks:
            self._carry_out(machine.Dispatched(tuple(self._localize(spec) for spec in reply.tasks)))
            known, now = self._received_s, monotonic_s()
            self._received_s = {key: known.get(key, now) for key in self.machine.attempts}
        if reply.release:
            self._discard([TaskKey.parse(block_id) for block_id in reply.release])
        for job in reply.release_jobs:
            self._release(job)
        if reply.dismissed and self._draining.is_set():
            raise _MayLeave

    async def _request_fragment(self, key: FragmentKey) -> messages.Fragment | None:
        assert self._member is not None  # noqa: S101 - tasks come after the registration
        return (await self._rpc.fragment(self._member, key)).fragment

    def _localize(self, spec: TaskSpec) -> TaskSpec:
        root = self._config.data_root
        limit_s = self._config.task_timeout_s
        return replace(
            spec,
            block_directory=str(self._store.directory),
            data_root=None if root is None else str(root),
            timeout_s=limit_s if spec.timeout_s is None else spec.timeout_s,
        )

    async def _report(self, member: messages.Membership) -> None:
        backoff = Backoff()
        while True:
            outcomes, moved = await self._reports.next()
            changes = await self._cache_sync.changes()
            request = messages.ReportRequest(
                member=member,
                reports=tuple(outcomes),
                moved=tuple(moved),
                cache=changes,
                more=True,
            )
            try:
                reply = await self._rpc.report(request)
            except errors.MasterUnreachableError:
                await asyncio.sleep(backoff.next_s())
                continue
            except ReportRefusedError as error:
                self._reports.refused(len(outcomes), error)
                continue
            backoff.reset()
            self._reports.confirm(len(outcomes), len(moved))
            self._cache_sync.confirm(reply.cache_version)
            self._apply_reply(reply)

    async def _heartbeat(self, member: messages.Membership) -> None:
        # Blocks are written to the disk: a worker that cannot read its disk must get no work.
        unread: tuple[messages.Full | None, dict[str, float]] = ("disk", {})
        no_files: frozenset[str] = frozenset()
        while True:
            full, sizes = await asyncio.to_thread(
                self._measure, "room", self._capacity.read, unread
            )
            if full != self._full:
                _log.warning("worker_full" if full else "worker_has_room", what=full or self._full)
            self._full = full
            await self._cache_sync.make_room()
            files = await asyncio.to_thread(
                self._measure, "block files", self._store.names, no_files
            )
            try:
                heartbeat = messages.HeartbeatRequest(
                    member=member,
                    # With unsent reports: the master must not take their attempts for lost.
                    attempts=(*self.machine.attempts, *self._reports.attempts),
                    metrics={**self._measure("figures", self.metrics, {}), **sizes},
                    held_jobs=self._held_jobs(files),
                    cache=await self._cache_sync.changes(),
                    full=full,
                    progress=self._measure("progress", self._executors.progress, ()),
                )
                reply = await self._rpc.heartbeat(heartbeat)
            except errors.MasterUnreachableError as error:
                _log.debug("heartbeat_not_answered", reason=errors.sentence_of(error))
            else:
                self._answered_s = monotonic_s()
                self._cache_sync.confirm(reply.cache_version)
                for job, block_ids in reply.keep.items():
                    keep = [TaskKey.parse(block_id) for block_id in block_ids]
                    # Only files from before the heartbeat: the answer knows no later ones.
                    self._release(job, keep, among=files)
            await asyncio.sleep(self._config.heartbeat_s)

    async def _leave(self, member: messages.Membership) -> None:
        """Once the worker drains, tell the master until it answers; then wait to be dismissed."""
        await self._draining.wait()
        backoff = Backoff()
        limit_s = _UNANSWERED_S + self._config.heartbeat_s
        announced = False
        while monotonic_s() < self._answered_s + limit_s:
            if not announced:
                with contextlib.suppress(errors.MasterUnreachableError):
                    await self._rpc.drain(member)
                    announced, self._answered_s = True, monotonic_s()
            await asyncio.sleep(backoff.next_s())
        _log.warning("no_master_to_leave", url=self._rpc.url)
        raise _MayLeave

    def _release(
        self, job: str, keep: Collection[TaskKey] = (), among: frozenset[str] | None = None
    ) -> None:
        """Delete the blocks and files of an ended job, except blocks to ``keep``.

        If given, only the block files ``among``.
        """
        self._fragments.release(job)
        with log_errors("cleanup_failed", "blocks", job=job):
            self._store.delete_job(job, keep=keep, among=among)
        self._discard(key for key in tuple(self._staged) if key.job == job and key not in keep)

    def _held_jobs(self, files: frozenset[str]) -> tuple[str, ...]:
        """Return the jobs of which this worker has blocks, staged files or fragments."""
        blocks = {name.partition(".")[0] for name in files}
        return tuple(sorted(blocks | {key.job for key in self._staged} | self._fragments.jobs))

    def _carry_out(self, event: machine.Event) -> None:
        for command in self.machine.step(event):
            match command:
                case machine.Run(spec):
                    self.worker_metrics.started(spec.key.attempt)
                    self._spawn(self._attempt(spec))
                case machine.Stop(key):
                    self._spawn(self._executors.cancel(key))
                case machine.Report(outcome):
                    self._reports.add(outcome)
                case machine.Discard(key):
                    self._discard([key])

    async def _attempt(self, spec: TaskSpec) -> None:
        _log.debug("task_started", **task_fields(spec.key))
        received_s = self._received_s.get(spec.key, monotonic_s())
        try:
            fragment = await self._fragments.get(spec)
            outcome = (
                TaskFailure(spec.key, errors.Cancelled())
                if fragment is None
                else await self._executors.run(replace(spec, fragment=fragment))
            )
        except Exception as error:  # A fault of ours must not leave the attempt without a report.
            _log.exception("attempt_not_run", **task_fields(spec.key))
            outcome = TaskFailure(
                spec.key, errors.WorkerLost(f"{type(error).__name__}: {errors.sentence_of(error)}")
            )
        queued_s = max(0.0, monotonic_s() - received_s - outcome.duration_s)
        outcome = replace(outcome, queued_s=round(queued_s, 6))
        self.worker_metrics.ended(outcome)
        _log_end(outcome)
        await self._cache_sync.keep(spec, outcome)
        if isinstance(outcome, TaskReport) and outcome.sink is not None:
            self._staged[spec.key] = spec
        self._carry_out(machine.Ended(outcome))

    def _discard(self, keys: Iterable[TaskKey]) -> None:
        """Delete blocks, and staged files that are not published."""
        discarded = tuple(keys)
        with log_errors("cleanup_failed", "blocks"):
            self._store.delete(discarded)
        for key in discarded:
            spec = self._staged.pop(key, None)
            if spec is not None:
                discard_staged(spec)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _log_end(outcome: TaskReport | TaskFailure) -> None:
    fields = {"duration_s": round(outcome.duration_s, 6), **task_fields(outcome.key)}
    if isinstance(outcome, TaskReport):
        _log.debug("task_ended", rows=outcome.block.rows, **fields)
    elif isinstance(outcome.failure, errors.Cancelled):
        _log.debug("task_cancelled", **fields)
    else:
        _log.warning("task_failed", kind=outcome.failure.kind, **fields)
