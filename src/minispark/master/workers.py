"""What workers say to the master."""

from __future__ import annotations

import re

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo, FetchFailed, TaskError
from minispark.master.answers import RefusedError
from minispark.master.parts import Parts
from minispark.master.registry import WorkerEntry
from minispark.observe.accepted import counts
from minispark.observe.logs import logger, task_fields
from minispark.plan.stages import StageGraph
from minispark.scheduler.events import (
    TaskFailed,
    TaskSucceeded,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.spec import Receipt
from minispark.task.hashing import hash_vector
from minispark.task.spec import TaskFailure, TaskReport
from minispark.wire.http import compare_versions, versions
from minispark.wire.messages import HeartbeatRequest, RegisterRequest

__all__ = ["WorkerDesk"]

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORKER_URL = re.compile(r"https?://[^\s/@?#]+/?")

_log = logger("master")


class WorkerDesk:
    """Takes in registrations, heartbeats and reports."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def register(self, request: RegisterRequest) -> WorkerEntry:
        """Begin a new life of a worker.

        Raises
        ------
        RefusedError
            It runs other versions, its CPU hashes differently (rows would go astray), or another
            worker has taken its address.
        """
        _check_worker(request)
        self._settle_address(request)
        parts = self._parts
        old = parts.registry.get(request.worker_id)
        if old is not None:
            self._records_lose(old.worker_id, "it registered anew")
        entry = parts.registry.register(request, now=monotonic_s())
        _log.info("worker_registered", worker=entry.worker_id, epoch=entry.epoch, url=entry.url)
        parts.carrier.feed(WorkerRegistered(entry.worker_id, entry.epoch, entry.slots))
        parts.tell_waiting()
        return entry

    def current(self, worker: str, epoch: int) -> WorkerEntry | None:
        """Return a worker that speaks under its current epoch; it lives."""
        return self._parts.registry.current(worker, epoch)

    def heartbeat(self, entry: WorkerEntry, request: HeartbeatRequest) -> None:
        """Take a sign of life, and what the worker holds."""
        entry.seen_at = monotonic_s()
        entry.metrics = dict(request.metrics)
        event = WorkerHeartbeat(entry.worker_id, entry.epoch, request.attempts)
        self._parts.carrier.feed(event)

    def leave(self, entry: WorkerEntry) -> None:
        """Take a goodbye."""
        self._parts.carrier.feed(WorkerLeft(entry.worker_id, entry.epoch))

    def report(self, entry: WorkerEntry, report: TaskReport | TaskFailure) -> None:
        """Take the end of an attempt; one that nobody waits for changes nothing."""
        entry.leased.discard(report.key)
        if isinstance(report, TaskReport):
            live = self._parts.book.live.get(report.key.job)
            wrong = None if live is None else _misfit(live.record.graph, report)
            if wrong is not None:
                report = TaskFailure(report.key, TaskError(wrong), report.inputs)
        if isinstance(report, TaskReport):
            self._succeeded(entry, report)
        else:
            self._failed(entry, report)

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
        self._parts.carrier.feed(WorkerLeft(here.worker_id, here.epoch))
        registry.down(here.worker_id, here.epoch)

    def _succeeded(self, entry: WorkerEntry, report: TaskReport) -> None:
        parts, key = self._parts, report.key
        receipt = Receipt(
            rows=tuple(part.rows for part in report.block.partitions),
            rows_checksums=tuple(part.rows_checksum for part in report.block.partitions),
        )
        inputs = tuple((read.stage, read.generation) for read in report.inputs)
        event = TaskSucceeded(key, entry.worker_id, entry.epoch, receipt, inputs)
        live = parts.book.live.get(key.job)
        if live is not None and counts(parts.scheduler, event):
            parts.diary.report(entry.worker_id, report)
            live.blocks[key] = report.block
            live.files[key] = report.sink
            live.record.succeeded(report, entry.worker_id, wall_s())
            parts.book.changed(key.job)
        parts.carrier.feed(event)

    def _failed(self, entry: WorkerEntry, report: TaskFailure) -> None:
        parts, key = self._parts, report.key
        inputs = tuple((read.stage, read.generation) for read in report.inputs)
        event = TaskFailed(key, entry.worker_id, entry.epoch, report.failure, inputs)
        live = parts.book.live.get(key.job)
        if live is not None and counts(parts.scheduler, event):
            parts.diary.report(entry.worker_id, report)
            live.record.failed(key, report.failure, entry.worker_id, wall_s())
            parts.book.changed(key.job)
            reason = report.failure.reason if isinstance(report.failure, FetchFailed) else None
            _log.warning(
                "task_failed",
                kind=report.failure.kind,
                reason=reason,
                worker=entry.worker_id,
                **task_fields(key),
            )
        parts.carrier.feed(event)

    def _records_lose(self, worker: str, reason: str) -> None:
        for job, live in self._parts.book.live.items():
            live.record.worker_lost(worker, reason, wall_s())
            self._parts.book.changed(job)


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
