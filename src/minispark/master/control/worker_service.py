"""What workers say to the master."""

from __future__ import annotations

import re

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo, TaskError
from minispark.ids import TaskKey
from minispark.journal.rows import FailureRow, Registration, SuccessRow
from minispark.logs import logger
from minispark.master.control.components import Components
from minispark.master.control.registry import WorkerSession
from minispark.master.http.http_errors import RefusedError
from minispark.master.jobs.finished_job import moved_outcome
from minispark.plan.hashing import hash_vector
from minispark.plan.stages import StageGraph
from minispark.scheduler.events import (
    BlocksMoved,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
)
from minispark.specs import fragment
from minispark.task.spec import FragmentKey, TaskFailure, TaskReport
from minispark.wire.http import compare_versions, versions
from minispark.wire.messages import Fragment, HeartbeatRequest, Membership, RegisterRequest

_TIDY_AGAIN_S = 30.0
"""An answer may be lost, so what a worker shall keep of a job is said again."""
_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORKER_URL = re.compile(r"https?://[^\s/@?#]+/?")

_log = logger("master")


class WorkerService:
    """Takes in registrations, heartbeats and reports."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts

    def register(self, request: RegisterRequest) -> WorkerSession:
        """Begin a new life of a worker.

        Raises
        ------
        RefusedError
            It runs other versions, its CPU hashes differently (rows would go astray), or another
            worker has taken its address.
        """
        parts = self._parts
        parts.loop.require_writable()
        _check_worker(request)
        self._settle_address(request)
        known = Registration.of(request, parts.registry.next_epoch())
        entry = parts.registry.register(known, now=monotonic_s())
        _log.info("worker_registered", worker=entry.worker_id, epoch=entry.epoch, url=entry.url)
        parts.loop.handle(known)
        parts.update_wait_reasons()
        return entry

    def current(self, worker: str, member: Membership) -> WorkerSession | None:
        """Return a worker of this cluster that speaks under its current epoch; it lives."""
        if member.cluster_id != self._parts.identity.cluster_id:
            return None
        return self._parts.registry.current(worker, member.epoch)

    def fragment(self, key: FragmentKey) -> Fragment | None:
        """Return a fragment of a job that runs, None if there is none."""
        live = self._parts.jobs.live.get(key.job)
        try:
            return None if live is None else Fragment(key=key, data=fragment(live.graph, key))
        except KeyError:
            return None

    def heartbeat(
        self, entry: WorkerSession, request: HeartbeatRequest
    ) -> dict[str, tuple[str, ...]]:
        """Take a sign of life, and what the worker holds; return what it shall keep of jobs."""
        entry.seen_at = monotonic_s()
        entry.metrics = dict(request.metrics)
        entry.hear_of_cache(request.cache)
        changed, entry.full = entry.full != request.full, request.full
        held = tuple(job for job in request.held_jobs if not self._keeps(entry, job))
        event = WorkerHeartbeat(entry.worker_id, entry.epoch, request.attempts, held, request.full)
        self._parts.loop.handle(event)
        if changed:
            self._parts.update_wait_reasons()
        return self._keep(entry, request.held_jobs)

    def drain(self, entry: WorkerSession) -> None:
        """Give a worker no more work, and have its blocks moved to others."""
        self._parts.loop.require_writable()
        if entry.status != "DRAINING":
            entry.status = "DRAINING"
            _log.info("worker_draining", worker=entry.worker_id)
            self._parts.update_wait_reasons()
        self._parts.loop.handle(WorkerDraining(entry.worker_id, entry.epoch))

    def moved(self, entry: WorkerSession, keys: tuple[TaskKey, ...]) -> None:
        """Take note that a worker has blocks that another had."""
        parts = self._parts
        parts.loop.handle(BlocksMoved(entry.worker_id, entry.epoch, keys))
        for job in dict.fromkeys(key.job for key in keys):
            outcome = parts.jobs.ended.get(job)
            holder = parts.scheduler.state.workers.get(entry.worker_id)
            here = {key for key in keys if holder is not None and holder.holds(key)}
            if outcome is None or not here:
                continue
            new = moved_outcome(outcome, here, entry.known)
            parts.jobs.ended[job] = new
            at = new.view.finished_at or wall_s()
            parts.journal.job_ended(job, new, status=new.view.status.value, at=at)

    def leave(self, entry: WorkerSession) -> None:
        """Take a goodbye."""
        self._parts.loop.require_writable()
        self._parts.loop.handle(WorkerLeft(entry.worker_id, entry.epoch))

    def report(self, entry: WorkerSession, report: TaskReport | TaskFailure) -> None:
        """Take the end of an attempt; one that nobody waits for changes nothing."""
        entry.leased.discard(report.key)
        if isinstance(report, TaskReport):
            live = self._parts.jobs.live.get(report.key.job)
            wrong = None if live is None else _misfit(live.graph, report)
            if wrong is not None:
                report = TaskFailure(report.key, TaskError(wrong), report.inputs)
        evidence: SuccessRow | FailureRow
        if isinstance(report, TaskReport):
            evidence = SuccessRow(worker=entry.worker_id, epoch=entry.epoch, report=report)
        else:
            evidence = FailureRow(worker=entry.worker_id, epoch=entry.epoch, report=report)
        self._parts.loop.handle(evidence)

    def _settle_address(self, request: RegisterRequest) -> None:
        """Let one worker only be at an address: the one that came there last.

        A new worker at the address of one that is UP is a restart on the same port. The one that
        it displaced is not let back in while the other is there: they would displace each other
        for ever.
        """
        registry = self._parts.registry
        here, old = registry.at(request.url), registry.get(request.worker_id)
        if here is None or here.worker_id == request.worker_id:
            return
        if old is not None and old.status == "DOWN" and old.epoch < here.epoch:
            message = f"the worker {here.worker_id} has taken the address {request.url}"
            hint = f"Start {request.worker_id} with another --port, or stop {here.worker_id} first."
            raise RefusedError(409, ErrorInfo("MS-157", message, hint=hint))
        _log.warning("worker_displaced", worker=here.worker_id, by=request.worker_id, url=here.url)
        self._parts.loop.handle(WorkerLeft(here.worker_id, here.epoch))
        registry.down(here.worker_id, here.epoch)

    def _keep(self, entry: WorkerSession, held: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Name the results of ended jobs on a worker: what else it has of them may go.

        That may be blocks of attempts that ended while nobody heard of it, and those that it was
        told to delete when it did not listen. While blocks move, results may come.
        """
        registry, now = self._parts.registry, monotonic_s()
        if any(other.status == "DRAINING" for other in registry.all()):
            return {}
        ended = self._parts.jobs.ended
        entry.last_cleanup_s = {job: at for job, at in entry.last_cleanup_s.items() if job in held}
        keep: dict[str, tuple[str, ...]] = {}
        for job in held:
            outcome = ended.get(job)
            if (
                outcome is None
                or now < entry.last_cleanup_s.get(job, -_TIDY_AGAIN_S) + _TIDY_AGAIN_S
            ):
                continue
            here = [one.key.block_id for one in outcome.placed if one.worker == entry.worker_id]
            if here:
                entry.last_cleanup_s[job] = now
                keep[job] = tuple(here)
        return keep

    def _keeps(self, entry: WorkerSession, job: str) -> bool:
        """Whether a worker has results of a job that only the book knows.

        So it is where the master could not go on with its scheduler.
        """
        outcome = self._parts.jobs.ended.get(job)
        if outcome is None or self._parts.scheduler.job_status(job) is not None:
            return False
        return any(placed.worker == entry.worker_id for placed in outcome.placed)


