"""Invariants of the state after every event, for tests and simulations.

An error says what does not fit, and shows the whole state. A running cluster does not check them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from minispark.plan.stages import Label
from minispark.scheduler import lineage, liveness
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    WorkerDown,
)
from minispark.scheduler.core import Scheduler
from minispark.scheduler.job_queue import prefetch_depth
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, Phase, State
from minispark.scheduler.tasks import Done, Idle, Leased, Live, Racing, Ready, Waiting, leases_in
from minispark.scheduler.worker_index import Availability
from minispark.scheduler.workers import Worker


class InvariantError(AssertionError):
    """The scheduler's state contradicts itself."""


def check(scheduler: Scheduler, now: float) -> None:
    """Raise InvariantError if the state is inconsistent after the event at ``now``."""
    state = scheduler.state
    for contradiction in (
        *_workers(scheduler),
        *_leaving(state),
        *(text for job in state.jobs.values() for text in _job(scheduler, job)),
        *_clock(scheduler, now),
    ):
        raise InvariantError(f"{contradiction}\n{describe_state(state)}")


def check_commands(scheduler: Scheduler, commands: Sequence[Command], now: float) -> None:
    """Raise InvariantError if a command of the last step is wrong."""
    for contradiction in (
        *_addressees(scheduler.state, commands),
        *_loads(scheduler, commands, now),
    ):
        raise InvariantError(f"{contradiction}\n{describe_state(scheduler.state)}")


def describe_state(state: State) -> str:
    """Return the state as a few lines of text."""
    letters: dict[type, str] = {
        Idle: ".",
        Waiting: "w",
        Ready: "r",
        Leased: "L",
        Racing: "R",
        Done: "D",
    }
    lines = [
        f"worker {w.name} epoch {w.epoch} {w.status} "
        f"{len(w.leased)} of {w.slots} slots{' suspect' if w.suspect else ''}"
        f"{f' {w.full} full' if w.full else ''}{' excluded' if w.excluded_until_s else ''}"
        for w in state.workers.values()
    ]
    for job in state.jobs.values():
        lines.append(f"job {job.name} {job.phase} queue {len(job.queue)}")
        for stage in job.ordered:
            drawn = "".join(letters[type(task.state)] for task in stage.tasks)
            lines.append(f"  stage {stage.id} g{stage.generation} {stage.label} {drawn}")
    return "\n".join(lines)


def _workers(scheduler: Scheduler) -> Iterator[str]:
    state = scheduler.state
    if {w.name for w in state.workers.values() if w.status == "UP"} != set(state.rotation):
        yield "the rotation is not the workers that are UP"
    if {w.name for w in state.workers.values() if w.status == "DRAINING"} != set(state.leaving):
        yield "those who leave are not the workers that are DRAINING"
    for worker in state.workers.values():
        yield from _leases(scheduler, worker)
        if worker.name in state.rotation:
            yield from _standing(state, worker)
        for name in worker.blocks:
            if name not in state.jobs:
                yield f"{worker.name} keeps blocks of a job that was released: {name}"
            elif worker.name not in state.jobs[name].workers:
                yield f"{worker.name} has blocks of {name} and would not be told of its end"


def _leases(scheduler: Scheduler, worker: Worker) -> Iterator[str]:
    state = scheduler.state
    if worker.leased and not worker.up:
        yield f"{worker.name} is DOWN and has leases"
    if len(worker.leased) > worker.slots + scheduler.settings.max_prefetch:
        yield f"{worker.name} leases more than its slots and the prefetch"
    for key in worker.leased:
        job = state.jobs.get(key.job)
        if job is None or job.ended:
            yield f"{worker.name} works for a job that is over: {key}"
            continue
        lease = state.lease_of(key)
        if lease is None or lease.worker != worker.name:
            yield f"{worker.name} has a lease that its task does not know: {key}"
    running = len(worker.started)
    if running != min(len(worker.leased), worker.slots):
        yield f"{worker.name} has {running} attempts at work of {len(worker.leased)}"
    if not worker.started.keys() <= worker.leased.keys():
        yield f"{worker.name} runs an attempt that it does not lease"
    if list(worker.waiting) != [key for key in worker.leased if key not in worker.started]:
        yield f"other attempts wait on {worker.name} than its line has"


def _standing(state: State, worker: Worker) -> Iterator[str]:
    """The index over the workers agrees with the workers."""
    name, lines = worker.name, state.worker_index
    standing = Availability.of(worker)
    memberships = {
        Availability.SUSPECT: name in lines.suspect,
        Availability.FULL: name in lines.full,
        Availability.EXCLUDED: name in lines.excluded.members,
        Availability.FIT: name in lines.fit.members,
    }
    if [availability for availability, member in memberships.items() if member] != [standing]:
        yield f"{name} is {standing.value} and stands elsewhere"
    if (name in lines.waiting) != bool(worker.waiting):
        yield f"{name} has {len(worker.waiting)} waiting attempts, unlike the index of workers"
    elif (last := worker.last_in_line) and lines.waiting.rank(name)[0] != worker.leased[last]:
        yield f"the last attempt in line of {name} stands elsewhere"
    if (name in lines.excluded_workers) != (worker.excluded_until_s is not None):
        yield f"{name} would be left out for ever, or not at all"


