"""Checks of the scheduler after every step, from outside.

`minispark.scheduler.invariants` checks that the state is consistent; the checks here compare the
scheduler's decisions with its events and with what really happened (`truth`).
"""

from __future__ import annotations

from collections.abc import Iterable

from minispark.ids import TaskKey
from minispark.scheduler import Scheduler, invariants
from minispark.scheduler.commands import Command, CommitJob, FinishJob, LaunchTask
from minispark.scheduler.events import Event, MasterRestarted, TaskFailed, TaskSucceeded
from minispark.scheduler.stage import StageRun
from minispark.scheduler.tasks import Done, Task
from minispark.testing.sim.truth import Truth, spec_sinks


class Checks:
    """Compares one scheduler before and after each fact."""

    def __init__(self, truth: Truth, earlier: Iterable[Command]) -> None:
        self._truth = truth
        self._launched: dict[TaskKey, str] = {}
        self._committed: dict[str, tuple[TaskKey, ...]] = {}
        for command in earlier:
            if isinstance(command, LaunchTask):
                self._launched[command.key] = command.worker
            elif isinstance(command, CommitJob):
                self._committed[command.job] = command.sinks
        self._was_done = False
        self._charges = 0

    def before(self, scheduler: Scheduler, fact: Event) -> None:
        """Note the values that the fact may change."""
        task = _task(scheduler, fact)
        if task is not None and isinstance(fact, TaskSucceeded):
            self._was_done = isinstance(task.state, Done)
        elif task is not None:
            self._charges = _charges(task)

    def after(
        self, scheduler: Scheduler, fact: Event, commands: tuple[Command, ...], now: float
    ) -> None:
        """Raise AssertionError if the scheduler did something wrong."""
        invariants.check(scheduler, now)
        new = [c for c in commands if not self._is_repeated(fact, c)]
        invariants.check_commands(scheduler, new, now)
        task = _task(scheduler, fact)
        if task is not None and isinstance(fact, TaskSucceeded):
            if not self._was_done and isinstance(task.state, Done):
                self._accepted(scheduler, fact, task.state)
        elif task is not None and isinstance(fact, TaskFailed):
            self._charged(fact, task)
        for command in commands:
            self._command(scheduler, fact, command)

    def _is_repeated(self, fact: Event, command: Command) -> bool:
        return (
            isinstance(fact, MasterRestarted)
            and isinstance(command, LaunchTask)
            and command.key in self._launched
        )

    def _accepted(self, scheduler: Scheduler, fact: TaskSucceeded, done: Done) -> None:
        """Check the fence: attempt, worker's epoch and generations of the input are current."""
        worker = scheduler.state.workers[fact.worker]
        assert done.key == fact.key, f"another attempt than the one that ended is accepted: {fact}"
        assert worker.up, f"accepted from a worker that is DOWN: {fact}"
        assert worker.epoch == fact.epoch, f"accepted from a life that is over: {fact}"
        assert self._launched.get(fact.key) == fact.worker, f"it was not sent there: {fact}"
        job = scheduler.state.jobs[fact.key.job]
        for number, generation in fact.inputs:
            same = job.stages[number].generation == generation
            assert same, f"accepted although it read stage {number} of another generation: {fact}"

    def _charged(self, fact: TaskFailed, task: Task) -> None:
        key = fact.key
        more = _charges(task) - self._charges
        assert more <= 1, f"one failure was charged {more} times: {fact}"
        reported = self._truth.failures[key.job, key.stage, key.partition]
        assert task.charged <= reported, (
            f"charged {task.charged} times for {reported} failures: {fact}"
        )

    def _command(self, scheduler: Scheduler, fact: Event, command: Command) -> None:
        match command:
            case LaunchTask():
                worker = self._launched.get(command.key)
                again = worker == command.worker and isinstance(fact, MasterRestarted)
                assert worker is None or again, f"launched twice: {command.key}"
                self._launched[command.key] = command.worker
            case CommitJob():
                before = self._committed.setdefault(command.job, command.sinks)
                assert before == command.sinks, f"two commits of {command.job}"
                places = [(key.stage, key.partition) for key in command.sinks]
                spec = self._truth.specs[command.job]
                assert places == spec_sinks(spec), f"a commit that is not whole: {command}"
                for done in (d for s in _sinks(scheduler, command) for d in s.accepted()):
                    self._truth.accepted_from[done.key] = done.worker
            case FinishJob():
                state = scheduler.state
                for ref in command.results:
                    held = state.workers[ref.worker].holds(ref.key)
                    assert held, f"a result that no worker has: {ref}"
            case _:
                pass


def _task(scheduler: Scheduler, fact: Event) -> Task | None:
    if not isinstance(fact, TaskSucceeded | TaskFailed):
        return None
    job = scheduler.state.jobs.get(fact.key.job)
    stage = None if job is None else job.stages.get(fact.key.stage)
    return None if stage is None else stage.tasks[fact.key.partition]


def _sinks(scheduler: Scheduler, command: CommitJob) -> list[StageRun]:
    stages = scheduler.state.jobs[command.job].ordered
    return [stage for stage in stages if stage.spec.sink]


def _charges(task: Task) -> int:
    return task.charged + task.losses + task.refetched
