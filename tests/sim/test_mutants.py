"""The scheduler broken on purpose: the simulator has to notice each time.

Each mutant is a mistake that another system made, or nearly. It is a small change of one function;
the first histories of a seed or two hundred must go wrong under it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from minispark.errors import Failure, FetchFailed
from minispark.ids import TaskKey
from minispark.plan.stages import StageInput
from minispark.scheduler import attempts, launching, lineage, liveness, reports, snapshot
from minispark.scheduler.commands import ReleaseBlocks
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import HeartbeatDiff, TaskSucceeded, WorkerHeartbeat
from minispark.scheduler.policy import Cause
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, State
from minispark.scheduler.step import Step
from minispark.scheduler.tasks import Done, Leased, Task
from minispark.scheduler.workers import Worker
from minispark.testing.sim.batch import FailedHistory, run_history
from minispark.testing.sim.options import SimOptions

WITHIN = 400
"""Histories in which a mutant must be found; most take a handful."""

Patch = pytest.MonkeyPatch
Inputs = tuple[tuple[int, int], ...]
Live = tuple[JobRun, StageRun, Leased]


@dataclass(frozen=True)
class Mutant:
    name: str
    incident: str
    """Where that happened."""
    breaks: Callable[[Patch], None]


def stale_input(patch: Patch) -> None:
    """A report counts although what its attempt read was rolled back meanwhile."""
    original = lineage.started_below

    def started_below(job: JobRun, stage: StageRun) -> list[StageRun]:
        # Readers that still run are left alone: their reports will not count, one may think.
        found = original(job, stage)
        return [s for s in found if s is stage or any(isinstance(t.state, Done) for t in s.tasks)]

    def still_live(state: State, key: TaskKey, worker: Worker, inputs: Inputs) -> Live | None:
        found = live_without_fence(state, key, worker, inputs)
        return found if found and (found[2].key, found[2].worker) == (key, worker.name) else None

    patch.setattr(lineage, "started_below", started_below)
    patch.setattr(attempts, "live", still_live)


def live_without_fence(state: State, key: TaskKey, worker: Worker, inputs: Inputs) -> Live | None:
    job = state.jobs.get(key.job)
    stage = job.stages.get(key.stage) if job is not None else None
    if job is None or stage is None or key.partition >= len(stage.tasks):
        return None
    lease = stage.tasks[key.partition].state
    return (job, stage, lease) if isinstance(lease, Leased) else None


def fenced_attempt(patch: Patch) -> None:
    """Any attempt of a task counts, also one that was given up."""
    patch.setattr(attempts, "live", live_without_fence)


def no_rollback(patch: Patch) -> None:
    """Consumers of an indeterminate stage keep what they read of its lost version."""
    patch.setattr(lineage, "unrepeatable", lambda job, needed: None)


def receipts_unread(patch: Patch) -> None:
    """A rerun that gave other rows is taken for the same."""
    patch.setattr(lineage, "same_rows", lambda first, second: True)


def queued_before_removed(patch: Patch) -> None:
    """Attempts of a lost worker are placed again while it still counts as there."""
    original = Scheduler._end_life

    def end_life(self: Scheduler, step: Step, worker: Worker, reason: Reason) -> None:
        for key in list(worker.leased):
            step.lose_lease(worker, key, Cause.WORKER_DOWN, reason.why)
        step.settle()
        launching.place(step)
        original(self, step, worker, reason)

    patch.setattr(Scheduler, "_end_life", end_life)


def charged_twice(patch: Patch) -> None:
    """One failure uses up two of a task's attempts."""
    original = attempts.charge

    def charge(task: Task, cause: Cause, failure: Failure, worker: str) -> None:
        original(task, cause, failure, worker)
        original(task, cause, failure, worker)

    patch.setattr(attempts, "charge", charge)


def late_fetch_failure(patch: Patch) -> None:
    """Each reader that misses a block loses it anew, whoever has made it again meanwhile."""
    original = Step.lose_input

    def lose_input(self: Step, job: JobRun, reader: Leased, gone: FetchFailed) -> bool:
        stage = job.stages.get(gone.stage)
        if stage is not None and gone.partition < len(stage.tasks):
            stage.generation += 1
        return original(self, job, reader, gone)

    patch.setattr(Step, "lose_input", lose_input)


