"""The loops of a worker: the shell around its `Machine`.

Four loops live as long as an epoch: poll, report, heartbeat, and the wish to leave. When the
master says "register again", all of them end, what runs is cancelled, and a new epoch begins.

A worker that shall leave (`drain`) says so and goes on: what runs ends, others fetch its blocks,
and when the master dismisses it, or answers nothing any more, `run` returns.

Each message may be lost, and so may its answer: reports are sent until answered (the master
drops what it has already), a poll reply that never arrives is found missing by the heartbeat's
list of attempts. Nothing that a job leaves or says ends a loop: a clean-up that fails is logged
(`cleanup`), and a report that the master cannot take becomes a failure of its task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
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
from minispark.worker.cleanup import clean_up, discard_staged
from minispark.worker.executors import Executors
from minispark.worker.fragments import Fragments
from minispark.worker.migration import BlockMigrator
from minispark.worker.report_queue import ReportQueue
from minispark.worker.rpc import Backoff, MasterRpc, Outage, RegisterAgain, ReportRefusedError
from minispark.worker.settings import WorkerConfig
from minispark.worker.worker_metrics import WorkerMetrics

_SHORT_EPOCH_S = 5.0
"""A master that takes a worker and does not know it so soon after is not asked without a pause."""
_UNHEARD_S = 5.0
"""A worker that wants to leave and gets no answer for so long, besides the time between two
heartbeats, goes: its master has ended too, and nobody can take its blocks."""

_log = logger("worker")


Answer = messages.PollReply | messages.FragmentReply | messages.WorkerReply
Reply = TypeVar("Reply", bound=Answer)
Measured = TypeVar("Measured")


class _MayLeave(Exception):  # noqa: N818 - what was wished for, not a mistake
    """Nothing here is needed, or there is nobody to ask."""


class Agent:
    """Registers, and does what the master says until it is stopped."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        link: MasterRpc,
        executors: Executors,
        store: BlockStore,
        fetch: FetchSettings,
        room: CapacityGate,
        register: messages.RegisterRequest,
        on_registered: Callable[[], None],
        cache: BlockCache | None = None,
    ) -> None:
        self._config = config
        self._link = link
        self._executors = executors
        self._store = store
        self._room = room
        self._full: messages.Full | None = None
        self._register = register
        self._on_registered = on_registered
        self.machine = machine.Machine(config.slots)
        self.vitals = WorkerMetrics()
        self._reports = ReportQueue(self.machine.in_line)
        self._staged: dict[TaskKey, TaskSpec] = {}
        """Attempts that staged a file for the commit of their job, until that is released."""
        self._mover = BlockMigrator(store, fetch, done=self._reports.has_moved)
        self._keeper = CacheSync(cache)
        self._fragments = Fragments(self._ask, is_wanted=self.machine.is_wanted)
        self._shall_leave = asyncio.Event()
        self._unmeasured: set[str] = set()
        """What could not be measured for the last heartbeat."""
        self._heard_s = 0.0
        """When the master last answered anything, monotonic."""
        self._work: set[asyncio.Task[None]] = set()
        self._master: messages.RegisterReply | None = None

    async def run(self) -> None:
        """Serve epoch after epoch, until it may leave; or end by an error or a cancel."""
        backoff, began_s = Backoff(), monotonic_s()
        while not self._shall_leave.is_set():
            if monotonic_s() - began_s > _SHORT_EPOCH_S:
                backoff.reset()
            elif self._master is not None:
                await asyncio.sleep(backoff.next_s())
            member = await self._begin_epoch()
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
            if not self._shall_leave.is_set():
                self._carry_out(machine.Unregistered())

    def drain(self) -> bool:
        """Begin to leave; False if the master does not know this worker: it may go at once."""
        self._shall_leave.set()
        return self.machine.epoch is not None

    async def close(self) -> None:
        """Say goodbye and end what runs. The master hands the attempts to others."""
        if self._master is not None and self.machine.epoch is not None:
            try:
                await self._link.leave(self._master.member)
            except (errors.MinisparkError, RegisterAgain) as error:
                _log.info("goodbye_not_heard", reason=str(error))
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, self._mover.stop(), return_exceptions=True)
        await self._executors.close()
        await self._link.close()

    def figures(self) -> dict[str, float]:
        """Return what `/metrics` and the heartbeat say."""
        active = {"active_tasks": float(len(self.machine.attempts))}
        return {**active, **self.vitals.measure(), **self._keeper.figures()}

    def _measured(self, what: str, measure: Callable[[], Measured], default: Measured) -> Measured:
        """Return what ``measure`` finds, else the default: a heartbeat must not depend on it."""
        try:
            found = measure()
        except Exception as error:
            if what not in self._unmeasured:
                _log.warning("not_measured", what=what, reason=f"{type(error).__name__}: {error}")
            self._unmeasured.add(what)
            return default
        self._unmeasured.discard(what)
        return found

    async def _begin_epoch(self) -> messages.Membership:
        backoff = Backoff()
        while True:
            try:
                reply = await self._link.register(self._register)
            except errors.MasterUnreachableError as error:
                if backoff.tries == 0:
                    _log.warning("waiting_for_master", url=self._link.url, reason=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            member = reply.member
            if member.cluster_id == self._cluster_id and self._is_older(reply):
                await asyncio.sleep(backoff.next_s())
                continue
            break
        if self._cluster_id not in (None, member.cluster_id):
            self._keeper.clear()
            clean_up("blocks of another cluster", self._store.sweep)
        self._master = reply
        # What they left stays until the master says of their jobs that it may go: perhaps it has
        # heard of them, and only its answer was lost.
        self._reports.clear()
        self._fragments.clear()
        self._heard_s = monotonic_s()
        self._carry_out(machine.Registered(member.epoch))
        _log.info("registered", master=self._link.url, epoch=member.epoch, slots=self.machine.slots)
        self._on_registered()
        return member

    @property
    def _cluster_id(self) -> str | None:
        return None if self._master is None else self._master.member.cluster_id

    def _is_older(self, reply: messages.RegisterReply | Answer) -> bool:
        """Whether a master speaks whose successor this worker has already met."""
        older = self._master is not None and reply.master_epoch < self._master.master_epoch
        if older:
            _log.error("older_master_refused", master_epoch=reply.master_epoch)
        return older

    def _check_master_epoch(self, reply: Reply) -> Reply:
        """Return an answer, if it is not that of a master whose successor is known."""
        if self._is_older(reply):
            msg = "an earlier life of the master answers"
            raise errors.MasterUnreachableError(msg)
        if self._master is not None and reply.master_epoch > self._master.master_epoch:
            update = {"master_epoch": reply.master_epoch}
            self._master = self._master.model_copy(update=update)
        return reply

    async def _poll(self, member: messages.Membership) -> None:
        trouble = Outage(self._link.url)
        while True:
            try:
                reply = self._check_master_epoch(await self._link.poll(member, self._config.poll_s))
            except errors.MasterUnreachableError as error:
                await trouble.pause(error)
                continue
            trouble.over()
            self._apply_reply(reply)

    def _apply_reply(self, reply: messages.PollReply) -> None:
        # Cancels first: they free slots for the tasks of the same reply.
        if reply.cancel:
            self._carry_out(machine.CancelAsked(reply.cancel))
        self._fragments.add(reply.fragments)
        self._mover.take(reply.move)
        self._keeper.obey(reply)
        if reply.tasks:
            self._carry_out(machine.Dispatched(tuple(self._localize(spec) for spec in reply.tasks)))
        if reply.release:
            self._discard(_keys(reply.release))
        for job in reply.release_jobs:
            self._fragments.release(job)
            clean_up("blocks", partial(self._store.delete_job, job), job=job)
            self._discard(key for key in tuple(self._staged) if key.job == job)
        if reply.dismissed and self._shall_leave.is_set():
            raise _MayLeave

    async def _ask(self, key: FragmentKey) -> messages.Fragment | None:
        assert self._master is not None  # noqa: S101 - tasks come after the registration
        return self._check_master_epoch(
            await self._link.fragment(self._master.member, key)
        ).fragment

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
            batch, moved = await self._reports.next()
            news = await self._keeper.news()
            request = messages.ReportRequest(
                member=member, reports=tuple(batch), moved=tuple(moved), cache=news, more=True
            )
            try:
                reply = self._check_master_epoch(await self._link.report(request))
            except errors.MasterUnreachableError:
                await asyncio.sleep(backoff.next_s())
                continue
            except ReportRefusedError as error:
                self._reports.refused(len(batch), error)
                continue
            backoff.reset()
            self._reports.confirmed(len(batch), len(moved))
            self._keeper.heard(reply.cache_version)
            self._apply_reply(reply)

    async def _heartbeat(self, member: messages.Membership) -> None:
        while True:
            # Blocks go to a disk: where that cannot be read, no more work should come.
            unread: tuple[messages.Full | None, dict[str, float]] = ("disk", {})
            full, figures = await asyncio.to_thread(self._measured, "room", self._room.ask, unread)
            if full != self._full:
                _log.warning("worker_full" if full else "worker_has_room", what=full or self._full)
            self._full = full
            await self._keeper.make_room()
            none: frozenset[str] = frozenset()
            files = await asyncio.to_thread(self._measured, "block files", self._store.names, none)
            try:
                beat = messages.HeartbeatRequest(
                    member=member,
                    # An unsent report is still ours to give: the master must not call it lost.
                    attempts=(*self.machine.attempts, *self._reports.attempts),
                    metrics={**self._measured("figures", self.figures, {}), **figures},
                    held_jobs=self._held_jobs(files),
                    cache=await self._keeper.news(),
                    full=full,
                )
                reply = self._check_master_epoch(await self._link.heartbeat(beat))
            except errors.MasterUnreachableError as error:
                _log.debug("heartbeat_not_answered", reason=str(error))
            else:
                self._heard_s = monotonic_s()
                self._keeper.heard(reply.cache_version)
                self._tidy(reply.keep, files)
            await asyncio.sleep(self._config.heartbeat_s)

    async def _leave(self, member: messages.Membership) -> None:
        """Once it shall leave: say so until that is answered, then wait to be dismissed."""
        await self._shall_leave.wait()
        backoff = Backoff()
        limit_s = _UNHEARD_S + self._config.heartbeat_s
        said = False
        while monotonic_s() < self._heard_s + limit_s:
            if not said:
                with contextlib.suppress(errors.MasterUnreachableError):
                    await self._link.drain(member)
                    said, self._heard_s = True, monotonic_s()
            await asyncio.sleep(backoff.next_s())
        _log.warning("no_master_to_leave", url=self._link.url)
        raise _MayLeave

    def _tidy(self, keep: Mapping[str, tuple[str, ...]], files: frozenset[str]) -> None:
        """Delete what nobody will read of jobs that have ended.

        Only of the files that were here before the heartbeat was sent: its answer knows no others.
        """
        for job, block_ids in keep.items():
            self._fragments.release(job)
            kept = _keys(block_ids)
            delete = partial(self._store.delete_job, job, keep=kept, among=files)
            clean_up("blocks", delete, job=job)
            self._discard(k for k in tuple(self._staged) if k.job == job and k not in kept)

    def _held_jobs(self, files: frozenset[str]) -> tuple[str, ...]:
        """Name the jobs of which anything is here, wanted or not."""
        blocks = {name.partition(".")[0] for name in files}
        return tuple(sorted(blocks | {key.job for key in self._staged} | self._fragments.jobs))

    def _carry_out(self, event: machine.Event) -> None:
        for command in self.machine.step(event):
            match command:
                case machine.Run(spec):
                    self.vitals.started(spec.key.attempt)
                    self._spawn(self._attempt(spec))
                case machine.Stop(key):
                    self._spawn(self._executors.cancel(key))
                case machine.Report(outcome):
                    self._reports.ended(outcome)
                case machine.Discard(key):
                    self._discard([key])

    async def _attempt(self, spec: TaskSpec) -> None:
        _log.debug("task_started", **task_fields(spec.key))
        try:
            fragment = await self._fragments.get(spec)
            outcome = (
                TaskFailure(spec.key, errors.Cancelled())
                if fragment is None
                else await self._executors.run(replace(spec, fragment=fragment))
            )
        except Exception as error:  # a fault of ours must not strand the attempt
            _log.exception("attempt_not_run", **task_fields(spec.key))
            outcome = TaskFailure(spec.key, errors.WorkerLost(f"{type(error).__name__}: {error}"))
        self.vitals.ended(outcome)
        _log_end(outcome)
        await self._keeper.keep(spec, outcome)
        if isinstance(outcome, TaskReport) and outcome.sink is not None:
            self._staged[spec.key] = spec
        self._carry_out(machine.Ended(outcome))

    def _discard(self, keys: Iterable[TaskKey]) -> None:
        """Delete what attempts have left that nobody wants: blocks, and files not published."""
        gone = tuple(keys)
        clean_up("blocks", partial(self._store.delete, gone))
        for key in gone:
            spec = self._staged.pop(key, None)
            if spec is not None:
                discard_staged(spec)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _keys(block_ids: Iterable[str]) -> list[TaskKey]:
    return [TaskKey.parse(block_id) for block_id in block_ids]


def _log_end(outcome: TaskReport | TaskFailure) -> None:
    took = {"duration_s": round(outcome.duration_s, 6), **task_fields(outcome.key)}
    if isinstance(outcome, TaskReport):
        _log.debug("task_ended", rows=outcome.block.rows, **took)
    elif isinstance(outcome.failure, errors.Cancelled):
        _log.debug("task_cancelled", **took)
    else:
        _log.warning("task_failed", kind=outcome.failure.kind, **took)
