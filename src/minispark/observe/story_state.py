"""What is known of a job from its journal alone, line after line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


class Progress:
    """Follows one job; takes what happened, then what was decided."""

    def __init__(self, job: str | None) -> None:
        self.job = job
        self.stages: dict[int, dict[str, Any]] = {}
        self.tasks: dict[_Place, TaskSoFar] = {}
        self.workers: dict[str, None] = {}
        self.ended = False

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

    def task(self, key: TaskKey) -> TaskSoFar:
        """Return what is known of the task of an attempt."""
        return self.tasks.setdefault((key.stage, key.partition), TaskSoFar())

    def known(self) -> Known:
        """Sum up."""
        stages = tuple(self._stage(number, spec) for number, spec in self.stages.items())
        loads = dict.fromkeys(self.workers, 0)
        for task in self.tasks.values():
            for worker in task.running.values():
                loads[worker] = loads.get(worker, 0) + 1
        return Known(
            waiting=sum(stage.waiting for stage in stages),
            running=sum(stage.running for stage in stages),
            done=sum(stage.done for stage in stages),
            stages=stages,
            workers=loads,
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
                self.workers[payload["worker"]] = None
            case "heartbeat_facts":
                for key in self._mine(payload.get("lost", ())):
                    self._end_attempt(key, "its worker did not know it")
            case "blocks_moved":
                for key in self._mine(payload["keys"]):
                    task = self.tasks.get((key.stage, key.partition))
                    if task is not None and task.done_on:
                        task.done_on = payload["worker"]
            case _:
                pass

    def carry_out(self, kind: str, about: list[Any]) -> None:
        """Take in what was decided."""
        match kind:
            case "launch_task":
                worker, block = about[:2]
                key = TaskKey.parse(block)
                task = self.task(key)
                if key.generation > task.generation:
                    self._begin_anew(key)
                task.running[block] = worker
                task.done_on = None
                task.launched += 1
                self.workers[worker] = None
            case "cancel_task":
                task = self.task(TaskKey.parse(about[1]))
                task.running.pop(about[1], None)
                task.gone = "it was called back"
            case "worker_down":
                self.workers.pop(about[0], None)
                self._lose_worker(about[0], f"its worker is gone ({about[1]})")
            case "finish_job":
                self.ended = True
            case _:
                pass

    def _mine(self, keys: Iterable[Mapping[str, Any]]) -> list[TaskKey]:
        return [_key(key) for key in keys if self.job in (None, key["job"])]

    def _submitted(self, spec: Mapping[str, Any]) -> None:
        self.job = self.job or spec["job"]
        for stage in spec["stages"]:
            self.stages[stage["id"]] = dict(stage)
            for partition in range(_width(stage)):
                self.tasks[stage["id"], partition] = TaskSoFar()

    def _reported(self, kind: str, payload: Mapping[str, Any]) -> None:
        report = payload["report"]
        key = _key(report["key"])
        task = self.task(key)
        if kind == "task_succeeded":
            task.running.pop(key.block_id, None)
            task.done_on = payload["worker"]
            return
        failure = report["failure"]
        self._end_attempt(key, f"attempt {key.attempt + 1} failed")
        if failure["kind"] == "fetch_failed":
            task.gone = "it could not read its input"
            lost = self.tasks.get((failure["stage"], failure["partition"]))
            if lost is not None and lost.done_on:
                lost.done_on, lost.gone = None, "its block could not be read"

    def _end_attempt(self, key: TaskKey, why: str) -> None:
        task = self.task(key)
        task.running.pop(key.block_id, None)
        task.gone = why

    def _lose_worker(self, worker: str, why: str) -> None:
        for task in self.tasks.values():
            for block in [b for b, where in task.running.items() if where == worker]:
                del task.running[block]
                task.gone = why
            if task.done_on == worker:
                task.done_on, task.gone = None, f"its block is lost: {why}"

    def _begin_anew(self, first: TaskKey) -> None:
        """Roll a stage back: it has begun as a later generation."""
        for (stage, _), task in self.tasks.items():
            if stage == first.stage:
                task.running.clear()
                task.done_on, task.generation = None, first.generation
                task.gone = "its stage began anew"

    def _stage(self, number: int, spec: Mapping[str, Any]) -> KnownStage:
        tasks = list(self._of(number))
        return KnownStage(
            stage=number,
            tasks=_width(spec),
            running=sum(bool(task.running) for task in tasks),
            done=sum(task.done_on is not None and not task.running for task in tasks),
            generation=max((task.generation for task in tasks), default=0),
        )

    def _of(self, number: int) -> Iterator[TaskSoFar]:
        return (task for (stage, _), task in self.tasks.items() if stage == number)


def _width(stage: Mapping[str, Any]) -> int:
    return sum(branch["partitions"] for branch in stage["branches"])


def _key(plain: Mapping[str, Any]) -> TaskKey:
    return TaskKey(**{name: plain[name] for name in TaskKey.__slots__})
