"""The sentences of a story: one for what happened, one with its rule for each decision."""

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
from minispark.observe.story_state import Progress
from minispark.scheduler.commands import (
    CancelTask,
    CommitJob,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    ReleaseJob,
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


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was decided, and the rule behind it."""

    sentence: str
    rule: str


class Together:
    """What was decided at once: each decision is told with an eye on the others."""

    def __init__(self, row: Row) -> None:
        self.cause = row.happening
        self.ends = any(isinstance(one, FinishJob | CommitJob) for one in row.decisions)
        self._launched = {_task_of(d.key) for d in row.decisions if isinstance(d, LaunchTask)}
        self._cancelled = {_task_of(d.key) for d in row.decisions if isinstance(d, CancelTask)}

    def launches(self, key: TaskKey) -> bool:
        """Whether an attempt of the task of ``key`` is launched."""
        return _task_of(key) in self._launched

    def cancels(self, key: TaskKey) -> bool:
        """Whether an attempt of the task of ``key`` is cancelled."""
        return _task_of(key) in self._cancelled


def happening(progress: Progress, row: Row) -> str:
    """Say what happened; a kind of another release is named."""
    said, other = _happened(row.happening), progress.other(row)
    if isinstance(row.happening, SuccessRow | FailureRow) and not row.accepted:
        said = f"{said}; nobody waited for it, dropped"
    return said if other is None else f"of {other}: {said}"


def tell(progress: Progress, decision: Decision, together: Together) -> Deed:
    """Say what was decided and why."""
    match decision:
        case LaunchTask():
            return _launch(progress, decision, together)
        case CancelTask():
            return _cancel(progress, decision, together)
        case FinishJob():
            return _finish(decision)
        case CommitJob():
            return Deed(
                f"publish the files of {many(len(decision.sinks), 'attempt')}",
                "all output is there; files get their final names in one commit, never before",
            )
        case WorkerDown():
            return Deed(
                f"count {decision.worker} as DOWN: {decision.reason}",
                "its attempts go to others, its blocks are made again where somebody needs them",
            )
        case _:
            return _order(decision)


# What happened.


def _happened(what: Happening) -> str:
    match what:
        case Submission() | JobSubmitted():
            stages = what.job.stages
            tasks = sum(stage.partitions for stage in stages)
            return f"the job arrived: {many(len(stages), 'stage')}, {many(tasks, 'task')}"
        case SuccessRow():
            return _succeeded(what)
        case FailureRow():
            failed = f"{what.worker} failed at {_task(what.report.key)}"
            return f"{failed}: {_why(what.report.failure)}"
        case HeartbeatDiff():
            return _beat(what)
        case Timeouts():
            found = [f"{worker} has been silent for too long" for worker, _ in what.silent]
            found += ["no worker came for too long"] if what.stranded else []
            return "; ".join(found) or "time passed"
        case Registration() | WorkerRegistered():
            return f"{what.worker} registered with {many(what.slots, 'slot')}"
        case BlocksMoved():
            return f"{what.worker} brought {many(len(what.keys), 'block')} to itself"
        case CommitRow():
            files = sum(len(manifest.files) for manifest in what.manifests)
            return f"{many(files, 'file')} are about to get their final names"
        case JobCommitFailed():
            return f"the files could not be published: {_why(what.failure)}"
        case PublishedRow():
            return "what was published is written down"
        case WorkerLeft() | WorkerDraining():
            goes = "said goodbye" if isinstance(what, WorkerLeft) else "wants to leave"
            return f"{what.worker} {goes}"
        case _:
            return _HAPPENED.get(what.kind, what.kind.replace("_", " "))


def _succeeded(row: SuccessRow) -> str:
    report = row.report
    rows = report.block.rows if report.sink is None else report.sink.rows
    ended = f"{row.worker} ended {_task(report.key)} well"
    return f"{ended}: {many(rows, 'row')} in {report.duration_s:.2f} s"


def _beat(facts: HeartbeatDiff) -> str:
    found = []
    if facts.lost:
        found.append(f"does not know {many(len(facts.lost), 'attempt')} that it was sent")
    if facts.unwanted:
        found.append(f"has {many(len(facts.unwanted), 'attempt')} that nobody waits for")
    if facts.forgotten:
        found.append(f"has blocks of {many(len(facts.forgotten), 'job')} that nobody knows")
    if facts.full:
        found.append(f"takes no more work: its {facts.full} is full")
    if facts.speaks:
        found.append("lives, although a block of it could not be read")
    return f"{facts.worker} said in a heartbeat that it {' and '.join(found) or 'has room'}"


_HAPPENED: Final[Mapping[str, str]] = {
    "job_cancel_requested": "somebody asked for the end of the job",
    "job_committed": "the files have their final names",
    "job_released": "nobody will read the results any more",
    "master_restarted": "the master was started again and went through its journal",
}


# What was decided.


def _launch(progress: Progress, launch: LaunchTask, together: Together) -> Deed:
    key = launch.key
    task = progress.task(key)
    sentence = f"send {_task(key)} to {launch.worker}"
    place = "placed in turn, where least is running, on a free slot first"
    if key.block_id in task.running:
        return Deed(
            f"say again: {sentence}",
            "a new master repeats all launches; a worker that has, or had, the attempt refuses it",
        )
    if task.running:
        twin = "a second attempt of a straggler: the first that ends is taken"
        return Deed(sentence, twin)
    if key.generation > task.generation:
        why = "its stage begins anew: a lost block of it, or below it, may come out otherwise"
    elif not task.launched:
        why = _first(progress, key)
    elif not isinstance(together.cause, FailureRow) and together.cancels(key):
        why = "it waited in another worker's line while a slot was free here"
    else:
        why = f"{task.gone or 'it is needed once more'}, so it runs again"
    return Deed(sentence, f"{why}; {place}")


def _first(progress: Progress, key: TaskKey) -> str:
    stage = progress.spec(key.stage)
    if stage is None:
        return "it is needed"  # The row that brought the job is not among these.
    sources = [edge.stage for branch in stage.branches for edge in branch.inputs]
    if not sources:
        return "it waits for no other stage"
    named = ", ".join(str(number) for number in dict.fromkeys(sources))
    return f"all it reads is there (stage {named})"


def _cancel(progress: Progress, cancel: CancelTask, together: Together) -> Deed:
    key = cancel.key
    sentence = f"have {cancel.worker} end {_task(key)}"
    if progress.ended or together.ends:
        return Deed(sentence, "all that is delivered is there, or the job is over")
    if progress.task(key).done_on is not None:
        return Deed(sentence, "another attempt of the task was first")
    if together.launches(key):
        return Deed(sentence, "it waits behind another while a slot is free elsewhere")
    if isinstance(together.cause, HeartbeatDiff):
        return Deed(sentence, "nobody waits for it")
    return Deed(sentence, "what it reads is made anew, or its worker leaves")


def _finish(end: FinishJob) -> Deed:
    if end.status is JobStatus.SUCCEEDED:
        kept = f", {many(len(end.results), 'result block')} kept" if end.results else ""
        return Deed(f"the job SUCCEEDED{kept}", "every task of what is delivered is accepted")
    if end.status is JobStatus.CANCELLED:
        return Deed("the job is CANCELLED", "somebody asked for it")
    why = "" if end.failure is None else f": {_why(end.failure)}"
    where = "" if end.key is None else f" (at {_task(end.key)})"
    return Deed(
        f"the job FAILED{why}{where}",
        "this failure ends a job at once, or has used up what it may cost (see what a failure "
        "costs)",
    )


def _order(decision: Decision) -> Deed:
    """Say what a worker was told to do that is about no attempt."""
    match decision:
        case RequireRegistration():
            return Deed(
                f"have {decision.worker} register anew",
                "it spoke under an epoch that is over, so nothing it says counts",
            )
        case BlocksReleased():
            blocks = many(decision.blocks, "block")
            return Deed(f"have {decision.worker} delete {blocks}", "nobody will read them")
        case ReleaseJob():
            return Deed(
                f"have {decision.worker} delete every block of the job",
                "the job is over and nothing of it is kept there",
            )
        case BlocksMoving():
            return Deed(
                f"have {decision.worker} fetch {many(decision.blocks, 'block')}",
                "they are needed on and their worker leaves",
            )
        case DismissWorker():
            return Deed(
                f"let {decision.worker} go",
                "nothing of it is needed any more, or its time to leave is over",
            )
        case _:
            return Deed(decision.kind.replace("_", " "), "")


# Words.


def _task_of(key: TaskKey) -> tuple[str, int, int]:
    return key.job, key.stage, key.partition


def _task(key: TaskKey) -> str:
    again = f", attempt {key.attempt + 1}" if key.attempt else ""
    anew = f", generation {key.generation + 1}" if key.generation else ""
    return f"task {key.partition} of stage {key.stage}{again}{anew}"


def _why(failure: Failure) -> str:
    if isinstance(failure, FetchFailed):
        lost = f"the block of task {failure.partition} of stage {failure.stage}"
        return f"{lost} could not be read: {failure.reason}"
    return error_of(failure).message
