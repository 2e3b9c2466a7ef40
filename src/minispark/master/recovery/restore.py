"""The restart of a master from its journal.

Finished jobs are listed as before. Running jobs continue: the scheduler is replayed, the records of
the jobs are folded again, workers count as present under their old epochs. If the journal cannot be
replayed (another version of the scheduler wrote it), running jobs end FAILED with the reason; a
commit that had begun is finished.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo, MinisparkError, TaskError
from minispark.journal.commits import discard, publish, sink_stages
from minispark.journal.journal import TOTALS, Journal, StoredJob
from minispark.logs import logger
from minispark.master.control.components import Components, Identity
from minispark.master.jobs.finished_job import Ending, FinishedJob, node_results
from minispark.master.jobs.job_store import RunningJob
from minispark.master.jobs.validation import sink_directories
from minispark.master.recovery.replay import Replay
from minispark.observe.cluster import Totals
from minispark.observe.projection import apply
from minispark.observe.record import JobRecord
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import FinishJob, JobStatus
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import ATTEMPTS_OF_A_LIFE
from minispark.wire.http import RefusedError
from minispark.wire.messages import GraphMessage
from minispark.wire.origin import JobOrigin

_VERSION_BITS = 32
"""Bits of a record's version below the master's epoch: later masters have higher versions."""

_log = logger("master")


def identify(journal: Journal, *, new_cluster_id: str, disk: str) -> Identity:
    """Return the identity of the starting master: the same cluster id, the next epoch.

    The end of the journal may be missing if ``disk`` is another one than before, or if the journal
    has noticed a loss. Then attempts get higher numbers.
    """
    cluster = journal.meta("cluster_id")
    if cluster is None:
        cluster = new_cluster_id
        journal.set_meta("cluster_id", cluster)
    loss = journal.loss
    # The lost part may be of a later epoch: workers refuse an earlier one.
    last = max(int(journal.meta("master_epoch") or 0), 0 if loss is None else loss.master_epoch)
    epoch = last + 1
    journal.set_meta("master_epoch", str(epoch))
    if loss is not None or (epoch > 1 and journal.meta("disk") != disk):
        journal.set_meta("attempts", str(ATTEMPTS_OF_A_LIFE * epoch))
    journal.set_meta("disk", disk)
    return Identity(cluster, epoch, int(journal.meta("attempts") or 0))


def restore(parts: Components) -> list[Callable[[], object]]:
    """Restore scheduler, workers and jobs from the journal, before the journal is started.

    Returns actions that were decided and perhaps not carried out; the caller runs them when the
    scheduler loop starts.
    """
    journal, began_s = parts.journal, monotonic_s()
    parts.jobs.archived_totals = Totals.model_validate_json(journal.meta(TOTALS) or "{}")
    stored = journal.jobs()
    live = {job.job: _live(parts, job) for job in stored if job.outcome is None}
    with _no_collection():
        replay = Replay(journal.last_snapshot(), empty=not stored and journal.seq == 0)
        rows, ends = _read_rows(parts, replay, live)
    if replay.broken is None:
        todo = _resume(parts, replay, stored, live, ends)
    else:
        todo = _start_empty(parts, replay, stored, live)
    todo += [
        partial(_clear, parts, job) for job in stored if job.outcome is not None and job.staging
    ]
    if live or replay.broken is not None:
        _log.info(
            "journal_restored",
            running_jobs=len(live),
            rows=rows,
            steps=replay.steps,
            broken=replay.broken,
            duration_s=round(monotonic_s() - began_s, 3),
        )
    return todo


def _read_rows(
    parts: Components, replay: Replay, live: dict[str, RunningJob]
) -> tuple[int, dict[str, FinishJob]]:
    """Apply the rows to scheduler and jobs; return their number, and the ends of jobs."""
    rows = 0
    ends: dict[str, FinishJob] = {}
    for stored in parts.journal.replay(after=replay.after, jobs=live):
        rows += 1
        try:
            row = replay.read(stored)
            if row.job in live:
                live[row.job].take(row)
        # After any error the master must still start with the ended jobs.
        except Exception as error:
            replay.give_up(stored, error)
            continue
        for decision in row.decisions:
            if isinstance(decision, FinishJob):
                ends[decision.job] = decision
        for job in row.about(live):
            if job in live:
                parts.guard.run("record", apply, live[job].record, row, job=job, row=row.seq)
    return rows, ends


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn garbage collection off: a replay creates no cycles, and it would take half the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _live(parts: Components, stored: StoredJob) -> RunningJob:
    """Return a running job as it was when it was accepted."""
    graph = GraphMessage.model_validate_json(stored.graph).graph
    version = parts.identity.master_epoch << _VERSION_BITS
    origin = JobOrigin.model_validate_json(stored.origin or "{}")
    record = JobRecord(
        stored.job, stored.name, graph, stored.submitted_at, version=version, origin=origin
    )
    return RunningJob(record, _directories(parts, stored, graph))


def _directories(parts: Components, stored: StoredJob, graph: StageGraph) -> dict[int, Path]:
    if stored.staging is not None:
        staged = map(Path, json.loads(stored.staging))
        return dict(zip(sink_stages(graph), staged, strict=True))
    try:
        return sink_directories(graph, parts.config.data_root)
    except RefusedError:
        _log.warning("staged_output_left", job=stored.job)
        return {}


def _resume(
    parts: Components,
    replay: Replay,
    stored: list[StoredJob],
    live: dict[str, RunningJob],
    ends: dict[str, FinishJob],
) -> list[Callable[[], object]]:
    """Continue with the replayed scheduler, under the present settings."""
    scheduler = Scheduler(parts.config.scheduler, replay.scheduler.state)
    parts.loop.resume(scheduler, now=replay.now)
    statuses = {worker.worker: worker for worker in scheduler.worker_status()}
    for name, registration in replay.workers.items():
        if name in statuses:
            leased = scheduler.active_attempts(name)
            parts.registry.restore(
                registration, status=statuses[name].status, leased=leased, now=monotonic_s()
            )
    todo: list[Callable[[], object]] = []
    for job in stored:
        if job.outcome is not None:
            finished = FinishedJob.read(job)
            parts.jobs.restore(finished, idempotency_key=job.idempotency_key)
        elif scheduler.job_status(job.job) is None:
            # Its client got no answer, and submits the job again.
            todo.append(partial(parts.journal.job_forgotten, job.job))
        else:
            parts.jobs.add(live[job.job], idempotency_key=job.idempotency_key)
            if job.job in ends:
                todo.append(partial(parts.loop.redispatch, ends[job.job]))
    return todo


def _start_empty(
    parts: Components, replay: Replay, stored: list[StoredJob], live: dict[str, RunningJob]
) -> list[Callable[[], object]]:
    """Start with an empty scheduler; running jobs have failed."""
    parts.loop.resume(Scheduler(parts.config.scheduler), now=replay.now)
    todo: list[Callable[[], object]] = []
    for job in stored:
        if job.outcome is None:
            finished = _fail(parts, live[job.job], replay.broken or "")
            todo.append(partial(_write_end, parts, finished))
        else:
            finished = FinishedJob.read(job)
        parts.jobs.restore(finished, idempotency_key=job.idempotency_key)
    return todo


def _fail(parts: Components, live: RunningJob, why: str) -> FinishedJob:
    """End a job that cannot continue; finish its commit if that had begun."""
    record, job, root, now = live.record, live.job_id, parts.config.data_root, wall_s()
    error: ErrorInfo | None = ErrorInfo(
        "MS-218",
        f"the master was restarted while the job ran and could not continue it: {why}",
        hint="Submit it again.",
    )
    if live.manifests is not None:
        try:
            live.sinks = publish(job, live.graph, live.manifests, root=root)
            error = None
        except (OSError, MinisparkError) as problem:
            _log.warning("commit_failed", job=job, reason=str(problem))
    status = JobStatus.FAILED if error else JobStatus.SUCCEEDED
    record.finished(status, error, now)
    if error is not None:
        discard(job, live.directories.values(), root=root)
    _log.warning("job_ended_by_restart", job=job, status=status.value)
    failure = None if error is None else TaskError(error)
    results = node_results(live.graph, (), {})
    ending = Ending(FinishJob(job, status, failure), results=results, sinks=live.sinks)
    return FinishedJob.of(record, ending, at=now, guard=parts.guard)


def _write_end(parts: Components, finished: FinishedJob) -> None:
    job, status = finished.view.job_id, finished.view.status.value
    at = finished.view.finished_at or wall_s()
    parts.journal.job_ended(job, finished, status=status, at=at)
    parts.journal.job_cleared(job)


def _clear(parts: Components, stored: StoredJob) -> None:
    """Remove the staged files of a job that ended just before its master."""
    directories = map(Path, json.loads(stored.staging or "[]"))
    discard(stored.job, directories, root=parts.config.data_root)
    parts.journal.job_cleared(stored.job)
