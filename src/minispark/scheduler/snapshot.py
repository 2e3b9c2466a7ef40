"""The state of a scheduler as plain data, and back.

Covers: `dump` and `load` as compact JSON values: 100,000 tasks in well under a second. Does not
cover: heartbeats (`liveness.HeartbeatTracker`), which a new master starts without; where a snapshot
is stored (`minispark.journal.journal`).

``load(dump(state))`` makes the same decisions as ``state``, so every order that is part of a
decision is kept. Derived values (counters, readers, caches) are computed again. A new field of a
record is dumped automatically if it is a plain value; any other type raises. The shape belongs to
one `SCHEDULER_VERSION`::

    {"workers": [{"name": "w0", "epoch": 3, ..., "leased": [...], "blocks": {...}}, ...],
     "rotation": ["w0", ...], "leaving": ["w3"], "runnable_jobs": ["job-1", ...],
     "jobs": [{"name": "job-1", "phase": "RUNNING", ..., "stages": [{"states": "DDLr..", ...}]}]}
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from minispark.blocks.meta import Receipt
from minispark.ids import TaskKey
from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.scheduler.reasons import FIRST, Reason
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, Phase, State
from minispark.scheduler.tasks import (
    IDLE,
    READY,
    WAITING,
    Done,
    Idle,
    Leased,
    Racing,
    Ready,
    Task,
    TaskState,
    Waiting,
    leases_in,
)
from minispark.scheduler.workers import Leaving, Worker

SCHEDULER_VERSION: Final = 5
"""Increase it by one if equal facts at equal times may lead to other commands, or a snapshot to
another state: a rule of placement, a charge in the policy table, a default of `SchedulerSettings`,
a field of an event, of a command or of the state. Not for readers, and not for speed. A journal of
another version is not replayed: its running jobs end FAILED with the reason, which is better than
to continue from decisions that were never made."""

REPLAYED_VERSIONS: Final = frozenset({4, SCHEDULER_VERSION})
"""Versions whose journals are replayed. Version 4 decided the same as 5, but did not say why,
nor which reports it accepted."""

_LETTER: Final = {Idle: ".", Waiting: "w", Ready: "r", Leased: "L", Racing: "R", Done: "D"}
_RESTING: Final[dict[str, TaskState]] = {".": IDLE, "w": WAITING, "r": READY}
_MEMORY: Final = tuple(
    f.name for f in fields(Task) if f.name not in ("state", "attempts", "published_receipt", "why")
)
_NEW: Final = attrgetter(*_MEMORY)(Task())


def dump(state: State) -> dict[str, Any]:
    """Return the state as dicts, lists, strings and numbers."""
    return {
        "workers": [_worker(worker) for worker in state.workers.values()],
        "rotation": list(state.rotation),
        "leaving": list(state.leaving),
        "runnable_jobs": list(state.runnable_jobs),
        "submitted": state.submitted,
        "launched": state.launched,
        "given": state.given,
        "stuck": state.stuck,
        "jobs": [_job(job) for job in state.jobs.values()],
    }


def load(plain: dict[str, Any]) -> State:
    """Return the state of a dump."""
    state = State()
    plain = _present(plain)
    for entry in map(_present, plain["workers"]):
        worker = _load_worker(entry)
        state.workers[worker.name] = worker
    for entry in plain["jobs"]:
        job = _load_job(entry)
        state.jobs[job.name] = job
    state.rotation = {name: state.workers[name] for name in plain["rotation"]}
    state.leaving = {name: state.workers[name] for name in plain["leaving"]}
    state.runnable_jobs = {name: state.jobs[name] for name in plain["runnable_jobs"]}
    state.submitted, state.launched = plain["submitted"], plain["launched"]
    state.given, state.stuck = plain["given"], plain["stuck"]
    return state


_RENAMED: Final = {"hungry": "runnable_jobs", "struck": "failures", "strikes": "failed_tasks"}
"""Fields whose names in snapshots of version 4 were others, and their names now."""


def _present(plain: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in plain.items()}


# Plain values of any record.


def _values(record: Worker | Leaving | JobRun | StageRun, *apart: str) -> dict[str, Any]:
    values = {}
    for name in (f.name for f in fields(record) if f.name not in apart):
        value = getattr(record, name)
        if not isinstance(value, str | int | float | None):
            msg = f"{type(record).__name__}.{name} is no plain value"
            raise TypeError(msg)
        values[name] = value
    return values


def _restore(
    record: Worker | Leaving | JobRun | StageRun, plain: dict[str, Any], *apart: str
) -> None:
    for name in (f.name for f in fields(record) if f.name not in apart):
        setattr(record, name, plain[name])


def _short(key: TaskKey) -> tuple[int, int, int, int]:
    return key.stage, key.generation, key.partition, key.attempt


# Workers.

_OF_WORKER: Final = ("leased", "started", "waiting", "failed_tasks", "blocks", "leaving")
_OF_LEAVING: Final = ("moving", "slow", "given")


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        **_values(worker, *_OF_WORKER),
        "leased": [
            [key.job, *_short(key), since_s, worker.started.get(key)]
            for key, since_s in worker.leased.items()
        ],
        "failed_tasks": [list(task) for task in worker.failed_tasks],
        "blocks": {
            job: [number for key in keys for number in _short(key)]
            for job, keys in worker.blocks.items()
        },
        "leaving": None if worker.leaving is None else _leaving(worker.leaving),
    }


def _leaving(leaving: Leaving) -> dict[str, Any]:
    return {
        **_values(leaving, *_OF_LEAVING),
        "moving": [[key.job, *_short(key), *move] for key, move in leaving.moving.items()],
        "slow": list(leaving.slow),
        "given": dict(leaving.given),
    }


def _load_leaving(plain: dict[str, Any]) -> Leaving:
    leaving = Leaving(plain["since_s"])
    _restore(leaving, plain, *_OF_LEAVING)
    leaving.slow, leaving.given = dict.fromkeys(plain["slow"]), dict(plain["given"])
    for job, stage, generation, partition, attempt, taker, since_s in plain["moving"]:
        leaving.moving[TaskKey(job, stage, generation, partition, attempt)] = (taker, since_s)
    return leaving


def _load_worker(plain: dict[str, Any]) -> Worker:
    worker = Worker(plain["name"], plain["epoch"], plain["slots"])
    _restore(worker, plain, *_OF_WORKER)
    if plain["leaving"] is not None:
        worker.leaving = _load_leaving(plain["leaving"])
    for job, stage, generation, partition, attempt, since_s, started_s in plain["leased"]:
        key = TaskKey(job, stage, generation, partition, attempt)
        worker.leased[key] = since_s
        if started_s is not None:
            worker.started[key] = started_s
        else:
            worker.waiting[key] = None
    worker.failed_tasks = dict.fromkeys((job, stage, p) for job, stage, p in plain["failed_tasks"])
    for job, numbers in plain["blocks"].items():
        iterator = iter(numbers)
        fours = zip(iterator, iterator, iterator, iterator, strict=True)
        worker.blocks[job] = {TaskKey(job, *four): None for four in fours}
    return worker


# Jobs.

_OF_JOB: Final = ("phase", "stages", "ordered", "queue", "committing", "workers")


def _job(job: JobRun) -> dict[str, Any]:
    return {
        **_values(job, *_OF_JOB),
        "phase": job.phase.value,
        "committing": [list(_short(key)) for key in job.committing],
        "workers": list(job.workers),
        "queue": [list(entry) for entry in job.queue],
        "stages": [_stage(stage) for stage in job.ordered],
    }


def _load_job(plain: dict[str, Any]) -> JobRun:
    name: str = plain["name"]
    job = JobRun.of(JobSpec(name, tuple(_load_spec(stage["spec"]) for stage in plain["stages"])))
    _restore(job, plain, *_OF_JOB)
    job.phase = Phase(plain["phase"])
    job.committing = tuple(TaskKey(name, *four) for four in plain["committing"])
    job.workers = dict.fromkeys(plain["workers"])
    job.queue = [(order, partition) for order, partition in plain["queue"]]
    for stage, entry in zip(job.ordered, plain["stages"], strict=True):
        _restore(stage, entry, *_OF_STAGE)
        stage.label = Label(entry["label"])
        stage.times_s = list(entry["times_s"])
    # Generations first: a lease has those of its inputs.
    for stage, entry in zip(job.ordered, plain["stages"], strict=True):
        _load_tasks(job, stage, entry)
    return job


# Stages and their tasks.

_OF_STAGE: Final = (
    *("spec", "order", "label", "tasks", "times_s"),
    *("readers", "done", "rows_on", "prefetch_depth", "_gathered", "_holders", "started"),
)


def _stage(stage: StageRun) -> dict[str, Any]:
    states = [task.state for task in stage.tasks]
    memories = ((p, attrgetter(*_MEMORY)(task)) for p, task in enumerate(stage.tasks))
    return {
        **_values(stage, *_OF_STAGE),
        "spec": _spec(stage.spec),
        "label": stage.label.value,
        "times_s": list(stage.times_s),
        "states": "".join(_LETTER[type(state)] for state in states),
        "attempts": [task.attempts for task in stage.tasks],
        "memories": [[p, *memory] for p, memory in memories if memory != _NEW],
        "leased": [
            [lease.key.attempt, lease.worker, lease.since_s, lease.speculative, lease.raced]
            for state in states
            for lease in leases_in(state)
        ],
        "done": [
            [s.key.attempt, s.worker, s.moved_s, *_receipt(s.receipt)]
            for s in states
            if isinstance(s, Done)
        ],
        "reasons": [
            [p, *(task.why.plain if task.why else ())]
            for p, task in enumerate(stage.tasks)
            if task.why is not FIRST
        ],
        "found": [p for p, s in enumerate(states) if isinstance(s, Done) and s.found],
        # A done task has published its own receipt.
        "promised": [
            [p, *_receipt(task.published_receipt)]
            for p, task in enumerate(stage.tasks)
            if task.published_receipt is not None and not isinstance(task.state, Done)
        ],
    }


def _receipt(receipt: Receipt) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    return receipt.rows, receipt.rows_checksums


def _load_tasks(job: JobRun, stage: StageRun, plain: dict[str, Any]) -> None:
    leased, done = iter(plain["leased"]), iter(plain["done"])
    cached = frozenset(plain.get("found", ()))
    for partition, (letter, attempts) in enumerate(
        zip(plain["states"], plain["attempts"], strict=True)
    ):
        task = stage.tasks[partition]
        task.attempts = attempts
        if letter == "L":
            task.state = _load_lease(job, stage, partition, next(leased))
        elif letter == "R":
            first, second = next(leased), next(leased)
            task.state = Racing(
                _load_lease(job, stage, partition, first),
                _load_lease(job, stage, partition, second),
            )
        elif letter == "D":
            attempt, worker, moved_s, rows, checksums = next(done)
            key = TaskKey(job.name, stage.id, stage.generation, partition, attempt)
            receipt = Receipt(tuple(rows), tuple(checksums))
            stage.restore(partition, Done(key, worker, receipt, moved_s, partition in cached))
        else:
            task.state = _RESTING[letter]
    for partition, *memory in plain["memories"]:
        for name, value in zip(_MEMORY, memory, strict=True):
            setattr(stage.tasks[partition], name, tuple(value) if type(value) is list else value)
    # The first release stored none.
    before = [[p] for p, attempts in enumerate(plain["attempts"]) if attempts]
    for partition, *reason in plain.get("reasons", before):
        stage.tasks[partition].why = Reason.of(*reason) if reason else None
    for partition, rows, checksums in plain["promised"]:
        stage.tasks[partition].published_receipt = Receipt(tuple(rows), tuple(checksums))


def _load_lease(job: JobRun, stage: StageRun, partition: int, plain: list[Any]) -> Leased:
    attempt, worker, since_s, speculative, raced = plain
    key = TaskKey(job.name, stage.id, stage.generation, partition, attempt)
    inputs = job.inputs_of(stage, partition)
    return Leased(key, worker, inputs, since_s, speculative=speculative, raced=raced)


def _spec(spec: StageSpec) -> list[Any]:
    branches = [
        [branch.partitions, [[e.leaf, e.stage, e.mode.value, *e.ranges] for e in branch.inputs]]
        for branch in spec.branches
    ]
    return [spec.id, spec.label.value, spec.result, spec.sink, branches]


def _load_spec(plain: list[Any]) -> StageSpec:
    number, label, result, sink, branches = plain
    return StageSpec(
        number,
        tuple(
            StageBranch(
                partitions,
                tuple(
                    StageInput(leaf, stage, ReadMode(mode), ranges=tuple(map(tuple, ranges)))
                    for leaf, stage, mode, *ranges in edges
                ),
            )
            for partitions, edges in branches
        ),
        Label(label),
        result=result,
        sink=sink,
    )
