"""What is known of a job from its journal alone, line after line.

Sums are kept up as things happen: a line costs what it tells of, however large the job is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minispark.ids import TaskKey

__all__ = ["Known", "KnownStage", "Progress", "TaskSoFar"]

_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class KnownStage:
    """How far a stage is."""

    stage: int
    tasks: int
    running: int
    done: int
    generation: int

    @property
    def waiting(self) -> int:
        """Tasks that neither run nor are done."""
        return self.tasks - self.running - self.done


@dataclass(frozen=True, slots=True)
class Known:
    """How a job stands: its tasks by state, and attempts of it on each worker."""

    waiting: int
    running: int
    done: int
    stages: tuple[KnownStage, ...]
    workers: Mapping[str, int]
    """Attempts of this job that each worker has which is not known to be gone."""


@dataclass(slots=True)
class TaskSoFar:
    """A task: who runs it, who has its block, and why its last attempt or block is gone."""

    running: dict[str, str] = field(default_factory=dict)
    """Attempts (block ids) and their workers."""
    done_on: str | None = None
    generation: int = 0
    launched: int = 0
    gone: str | None = None
    summed: str = "waiting"
    """What its stage counts it as."""


@dataclass(slots=True)
class StageSoFar:
    """A stage, as far as it was told of; ``spec`` is None where the line that brought it is not."""

    spec: Mapping[str, Any] | None = None
    tasks: dict[int, TaskSoFar] = field(default_factory=dict)
    width: int = 0
    running: int = 0
    done: int = 0
    generation: int = 0

    @property
    def delivers_files(self) -> bool:
        """Whether what its tasks have done is in files only, and stays when a worker goes."""
        spec = self.spec or {}
        return bool(spec.get("sink")) and not spec.get("result")

    def sum_up(self, task: TaskSoFar) -> None:
        """Count a task that has changed."""
        state = "running" if task.running else "waiting" if task.done_on is None else "done"
        if state != task.summed:
            self.running += (state == "running") - (task.summed == "running")
            self.done += (state == "done") - (task.summed == "done")
            task.summed = state
        self.generation = max(self.generation, task.generation)


class Progress:
    """Follows one job; takes what happened, then what was decided."""

    def __init__(self, job: str | None) -> None:
        self.job = job
        self.ended = False
        self._stages: dict[int, StageSoFar] = {}
        self._loads: dict[str, int] = {}
        """Attempts on each worker that is not known to be gone."""
        self._touched: dict[str, dict[_Place, None]] = {}
        """Tasks that each worker ran or may have the block of."""

    def concerns(self, kind: str, about: list[Any]) -> bool:
        """Whether a decision is about this job, or about no job."""
        if self.job is None:
            return True
        match kind:
            case "launch_task" | "cancel_task":
                return TaskKey.parse(about[1]).job == self.job
            case "commit_job" | "finish_job":
                return bool(about[0] == self.job)
            case "release_job":
                return bool(about[1] == self.job)
            case _:
                return True

    def other(self, kind: str, payload: Any) -> str | None:
        """Name the job that a line is about, if it is not this one."""
        if kind in ("task_succeeded", "task_failed"):
            name = payload["report"]["key"]["job"]
        else:
            name = payload.get("job")
            if kind == "job_submitted":
                name = name["job"]
        return None if self.job is None or name in (None, self.job) else str(name)

    def spec(self, stage: int) -> Mapping[str, Any] | None:
        """Return a stage as the job brought it."""
        found = self._stages.get(stage)
        return None if found is None else found.spec

    def task(self, key: TaskKey) -> TaskSoFar:
        """Return what is known of the task of an attempt."""
        return self._stage(key.stage).tasks.setdefault(key.partition, TaskSoFar())

    def known(self) -> Known:
        """Sum up."""
        stages = tuple(
            KnownStage(number, stage.width, stage.running, stage.done, stage.generation)
            for number, stage in self._stages.items()
            if stage.spec is not None
        )
        return Known(
            waiting=sum(stage.waiting for stage in stages),
            running=sum(stage.running for stage in stages),
            done=sum(stage.done for stage in stages),
            stages=stages,
            workers=dict(self._loads),
        )

    def take(self, kind: str, payload: Any) -> None:
        """Take in what happened."""
        if self.other(kind, payload):
            return
        match kind:
            case "job_submitted":
                self._submitted(payload["job"])
            case "task_succeeded" | "task_failed" if payload.get("counted", True):
                self._reported(kind, payload)
            case "worker_registered":
                # Whatever an earlier life of it had is gone.
                self._lose_worker(payload["worker"], "its worker registered anew")
                self._loads[payload["worker"]] = 0
            case "heartbeat_facts":
                for key in self._mine(payload.get("lost", ())):
                    self._end_attempt(key, "its worker did not know it")
            case "blocks_moved":
                for key in self._mine(payload["keys"]):
                    self._moved(key, payload["worker"])
            case _:
                pass

    def carry_out(self, kind: str, about: list[Any]) -> None:
        """Take in what was decided."""
        match kind:
            case "launch_task":
                self._launched(TaskKey.parse(about[1]), about[1], about[0])
            case "cancel_task":
                self._end_attempt(TaskKey.parse(about[1]), "it was called back")
            case "worker_down":
                self._loads.pop(about[0], None)
                self._lose_worker(about[0], f"its worker is gone ({about[1]})")
            case "finish_job":
                self.ended = True
            case _:
                pass

    def _mine(self, keys: Iterable[Mapping[str, Any]]) -> list[TaskKey]:
        return [_key(key) for key in keys if self.job in (None, key["job"])]

    def _stage(self, number: int) -> StageSoFar:
        return self._stages.setdefault(number, StageSoFar())

    def _submitted(self, spec: Mapping[str, Any]) -> None:
        self.job = self.job or spec["job"]
        for plain in spec["stages"]:
            width = sum(branch["partitions"] for branch in plain["branches"])
            tasks = {partition: TaskSoFar() for partition in range(width)}
            self._stages.pop(plain["id"], None)
            self._stages[plain["id"]] = StageSoFar(dict(plain), tasks, width)

    def _launched(self, key: TaskKey, block: str, worker: str) -> None:
        stage, task = self._stage(key.stage), self.task(key)
        if key.generation > task.generation:
            self._begin_anew(stage, key.generation)
        self._drop(task, block)
        task.running[block] = worker
        task.done_on = None
        task.launched += 1
        stage.sum_up(task)
        self._loads[worker] = self._loads.get(worker, 0) + 1
        self._touch(worker, key)

    def _reported(self, kind: str, payload: Mapping[str, Any]) -> None:
        report, worker = payload["report"], payload["worker"]
        key = _key(report["key"])
        if kind == "task_succeeded":
            task = self.task(key)
            self._drop(task, key.block_id)
            task.done_on = worker
            self._stage(key.stage).sum_up(task)
            self._touch(worker, key)
            return
        failure = report["failure"]
        self._end_attempt(key, f"attempt {key.attempt + 1} failed")
        if failure["kind"] == "fetch_failed":
            self.task(key).gone = "it could not read its input"
            stage = self._stage(failure["stage"])
            lost = stage.tasks.get(failure["partition"])
            if lost is not None and lost.done_on:
                lost.done_on, lost.gone = None, "its block could not be read"
                stage.sum_up(lost)

    def _moved(self, key: TaskKey, worker: str) -> None:
        task = self._stage(key.stage).tasks.get(key.partition)
        if task is not None and task.done_on:
            task.done_on = worker
            self._touch(worker, key)

    def _end_attempt(self, key: TaskKey, why: str) -> None:
        task = self.task(key)
        self._drop(task, key.block_id)
        task.gone = why
        self._stage(key.stage).sum_up(task)

    def _lose_worker(self, worker: str, why: str) -> None:
        for number, partition in self._touched.pop(worker, ()):
            stage = self._stages[number]
            task = stage.tasks.get(partition)
            if task is None:  # The line that brought the job came after others of it.
                continue
            for block in [b for b, where in task.running.items() if where == worker]:
                self._drop(task, block)
                task.gone = why
            if task.done_on == worker and not stage.delivers_files:
                task.done_on, task.gone = None, f"its block is lost: {why}"
            stage.sum_up(task)

    def _begin_anew(self, stage: StageSoFar, generation: int) -> None:
        """Roll a stage back: it has begun as a later generation."""
        for task in stage.tasks.values():
            for block in list(task.running):
                self._drop(task, block)
            task.done_on, task.generation = None, generation
            task.gone = "its stage began anew"
            stage.sum_up(task)

    def _drop(self, task: TaskSoFar, block: str) -> None:
        worker = task.running.pop(block, None)
        if worker in self._loads:
            self._loads[worker] -= 1

    def _touch(self, worker: str, key: TaskKey) -> None:
        self._touched.setdefault(worker, {})[key.stage, key.partition] = None


def _key(plain: Mapping[str, Any]) -> TaskKey:
    return TaskKey(**{name: plain[name] for name in TaskKey._fields})
