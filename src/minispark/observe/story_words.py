"""The sentences of a story: one for each event, and one with a reason for each decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from minispark.errors import Failure, FetchFailed
from minispark.formatting import many
from minispark.ids import TaskKey
from minispark.journal.decisions import BlocksMoving, BlocksReleased, Decision
from minispark.journal.rows import (
    CommitRow,
    FailureRow,
    Happening,
    PublishedRow,
    Registration,
    Row,
    Submission,
    SuccessRow,
)
from minispark.observe.failures import error_of
from minispark.scheduler.commands import (
    CancelTask,
    CommitJob,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    ReleaseJob,
    ReportDropped,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import (
    BlocksMoved,
    HeartbeatDiff,
    JobCommitFailed,
    JobSubmitted,
    Timeouts,
    WorkerDraining,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.reasons import Reason, Why


@dataclass(frozen=True, slots=True)
class ExplainedDecision:
    """A decision as a sentence, and its reason."""

    sentence: str
    rule: str


def describe_row(row: Row, job: str) -> str:
    """Return the event of a row as a sentence, for a reader of ``job``."""
    sentence = _describe_event(row.happening)
    if isinstance(row.happening, SuccessRow | FailureRow) and not row.accepted:
        dropped = (d.reason for d in row.decisions if isinstance(d, ReportDropped))
        sentence = (
            f"{sentence}; ignored: {reason_words(next(dropped, None)) or 'the attempt was over'}"
        )
    return sentence if row.job in ("", job) else f"of {row.job}: {sentence}"


def describe_decision(decision: Decision) -> ExplainedDecision:
    """Return a decision and its reason as sentences."""
    match decision:
        case LaunchTask():
            there = ", where it waits for a free slot" if decision.prefetched else ""
            sentence = f"send {_task_words(decision.key)} to {decision.worker}{there}"
        case CancelTask():
            sentence = f"cancel {_task_words(decision.key)} on {decision.worker}"
        case FinishJob():
            sentence = _describe_end(decision)
        case WorkerDown():
            sentence = f"mark {decision.worker} as DOWN"
        case DismissWorker():
            sentence = f"allow {decision.worker} to leave"
        case _:
            return _describe_order(decision)
    return ExplainedDecision(sentence, reason_words(decision.reason))


def reason_words(reason: Reason | None) -> str:
    """Return a reason as text; empty for a journal of the first release, which has none."""
    if reason is None:
        return ""
    key = reason.key
    return _REASONS[reason.why].format(
        worker=reason.worker,
        task="" if key is None else f"task {key.partition} of stage {key.stage}",
        attempt="" if key is None else f"attempt {key.attempt_number}",
        limit=reason.limit,
    )


_REASONS: Final[Mapping[Why, str]] = {
    Why.FIRST: "first attempt: all its input is there",
    Why.SPECULATIVE: "the other attempt takes much longer than most tasks of its stage; the first "
    "to finish is accepted",
    Why.RESENT: "the command may not have arrived; a worker that has it ignores this one",
    Why.FAILED: "{attempt} failed on {worker}",
    Why.ATTEMPT_LOST: "{worker} does not have {attempt}",
    Why.WORKER_DOWN: "{attempt} was lost with {worker}",
    Why.INPUT_LOST: "the attempt before could not read the output of {task} on {worker}",
    Why.INPUT_MOVED: "the output of {task} was moved to {worker} meanwhile",
    Why.OUTPUT_LOST: "its output was lost with {worker}",
    Why.OUTPUT_UNREADABLE: "its output on {worker} could not be read",
    Why.ROLLED_BACK: "the output of {task} was lost and may have, or has, other rows now: all that "
    "was made from it runs again",
    Why.SLOT_FREE_ELSEWHERE: "it waited on {worker} while another worker had a free slot",
    Why.PREEMPTED: "it waited on {worker} while another job had no task running",
    Why.WORKER_FULL: "{worker} has no room for more work",
    Why.WORKER_EXCLUDED: "too many tasks in a row failed on {worker}",
    Why.WORKER_DRAINING: "{worker} is draining",
    Why.DRAIN_TIMEOUT: "the time to drain, {limit:g} s, is over",
    Why.JOB_ENDED: "the job is over",
    Why.OTHER_FIRST: "another attempt of the task finished first",
    Why.NOT_LEASED: "the scheduler does not wait for it any more",
    Why.REPEATED: "it was reported before",
    Why.NOT_REGISTERED: "its worker must register again first",
    Why.NO_HEARTBEAT: "it sent no heartbeat for {limit:g} s",
    Why.GOODBYE: "it said goodbye",
    Why.DRAINED: "it is drained: nothing on it is needed any more",
    Why.REGISTERED_AGAIN: "it registered again",
    Why.COMPLETE: "all output is complete",
    Why.CANCEL_REQUESTED: "its cancellation was requested",
    Why.COMMIT_FAILED: "its files could not be published",
    Why.BROKEN_PLAN: "its plan is not valid",
    Why.NO_WORKER: "no worker was available for {limit:g} s",
    Why.NO_ROOM: "every worker was full for {limit:g} s",
    Why.NO_RETRY: "this error is not retried",
    Why.SAME_ERROR: "a task failed twice with the same error, or no other worker can try it",
    Why.MAX_ATTEMPTS: "a task failed {limit:g} times, the limit",
    Why.MAX_LOSSES: "a task was lost with its worker {limit:g} times, the limit",
    Why.MAX_FETCH_FAILURES: "more than {limit:g} reads of lost blocks failed, the limit",
    Why.MAX_GENERATIONS: "a stage was started {limit:g} times, the limit",
    Why.DELIVERED: "a lost block would change output that is already delivered",
}


# What happened.


def _describe_event(event: Happening) -> str:
    match event:
        case Submission() | JobSubmitted():
            stages = event.job.stages
            tasks = sum(stage.partitions for stage in stages)
            return f"the job was submitted: {many(len(stages), 'stage')}, {many(tasks, 'task')}"
        case SuccessRow():
            return _describe_success(event)
        case FailureRow():
            failed = f"{event.worker} failed at {_task_words(event.report.key)}"
            return f"{failed}: {_failure_words(event.report.failure)}"
        case HeartbeatDiff():
            return _describe_heartbeat(event)
        case Timeouts():
            parts = [f"{worker} sent no heartbeat for too long" for worker, _ in event.silent]
            parts += ["no worker was available for too long"] if event.stranded else []
            return "; ".join(parts) or "time passed"
        case Registration() | WorkerRegistered():
            return f"{event.worker} registered with {many(event.slots, 'slot')}"
        case BlocksMoved():
            return f"{event.worker} copied {many(len(event.keys), 'block')} of another worker"
        case CommitRow():
            files = sum(len(manifest.files) for manifest in event.manifests)
            return f"publishing {many(files, 'file')} begins"
        case JobCommitFailed():
            return f"the files could not be published: {_failure_words(event.failure)}"
        case PublishedRow():
            return "the list of published files is in the journal"
        case WorkerLeft() | WorkerDraining():
            goes = "said goodbye" if isinstance(event, WorkerLeft) else "begins to drain"
            return f"{event.worker} {goes}"
        case _:
            return _EVENTS.get(event.kind, event.kind.replace("_", " "))


def _describe_success(row: SuccessRow) -> str:
    report = row.report
    rows = report.block.rows if report.sink is None else report.sink.rows
    done = f"{row.worker} completed {_task_words(report.key)}"
    return f"{done}: {many(rows, 'row')} in {report.duration_s:.2f} s"


def _describe_heartbeat(facts: HeartbeatDiff) -> str:
    parts = []
    if facts.lost:
        parts.append(f"does not have {many(len(facts.lost), 'attempt')} that it was sent")
    if facts.unwanted:
        parts.append(
            f"has {many(len(facts.unwanted), 'attempt')} that the scheduler does not wait for"
        )
    if facts.forgotten:
        parts.append(
            f"has blocks of {many(len(facts.forgotten), 'job')} that the master does not know"
        )
    if facts.full:
        parts.append(f"accepts no more tasks: its {facts.full} is full")
    if facts.speaks:
        parts.append("is alive, although a block on it could not be read")
    return f"{facts.worker} said in a heartbeat that it {' and '.join(parts) or 'has room'}"


_EVENTS: Final[Mapping[str, str]] = {
    "job_cancel_requested": "cancellation was requested",
    "job_committed": "the files are published",
    "job_released": "the results are not needed any more",
    "master_restarted": "the master restarted from its journal",
}


# What was decided.


def _describe_end(end: FinishJob) -> str:
    results = f", {many(len(end.results), 'result block')} kept" if end.results else ""
    why = "" if end.failure is None else f": {_failure_words(end.failure)}"
    if end.status is not JobStatus.FAILED:
        return f"the job {'is ' if end.status is JobStatus.CANCELLED else ''}{end.status}{results}"
    where = "" if end.key is None else f" ({_task_words(end.key)})"
    return f"the job FAILED{where}{why}"


def _describe_order(decision: Decision) -> ExplainedDecision:
    """Return a decision that has only one possible reason."""
    match decision:
        case RequireRegistration():
            return ExplainedDecision(
                f"ask {decision.worker} to register again",
                "its registration is not valid any more, so its reports are ignored",
            )
        case BlocksReleased():
            blocks = many(decision.blocks, "block")
            return ExplainedDecision(
                f"let {decision.worker} delete {blocks}", "no task will read them"
            )
        case ReleaseJob():
            return ExplainedDecision(
                f"let {decision.worker} delete every block of the job",
                "the job is over, and none of its results are there",
            )
        case BlocksMoving():
            return ExplainedDecision(
                f"let {decision.worker} fetch {many(decision.blocks, 'block')}",
                "they are still needed, and their worker is draining",
            )
        case CommitJob():
            return ExplainedDecision(
                f"publish the files of {many(len(decision.sinks), 'attempt')}",
                "all output is complete",
            )
        case _:
            return ExplainedDecision(decision.kind.replace("_", " "), "")


# Words.


def _task_words(key: TaskKey) -> str:
    attempt = f", attempt {key.attempt_number}" if key.attempt else ""
    generation = f", generation {key.generation + 1}" if key.generation else ""
    return f"task {key.partition} of stage {key.stage}{attempt}{generation}"


def _failure_words(failure: Failure) -> str:
    if isinstance(failure, FetchFailed):
        lost = f"the block of task {failure.partition} of stage {failure.stage}"
        return f"{lost} could not be read: {failure.reason}"
    return error_of(failure).message
