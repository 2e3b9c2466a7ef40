"""What a master makes of the journal of its earlier life.

Finished jobs are listed as they were. A job whose commit had begun is published to the end. Any
other that was running has failed: its user is told to submit it again.
"""

from __future__ import annotations

from minispark.clock import wall_s
from minispark.errors import ErrorInfo, MinisparkError
from minispark.master.accept import sink_directories
from minispark.master.answers import RefusedError
from minispark.master.commits import discard, publish
from minispark.master.diary import rebuild
from minispark.master.outcome import Outcome, SinkOutput, node_results
from minispark.master.parts import Identity, Parts
from minispark.observe.journal import Journal, StoredJob
from minispark.observe.logs import logger
from minispark.scheduler.commands import JobStatus

__all__ = ["identify", "restore"]

_log = logger("master")

RESTARTED = ErrorInfo(
    "MS-218",
    "the master was restarted while the job ran",
    hint="Submit it again.",
)


def identify(journal: Journal, *, new_cluster_id: str) -> Identity:
    """Begin a new life: the cluster's id stays, the master's epoch goes up."""
    cluster = journal.meta("cluster_id")
    if cluster is None:
        cluster = new_cluster_id
        journal.set_meta("cluster_id", cluster)
    epoch = int(journal.meta("master_epoch") or 0) + 1
    journal.set_meta("master_epoch", str(epoch))
    return Identity(cluster, epoch)


def restore(parts: Parts) -> None:
    """Fill the book from the journal. Before the journal is started."""
    journal = parts.journal
    for stored in journal.jobs():
        if stored.outcome is None:
            outcome = _finish(parts, stored)
            status, at = outcome.view.status.value, outcome.view.finished_at or wall_s()
            journal.job_ended(stored.job, outcome, status=status, at=at)
        else:
            outcome = Outcome.model_validate_json(stored.outcome)
        parts.book.restore(outcome, idempotency_key=stored.idempotency_key)


def _finish(parts: Parts, stored: StoredJob) -> Outcome:
    """End a job that was running when its master ended."""
    record, manifests = rebuild(parts.journal, stored)
    sinks: list[SinkOutput] = []
    error: ErrorInfo | None = RESTARTED
    if manifests is not None:
        try:
            sinks = publish(stored.job, record.graph, manifests)
            error = None
        except (OSError, MinisparkError) as problem:
            _log.warning("commit_failed", job=stored.job, reason=str(problem))
    if error is None:
        record.finished(JobStatus.SUCCEEDED, None, wall_s())
    else:
        record.finished(JobStatus.FAILED, error, wall_s())
        try:
            discard(stored.job, sink_directories(record.graph, parts.config.data_root).values())
        except RefusedError:
            _log.warning("staged_output_left", job=stored.job)
    _log.warning("job_ended_by_restart", job=stored.job, status=record.status.value)
    results = node_results(record.graph, (), {})
    return Outcome.of(record, results=results, sinks=sinks, placed=[])
