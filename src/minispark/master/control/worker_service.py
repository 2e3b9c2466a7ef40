"""The requests of workers: registrations, heartbeats, reports, drains."""

from __future__ import annotations

import re

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo, TaskError
from minispark.ids import TaskKey
from minispark.journal.rows import FailureRow, Registration, SuccessRow
from minispark.logs import logger
from minispark.master.control.components import Components
from minispark.master.control.registry import WorkerSession
from minispark.master.jobs.finished_job import moved_outcome
from minispark.master.views.job_reader import update_wait_reasons
from minispark.plan.hashing import hash_vector
from minispark.plan.stages import StageGraph
from minispark.scheduler import events
from minispark.specs import fragment
from minispark.task.spec import FragmentKey, TaskFailure, TaskReport
from minispark.wire.http import RefusedError, compare_versions, versions
from minispark.wire.messages import Fragment, HeartbeatRequest, Membership, RegisterRequest

_CLEANUP_EVERY_S = 30.0
"""A reply may be lost, so the list of blocks to keep of a job is sent again."""
_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORKER_URL = re.compile(r"https?://[^\s/@?#]+/?")

_log = logger("master")


class WorkerService:
    """Handles registrations, heartbeats and reports."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._jobs = components.jobs
        self._registry = components.registry
        self._loop = components.loop

    def register(self, request: RegisterRequest) -> WorkerSession:
        """Begin a session of a worker.

        Raises
        ------
        RefusedError
            It runs other versions, its CPU hashes differently (equal keys would not meet), or
            another worker has taken its address.
        """
        self._loop.require_writable()
        _check_worker(request)
        self._settle_address(request)
        registration = Registration.of(request, self._registry.next_epoch())
        session = self._registry.register(registration, now=monotonic_s())
        worker, epoch = session.worker_id, session.epoch
        _log.info("worker_registered", worker=worker, epoch=epoch, url=session.url)
        self._loop.handle(registration)
        update_wait_reasons(self._components)
        return session

    def current(self, worker: str, member: Membership) -> WorkerSession | None:
        """Return the session that a message belongs to, None if it has ended."""
        if member.cluster_id != self._components.identity.cluster_id:
            return None
        return self._registry.current(worker, member.epoch)

    def fragment(self, key: FragmentKey) -> Fragment | None:
        """Return a fragment of a running job, None if there is none."""
        live = self._jobs.live.get(key.job)
        try:
            return None if live is None else Fragment(key=key, data=fragment(live.graph, key))
        except KeyError:
            return None

    def heartbeat(
        self, session: WorkerSession, request: HeartbeatRequest
    ) -> dict[str, tuple[str, ...]]:
        """Take a sign of life; return by finished job which blocks the worker must keep."""
        session.seen_at = monotonic_s()
        session.metrics = dict(request.metrics)
        session.update_cache(request.cache)
        self._components.guard.run(
            "progress", self._jobs.note_progress, session.worker_id, request.progress
        )
        changed, session.full = session.full != request.full, request.full
        worker, epoch = session.worker_id, session.epoch
        held = tuple(job for job in request.held_jobs if not self._has_results(session, job))
        self._loop.handle(
            events.WorkerHeartbeat(worker, epoch, request.attempts, held, request.full)
        )
        if changed:
            update_wait_reasons(self._components)
        return self._blocks_to_keep(session, request.held_jobs)

    def drain(self, session: WorkerSession) -> None:
        """Give a worker no more work, and have its blocks moved to others."""
        self._loop.require_writable()
        if session.status != "DRAINING":
            session.status = "DRAINING"
            _log.info("worker_draining", worker=session.worker_id)
            update_wait_reasons(self._components)
        self._loop.handle(events.WorkerDraining(session.worker_id, session.epoch))

    def moved(self, session: WorkerSession, keys: tuple[TaskKey, ...]) -> None:
        """Note that a worker has blocks that another worker had."""
        worker = session.worker_id
        self._loop.handle(events.BlocksMoved(worker, session.epoch, keys))
        holder = self._components.scheduler.state.workers.get(worker)
        held = {key for key in keys if holder is not None and holder.holds(key)}
        for job in dict.fromkeys(key.job for key in keys if key in held):
            if job in self._jobs.ended:
                outcome = moved_outcome(self._jobs.ended[job], held, session.registration)
                self._jobs.ended[job] = outcome
                at = outcome.view.finished_at or wall_s()
                status = outcome.view.status.value
                self._components.journal.job_ended(job, outcome, status=status, at=at)

    def leave(self, session: WorkerSession) -> None:
        """End a session that its worker ends."""
        self._loop.require_writable()
        self._loop.handle(events.WorkerLeft(session.worker_id, session.epoch))

    def report(self, session: WorkerSession, report: TaskReport | TaskFailure) -> None:
        """Take the end of an attempt; the scheduler drops a report that it does not wait for."""
        session.leased.discard(report.key)
        if isinstance(report, TaskReport):
            live = self._jobs.live.get(report.key.job)
            misfit = None if live is None else _misfit(live.graph, report)
            if misfit is not None:
                report = TaskFailure(report.key, TaskError(misfit), report.inputs)
        worker, epoch = session.worker_id, session.epoch
        if isinstance(report, TaskReport):
            self._loop.handle(SuccessRow(worker=worker, epoch=epoch, report=report))
        else:
            self._loop.handle(FailureRow(worker=worker, epoch=epoch, report=report))

    def _settle_address(self, request: RegisterRequest) -> None:
        """Let only one worker be at an address: the last one that came there.

        A new worker at the address of one that is UP is a restart on the same port. The worker
        that it displaced is refused while the new one is there: else they would displace each
        other for ever.
        """
        here, old = self._registry.at(request.url), self._registry.get(request.worker_id)
        if here is None or here.worker_id == request.worker_id:
            return
        if old is not None and old.status == "DOWN" and old.epoch < here.epoch:
            message = f"the worker {here.worker_id} has taken the address {request.url}"
            hint = f"Start {request.worker_id} with another --port, or stop {here.worker_id} first."
            raise RefusedError(409, ErrorInfo("MS-157", message, hint=hint))
        _log.warning("worker_displaced", worker=here.worker_id, by=request.worker_id, url=here.url)
        self._loop.handle(events.WorkerLeft(here.worker_id, here.epoch))
        self._registry.down(here.worker_id, here.epoch)

    def _blocks_to_keep(
        self, session: WorkerSession, held: tuple[str, ...]
    ) -> dict[str, tuple[str, ...]]:
        """Return the blocks of finished jobs on a worker that are results; the rest may go.

        The rest may be blocks of attempts whose end was never reported, and blocks whose deletion
        the worker did not hear of. While blocks move, results may still come.
        """
        now = monotonic_s()
        if any(other.status == "DRAINING" for other in self._registry.all()):
            return {}
        cleaned = {job: at for job, at in session.last_cleanup_s.items() if job in held}
        session.last_cleanup_s = cleaned
        keep: dict[str, tuple[str, ...]] = {}
        for job in held:
            due_s = cleaned.get(job, -_CLEANUP_EVERY_S) + _CLEANUP_EVERY_S
            if now >= due_s and (results := self._results_on(session, job)):
                cleaned[job] = now
                keep[job] = results
        return keep

    def _has_results(self, session: WorkerSession, job: str) -> bool:
        """Whether a worker has results of a job that only the job store knows.

        That is so after a restart that could not continue the scheduler.
        """
        if self._components.scheduler.job_status(job) is not None:
            return False
        return bool(self._results_on(session, job))

    def _results_on(self, session: WorkerSession, job: str) -> tuple[str, ...]:
        """Return the blocks on a worker that are results of a finished job."""
        outcome = self._jobs.ended.get(job)
        placed = () if outcome is None else outcome.placed
        return tuple(p.key.block_id for p in placed if p.worker == session.worker_id)


def _check_worker(request: RegisterRequest) -> None:
    if _WORKER_ID.fullmatch(request.worker_id) is None:
        msg = "a worker id is letters, digits, dots and dashes, at most 100"
        raise RefusedError(422, ErrorInfo("MS-151", msg, field="worker_id"))
    if _WORKER_URL.fullmatch(request.url) is None:
        msg = "a worker's url is http://HOST:PORT"
        raise RefusedError(422, ErrorInfo("MS-151", msg, field="url"))
    who = f"the worker {request.worker_id}"
    difference = compare_versions(versions(), request.versions, peer=who)
    if difference is not None:
        raise RefusedError(409, ErrorInfo("MS-150", difference))
    if request.hashes and request.hashes != hash_vector():
        msg = f"{who} hashes keys differently from its master: equal keys would not meet"
        hint = "All machines of a cluster need the same kind of CPU."
        raise RefusedError(409, ErrorInfo("MS-152", msg, hint=hint))


def _misfit(graph: StageGraph, report: TaskReport) -> ErrorInfo | None:
    """Return an error if a report lacks what readers of its block rely on."""
    stage = next((stage for stage in graph.stages if stage.id == report.key.stage), None)
    if stage is not None and len(report.block.partitions) == stage.output.partitions:
        return None
    return ErrorInfo("MS-217", "a worker reported a block that does not fit its stage")