def _leaving(state: State) -> Iterator[str]:
    """The moves of draining workers are possible."""
    for worker, leave in state.drains:
        for key, (name, _) in leave.moving.items():
            if not worker.holds(key):
                yield f"{name} is to bring a block that {worker.name} does not have: {key}"
            if name not in state.rotation:
                yield f"{name} is to bring a block and is not UP: {key}"
        for name in leave.given:
            if name not in state.jobs or state.jobs[name].ended:
                yield f"{worker.name} waits for readers of a job that is over: {name}"


def _job(scheduler: Scheduler, job: JobRun) -> Iterator[str]:
    state = scheduler.state
    if job.leased != sum(key.job == job.name for w in state.workers.values() for key in w.leased):
        yield f"{job.name} counts {job.leased} live attempts, and has others"
    if job.ended or job.phase is Phase.COMMITTING:
        if job.name in state.runnable_jobs:
            yield f"{job.name} does not run and stands in line"
        if state.leases_of(job):
            yield f"{job.name} does not run and has leases"
    if job.ended:
        if job.stages or job.ordered or job.queue:
            yield f"{job.name} is over and remembers its stages"
        return
    for stage in job.ordered:
        yield from _stage(scheduler, job, stage)
    if job.phase is not Phase.COMMITTING:
        yield from _progress(scheduler, job)


def _stage(scheduler: Scheduler, job: JobRun, stage: StageRun) -> Iterator[str]:
    where, settings = f"{job.name} stage {stage.id}", scheduler.settings
    if stage.generation >= settings.max_stage_generations:
        yield f"{where} has too many generations"
    done = [task.state for task in stage.tasks if isinstance(task.state, Done)]
    yield from _started(scheduler.state, job, stage)
    if stage.done != len(done):
        yield f"{where} counts {stage.done} done tasks, not {len(done)}"
    rows: dict[str, int] = {}
    for state in done:
        rows[state.worker] = rows.get(state.worker, 0) + 1 + sum(state.receipt.rows)
    if rows != stage.rows_on:
        yield f"{where} counts its rows wrongly"
    if stage.gather() != tuple(BlockRef(state.key, state.worker, 0) for state in done):
        yield f"{where} would hand out blocks that are not the accepted ones"
    for partition, task in enumerate(stage.tasks):
        if task.charged >= settings.max_attempts or task.losses >= settings.max_task_losses:
            yield f"{where} task {partition} should have ended the job"
        if task.charged + task.losses + task.refetched > task.attempts:
            yield f"{where} task {partition} was charged more often than it was tried"
        if isinstance(task.state, Done):
            yield from _attempt(scheduler.state, job, stage, task.state)
        for lease in leases_in(task.state):
            yield from _attempt(scheduler.state, job, stage, lease)
        if isinstance(task.state, Racing) and task.state.first.worker == task.state.second.worker:
            yield f"{where} task {partition} runs twice on one worker"


def _started(state: State, job: JobRun, stage: StageRun) -> Iterator[str]:
    begun = dict(item for worker in state.workers.values() for item in worker.started.items())
    leases = (task.state for task in stage.tasks if isinstance(task.state, Leased))
    expected = {x.key: begun[x.key] for x in leases if not x.raced and x.key in begun}
    if stage.started != expected or list(stage.started.values()) != sorted(expected.values()):
        yield f"{job.name} stage {stage.id} does not know what runs of it, or since when"


def _attempt(state: State, job: JobRun, stage: StageRun, attempt: Leased | Done) -> Iterator[str]:
    where, worker = f"{job.name} stage {stage.id}", state.workers[attempt.worker]
    if attempt.key.generation != stage.generation:
        yield f"{where} has an attempt of another generation: {attempt.key}"
    if isinstance(attempt, Leased):
        if attempt.key not in worker.leased:
            yield f"{where} has a lease that its worker does not know: {attempt.key}"
        if any(job.stages[number].generation != g for number, g in attempt.inputs):
            yield f"{where} lets an attempt run on input that is over: {attempt.key}"
    elif not worker.holds(attempt.key) and worker.up:
        yield f"{where} has a block that the ledger does not know: {attempt.key}"
    elif not worker.up and not (stage.spec.sink and not stage.readers):
        yield f"{where} counts on a block of a worker that is DOWN: {attempt.key}"


