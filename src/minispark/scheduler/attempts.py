"""Which reports count, and whether a failed task may be tried again.

Covers: fencing of reports, retries. Does not cover: lost output (`lineage`).
"""

from __future__ import annotations

from minispark.errors import Failure, TaskError, WorkerLost
from minispark.ids import TaskKey
from minispark.scheduler.policy import POLICY, Cause, Charge, ended
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, State
from minispark.scheduler.tasks import Done, Leased, Task, leases_in
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings


def live(
    state: State, key: TaskKey, worker: Worker, inputs: tuple[tuple[int, int], ...]
) -> tuple[JobRun, StageRun, Leased] | None:
    """Return the live attempt of a report, None if the report must be dropped.

    The report counts only if the attempt is a current one of its task, on that worker, and both its
    stage and everything that it read are of the current generation.
    """
    place = _task_of(state, key)
    if place is None:
        return None
    job, stage, task = place
    for lease in leases_in(task.state):
        if lease.key == key and lease.worker == worker.name:
            present = _are_present(job, (*lease.inputs, *inputs))
            return (job, stage, lease) if present else None
    return None


def why_stale(state: State, key: TaskKey, inputs: tuple[tuple[int, int], ...]) -> Reason:
    """Return why a report that is not `live` changes nothing."""
    place = _task_of(state, key)
    if place is None:
        return Reason(Why.JOB_ENDED)
    job, stage, task = place
    if key.generation != stage.generation or not _are_present(job, inputs):
        return Reason(Why.ROLLED_BACK)
    done = task.state
    if isinstance(done, Done):
        return Reason(Why.REPEATED if done.key == key else Why.OTHER_FIRST)
    return Reason(Why.NOT_LEASED)


def accepted_twin(
    state: State, key: TaskKey, inputs: tuple[tuple[int, int], ...]
) -> tuple[StageRun, Done] | None:
    """Return the accepted attempt of a task whose other attempt just ended with the same inputs."""
    place = _task_of(state, key)
    if place is None:
        return None
    job, stage, task = place
    done = task.state
    if not isinstance(done, Done) or done.found or done.key.generation != key.generation:
        return None
    same = done.key != key and _are_present(job, inputs)
    return (stage, done) if same else None


def _task_of(state: State, key: TaskKey) -> tuple[JobRun, StageRun, Task] | None:
    """Return the task of an attempt, None if its job does not run."""
    job = state.jobs.get(key.job)
    stage = None if job is None else job.stages.get(key.stage)
    if job is None or stage is None or not 0 <= key.partition < len(stage.tasks):
        return None
    return job, stage, stage.tasks[key.partition]


def _are_present(job: JobRun, inputs: tuple[tuple[int, int], ...]) -> bool:
    """Whether inputs are of the current generation of their stages."""
    for number, generation in inputs:
        source = job.stages.get(number)
        if source is None or source.generation != generation:
            return False
    return True


def terminal_failure(
    task: Task, cause: Cause, failure: Failure, *, elsewhere: bool, settings: SchedulerSettings
) -> tuple[Failure, Reason] | None:
    """Return the failure that ends the job after a charge, None if the task is tried again.

    ``elsewhere``: whether there is a worker on which the task has not failed.
    """
    rule = POLICY[cause]
    if rule.fatal:
        return failure, Reason(Why.NO_RETRY)
    if rule.fatal_if_repeated and isinstance(failure, TaskError):
        again = task.error_messages.count(failure.error.message) > 1
        if again or not elsewhere:
            return failure, Reason(Why.SAME_ERROR)
    match rule.charge:
        case Charge.ATTEMPT:
            if task.charged < settings.max_attempts:
                return None
            return _in_full(task, failure), Reason(Why.MAX_ATTEMPTS, limit=settings.max_attempts)
        case Charge.LOSS:
            if task.losses < settings.max_task_losses:
                return None
            loss = failure.reason if isinstance(failure, WorkerLost) else str(cause)
            lost = ended(
                "MS-224",
                f"a task was lost with its worker {task.losses} times; the last time: {loss}",
                "See the logs of the workers: the task may be what ends them.",
            )
            return lost, Reason(Why.MAX_LOSSES, limit=settings.max_task_losses)
        case Charge.FETCH:
            limit = settings.max_fetch_failures
            if task.refetched <= limit:
                return None
            return failure, Reason(Why.MAX_FETCH_FAILURES, limit=limit)


def _in_full(task: Task, failure: Failure) -> Failure:
    """Return a failure that says how often the executor ended, not only the last time."""
    times = len(task.exit_reasons)
    if not isinstance(failure, WorkerLost) or times < 2:
        return failure
    when = "each time" if len(set(task.exit_reasons)) == 1 else "the last time"
    return ended(
        "MS-225",
        f"a task ended its executor process {times} times; {when}: {failure.reason}",
        "See what the task printed, and the logs of the workers.",
    )


def avoid(task: Task, cause: Cause, worker: str) -> None:
    """Prefer other workers for a task, if its rule says so."""
    if POLICY[cause].elsewhere:
        task.avoid_worker(worker)


def charge(task: Task, cause: Cause, failure: Failure, worker: str) -> None:
    """Increase the counter of a task for a failure."""
    rule = POLICY[cause]
    match rule.charge:
        case Charge.ATTEMPT:
            task.charged += 1
        case Charge.LOSS:
            task.losses += 1
        case Charge.FETCH:
            task.refetched += 1
    avoid(task, cause, worker)
    if cause is Cause.EXECUTOR_LOST and isinstance(failure, WorkerLost):
        task.exit_reasons = (*task.exit_reasons, failure.reason)
    if rule.fatal_if_repeated and isinstance(failure, TaskError):
        task.error_messages = (*task.error_messages, failure.error.message)