def _check_worker(request: RegisterRequest) -> None:
    if _WORKER_ID.fullmatch(request.worker_id) is None:
        msg = "a worker id is letters, digits, dots and dashes, at most 100"
        raise RefusedError(422, ErrorInfo("MS-151", msg, field="worker_id"))
    if _WORKER_URL.fullmatch(request.url) is None:
        msg = "a worker's url is http://HOST:PORT"
        raise RefusedError(422, ErrorInfo("MS-151", msg, field="url"))
    who = f"the worker {request.worker_id}"
    differing = compare_versions(versions(), request.versions, who=who)
    if differing is not None:
        raise RefusedError(409, ErrorInfo("MS-150", differing))
    if request.hashes and request.hashes != hash_vector():
        msg = f"{who} hashes keys differently from its master: equal keys would not meet"
        hint = "All machines of a cluster need the same kind of CPU."
        raise RefusedError(409, ErrorInfo("MS-152", msg, hint=hint))


def _misfit(graph: StageGraph, report: TaskReport) -> ErrorInfo | None:
    """Say what a report lacks that readers of its block rely on."""
    stage = next((stage for stage in graph.stages if stage.id == report.key.stage), None)
    if stage is not None and len(report.block.partitions) == stage.output.partitions:
        return None
    return ErrorInfo("MS-217", "a worker reported a block that does not fit its stage")