def _progress(scheduler: Scheduler, job: JobRun) -> Iterator[str]:
    """No stage is stuck: each needed task runs, can run, or waits for one that does."""
    state, settings = scheduler.state, scheduler.settings
    if job.complete:
        yield f"{job.name} has all its output and goes on"
    moving = False
    for number, partitions in lineage.missing(job).items():
        stage = job.stages[number]
        for partition in partitions:
            task = stage.tasks[partition].state
            complete = lineage.input_complete(job, stage, partition)
            if isinstance(task, Idle) or (isinstance(task, Waiting) and complete):
                yield f"{job.name} stage {number} task {partition} is needed and forgotten"
            if isinstance(task, Ready):
                if not complete:
                    yield f"{job.name} stage {number} task {partition} lacks input and is ready"
                if (stage.order, partition) not in job.queue or job.name not in state.runnable_jobs:
                    yield f"{job.name} stage {number} task {partition} is ready in no queue"
            moving = moving or isinstance(task, Live | Ready)
    if not moving:
        yield f"{job.name} is stuck: nothing runs and nothing may"
    idle = not any(w.leased for w in state.workers.values())
    if idle and state.worker_index.shortest < inf and not state.worker_index.suspect:
        yield f"{job.name} has work and every worker is idle"
    stuck = len(state.worker_index.full) == len(state.rotation) and (idle or not state.rotation)
    if stuck and job.stranded_s is None and liveness.grace_s(state, settings) < inf:
        yield f"{job.name} waits for a worker without an end"
    if job.stranded_s is not None and not stuck:
        yield f"{job.name} loses patience while somebody works"


def _clock(scheduler: Scheduler, now: float) -> Iterator[str]:
    due_s = scheduler.deadline(now)
    if due_s < scheduler.wake_s:
        yield f"something is due at {due_s} and nobody wakes before {scheduler.wake_s}"
    if any(w.up for w in scheduler.state.workers.values()):
        silent_s = now + scheduler.settings.heartbeat_timeout_s
        if silent_s < scheduler.wake_s:
            yield f"a worker may fall silent and nobody wakes before {scheduler.wake_s}"


def _addressees(state: State, commands: Sequence[Command]) -> Iterator[str]:
    falls = {
        (command.worker, command.epoch): number
        for number, command in enumerate(commands)
        if isinstance(command, WorkerDown)
    }
    for number, command in enumerate(commands):
        if isinstance(command, LaunchTask | CancelTask | ReleaseBlocks | ReleaseJob):
            worker = state.workers[command.worker]
            # If several workers go DOWN in one step, the last one may get commands that follow from
            # the loss of the first one, but no task.
            step = isinstance(command, LaunchTask)
            falling = not step and falls.get((command.worker, command.epoch), -1) > number
            if (not worker.up or worker.epoch != command.epoch) and not falling:
                yield f"a command to a worker that is not UP: {command}"
        if isinstance(command, MoveBlocks) and command.worker not in state.rotation:
            yield f"blocks are to be moved to one that does not stay: {command}"
        if isinstance(command, LaunchTask):
            for block in (block for leaf in command.inputs for block in leaf.blocks):
                if not state.workers[block.worker].up:
                    yield f"an attempt is sent to a block on a worker that is DOWN: {command}"


def _loads(scheduler: Scheduler, commands: Sequence[Command], now: float) -> Iterator[str]:
    """Each worker was eligible when it was chosen for a launch."""
    settings, rotation = scheduler.settings, scheduler.state.rotation
    # Launches that a new master repeats were decided earlier. Attempts that are called back in the
    # same step were a load in between.
    moves = [
        command for number, command in enumerate(commands)
        if isinstance(command, CancelTask)
        or (isinstance(command, LaunchTask) and _is_new(scheduler, command, commands[number:], now))
    ]  # fmt: skip
    load = {name: len(worker.leased) for name, worker in rotation.items()}
    for move in moves:
        if isinstance(move, LaunchTask) and move.worker not in rotation:
            yield f"{move.worker} leaves and was given work: {move.key}"
            return
        if move.worker in load:
            load[move.worker] += 1 if isinstance(move, CancelTask) else -1
    for launch in moves:
        if isinstance(launch, CancelTask):
            if launch.worker in load:
                load[launch.worker] -= 1
            continue
        job, chosen = scheduler.state.jobs[launch.key.job], rotation[launch.worker]
        standing = Availability.of(chosen)
        if launch.speculative and job.stages[launch.key.stage].label is Label.INDETERMINATE:
            yield f"a second attempt of what may give other rows: {launch.key}"
        if launch.speculative and scheduler.state.runnable_jobs:
            yield f"a second attempt while something is ready: {launch.key}"
        if standing not in (Availability.FIT, Availability.EXCLUDED):
            yield f"{launch.worker} is {standing.value} and was given work: {launch.key}"
        ahead = prefetch_depth(job.stages[launch.key.stage], settings)
        room = [
            n for name, n in load.items()
            if n < rotation[name].slots + ahead and Availability.of(rotation[name]) is standing
        ]  # fmt: skip
        if load[launch.worker] > min(room, default=0) + settings.max_load_diff:
            yield f"{launch.worker} was given work beyond its fair load: {launch.key}"
        load[launch.worker] += 1


def _is_new(scheduler: Scheduler, launch: LaunchTask, rest: Sequence[Command], now: float) -> bool:
    if scheduler.state.workers[launch.worker].leased.get(launch.key) == now:
        return True
    return any(isinstance(c, CancelTask) and c.key == launch.key for c in rest)