def no_reconciliation(patch: Patch) -> None:
    """A launch that never arrived is waited for, for ever."""
    original = liveness.HeartbeatTracker.facts

    def facts(
        self: liveness.HeartbeatTracker, state: State, beat: WorkerHeartbeat, now: float
    ) -> HeartbeatDiff | None:
        found = original(self, state, beat, now)
        return None if found is None else replace(found, lost=())

    patch.setattr(liveness.HeartbeatTracker, "facts", facts)


def child_never_asked(patch: Patch) -> None:
    """A block is lost, and nobody asks who needs it."""
    original = Step.lose_blocks

    def lose_blocks(
        self: Step, job: JobRun, stage: StageRun, partitions: list[int], why: Why
    ) -> None:
        known = job.name in self.touched
        original(self, job, stage, partitions, why)
        if not known:
            self.touched.pop(job.name, None)

    patch.setattr(Step, "lose_blocks", lose_blocks)
    patch.setattr(Step, "_count_fetch", lambda *arguments: None)


def partial_commit(patch: Patch) -> None:
    """Files are published as soon as one output stage is whole."""
    patch.setattr(
        JobRun,
        "complete",
        property(lambda self: any(s.complete for s in self.ordered if s.final)),
    )


def forgetful_snapshot(patch: Patch) -> None:
    """A master that starts again does not know how often a task had failed."""
    original = snapshot.dump

    def dump(state: State) -> dict[str, Any]:
        plain = original(state)
        for job in plain["jobs"]:
            job["fetch_failures"] = 0
        return plain

    patch.setattr(snapshot, "dump", dump)


def released_too_early(patch: Patch) -> None:
    """The block of an attempt that counts is deleted with those that do not."""
    original = reports.succeeded

    def succeeded(step: Step, worker: Worker, event: TaskSucceeded) -> None:
        original(step, worker, event)
        if event.key.attempt and worker.up and worker.holds(event.key):
            step.emit(ReleaseBlocks(worker.name, worker.epoch, (event.key,)))

    patch.setattr(reports, "succeeded", succeeded)


def ranges_unread(patch: Patch) -> None:
    """A task that reads a range of partitions is sent to the one of its number."""
    original = lineage._blocks

    def blocks(source: StageRun, edge: StageInput, number: int) -> Any:
        return original(source, replace(edge, ranges=()), number)

    patch.setattr(lineage, "_blocks", blocks)


MUTANTS = (
    Mutant("stale input", "SPARK-51272", stale_input),
    Mutant("no rollback", "SPARK-23243", no_rollback),
    Mutant("fenced attempt", "SPARK-24552", fenced_attempt),
    Mutant("receipts unread", "SPARK-54663", receipts_unread),
    Mutant("queued before removed", "SPARK-30297", queued_before_removed),
    Mutant("charged twice", "apache/airflow 42553", charged_twice),
    Mutant("late fetch failure", "SPARK-8103", late_fetch_failure),
    Mutant("no reconciliation", "dask/distributed 8702", no_reconciliation),
    Mutant("child never asked", "SPARK-23811", child_never_asked),
    Mutant("partial commit", "MAPREDUCE-7282", partial_commit),
    Mutant("forgetful snapshot", "SPARK-22162", forgetful_snapshot),
    Mutant("released too early", "SPARK-44126", released_too_early),
    Mutant("ranges unread", "no ticket", ranges_unread),
)


def first_finding() -> FailedHistory | None:
    for seed in range(WITHIN):
        outcome = run_history(SimOptions(seed))
        if isinstance(outcome, FailedHistory):
            return outcome
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_scheduler_is_found_out(mutant: Mutant, monkeypatch: Patch) -> None:
    mutant.breaks(monkeypatch)
    finding = first_finding()
    assert finding is not None, f"{mutant.name} ({mutant.incident}) was not noticed"
