"""The sentences of a story: one for what happened, one with its rule for each decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from minispark.errors import Failure, FetchFailed
from minispark.ids import TaskKey
from minispark.observe.failures import error_of
from minispark.observe.story_state import Progress

__all__ = ["Deed", "Together", "happening", "tell"]

_failure: TypeAdapter[Failure] = TypeAdapter(Failure)


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was decided, and the rule behind it."""

    sentence: str
    rule: str


class Together:
    """What was decided at once: each decision is told with an eye on the others."""

    def __init__(self, event: str, decisions: Iterable[list[Any]]) -> None:
        self.event = event
        self.ends = False
        self._of: dict[str, set[tuple[str, int, int]]] = {
            "launch_task": set(),
            "cancel_task": set(),
        }
        for kind, *about in decisions:
            self.ends = self.ends or kind in ("finish_job", "commit_job")
            if kind in self._of:
                self._of[kind].add(_task_of(TaskKey.parse(about[1])))

    def launches(self, key: TaskKey) -> bool:
        """Whether an attempt of the task of ``key`` is launched."""
        return _task_of(key) in self._of["launch_task"]

    def cancels(self, key: TaskKey) -> bool:
        """Whether an attempt of the task of ``key`` is cancelled."""
        return _task_of(key) in self._of["cancel_task"]


def happening(progress: Progress, kind: str, payload: Any) -> str:
    """Say what happened; a kind that is not known is named."""
    word = _HAPPENED.get(kind)
    said = kind.replace("_", " ") if word is None else word(payload)
    other = progress.other(kind, payload)
    return said if other is None else f"of {other}: {said}"


def tell(progress: Progress, kind: str, about: list[Any], together: Together) -> Deed:
    """Say what was decided and why."""
    match kind:
        case "launch_task":
            return _launch(progress, about, together)
        case "cancel_task":
            return _cancel(progress, about, together)
        case "finish_job":
            return _finish(about)
        case "commit_job":
            return Deed(
                f"publish the files of {_count(len(about[1]), 'attempt')}",
                "all output is there; files get their final names in one commit, never before",
            )
        case _:
            simple = _SIMPLE.get(kind)
            if simple is None:
                return Deed(kind.replace("_", " "), "")
            sentence, rule = simple
            return Deed(sentence(about), rule)


# What happened.


def _submitted(payload: Any) -> str:
    stages = payload["job"]["stages"]
    tasks = sum(branch["partitions"] for stage in stages for branch in stage["branches"])
    return f"the job arrived: {_count(len(stages), 'stage')}, {_count(tasks, 'task')}"


def _succeeded(payload: Any) -> str:
    report = payload["report"]
    rows = sum(part["rows"] for part in report["block"]["partitions"])
    if report.get("sink"):
        rows = report["sink"]["rows"]
    said = (
        f"{payload['worker']} ended {_task(report['key'])} well: {_count(rows, 'row')} "
        f"in {report['duration_s']:.2f} s"
    )
    return said if payload.get("counted", True) else f"{said}; nobody waited for it, dropped"


def _failed(payload: Any) -> str:
    report = payload["report"]
    said = f"{payload['worker']} failed at {_task(report['key'])}: {_why(report['failure'])}"
    return said if payload.get("counted", True) else f"{said}; nobody waited for it, dropped"


def _beat(payload: Any) -> str:
    worker, found = payload["worker"], []
    if lost := payload.get("lost"):
        found.append(f"does not know {_count(len(lost), 'attempt')} that it was sent")
    if unwanted := payload.get("unwanted"):
        found.append(f"has {_count(len(unwanted), 'attempt')} that nobody waits for")
    if forgotten := payload.get("forgotten"):
        found.append(f"has blocks of {_count(len(forgotten), 'job')} that nobody knows")
    if payload.get("full"):
        found.append(f"takes no more work: its {payload['full']} is full")
    if payload.get("speaks"):
        found.append("lives, although a block of it could not be read")
    return f"{worker} said in a heartbeat that it {' and '.join(found) or 'has room'}"


def _time(payload: Any) -> str:
    found = [f"{worker} has been silent for too long" for worker, _ in payload.get("silent", ())]
    if payload.get("stranded"):
        found.append("no worker came for too long")
    return "; ".join(found) or "time passed"


_HAPPENED: Final[Mapping[str, Callable[[Any], str]]] = {
    "job_submitted": _submitted,
    "task_succeeded": _succeeded,
    "task_failed": _failed,
    "heartbeat_facts": _beat,
    "time_facts": _time,
    "worker_registered": lambda said: (
        f"{said['worker']} registered with {_count(said['slots'], 'slot')}"
    ),
    "worker_left": lambda said: f"{said['worker']} said goodbye",
    "worker_draining": lambda said: f"{said['worker']} wants to leave",
    "blocks_moved": lambda said: (
        f"{said['worker']} brought {_count(len(said['keys']), 'block')} to itself"
    ),
    "job_cancel_requested": lambda _: "somebody asked for the end of the job",
    "commit_job": lambda said: (
        f"{_count(sum(len(m['files']) for m in said['manifests']), 'file')} are about to get their "
        "final names"
    ),
    "job_committed": lambda _: "the files have their final names",
    "job_published": lambda _: "what was published is written down",
    "job_commit_failed": lambda said: f"the files could not be published: {_why(said['failure'])}",
    "job_released": lambda _: "nobody will read the results any more",
    "master_restarted": lambda _: "the master was started again and went through its journal",
}


# What was decided.


def _launch(progress: Progress, about: list[Any], together: Together) -> Deed:
    worker, block = about[:2]
    key = TaskKey.parse(block)
    task = progress.task(key)
    sentence = f"send {_task(key)} to {worker}"
    place = "placed in turn, where least is running, on a free slot first"
    if block in task.running:
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
    elif together.event != "task_failed" and together.cancels(key):
        why = "it waited in another worker's line while a slot was free here"
    else:
        why = f"{task.gone or 'it is needed once more'}, so it runs again"
    return Deed(sentence, f"{why}; {place}")


def _first(progress: Progress, key: TaskKey) -> str:
    stage = progress.spec(key.stage)
    if stage is None:
        return "it is needed"  # The line that brought the job is not among these.
    sources = [edge["stage"] for branch in stage["branches"] for edge in branch["inputs"]]
    if not sources:
        return "it waits for no other stage"
    named = ", ".join(str(number) for number in dict.fromkeys(sources))
    return f"all it reads is there (stage {named})"


def _cancel(progress: Progress, about: list[Any], together: Together) -> Deed:
    worker, block = about[:2]
    key = TaskKey.parse(block)
    sentence = f"have {worker} end {_task(key)}"
    if progress.ended or together.ends:
        return Deed(sentence, "all that is delivered is there, or the job is over")
    if progress.task(key).done_on is not None:
        return Deed(sentence, "another attempt of the task was first")
    if together.launches(key):
        return Deed(sentence, "it waits behind another while a slot is free elsewhere")
    if together.event == "heartbeat_facts":
        return Deed(sentence, "nobody waits for it")
    return Deed(sentence, "what it reads is made anew, or its worker leaves")


def _finish(about: list[Any]) -> Deed:
    _, status, failure, key, results = about
    if status == "SUCCEEDED":
        kept = f", {_count(len(results), 'result block')} kept" if results else ""
        return Deed(f"the job SUCCEEDED{kept}", "every task of what is delivered is accepted")
    if status == "CANCELLED":
        return Deed("the job is CANCELLED", "somebody asked for it")
    why = "" if failure is None else f": {_why(failure)}"
    where = "" if key is None else f" (at {_task(TaskKey.parse(key))})"
    return Deed(
        f"the job FAILED{why}{where}",
        "this failure ends a job at once, or has used up what it may cost (see what a failure "
        "costs)",
    )


_SIMPLE: Final[Mapping[str, tuple[Callable[[list[Any]], str], str]]] = {
    "worker_down": (
        lambda about: f"count {about[0]} as DOWN: {about[1]}",
        "its attempts go to others, its blocks are made again where somebody needs them",
    ),
    "require_registration": (
        lambda about: f"have {about[0]} register anew",
        "it spoke under an epoch that is over, so nothing it says counts",
    ),
    "release_blocks": (
        lambda about: f"have {about[0]} delete {_count(about[1], 'block')}",
        "nobody will read them",
    ),
    "release_job": (
        lambda about: f"have {about[0]} delete every block of the job",
        "the job is over and nothing of it is kept there",
    ),
    "move_blocks": (
        lambda about: f"have {about[0]} fetch {_count(about[1], 'block')}",
        "they are needed on and their worker leaves",
    ),
    "dismiss_worker": (
        lambda about: f"let {about[0]} go",
        "nothing of it is needed any more, or its time to leave is over",
    ),
}


# Words.


def _task_of(key: TaskKey) -> tuple[str, int, int]:
    return key.job, key.stage, key.partition


def _task(key: TaskKey | Mapping[str, Any]) -> str:
    found = key if isinstance(key, TaskKey) else TaskKey(**{n: key[n] for n in TaskKey._fields})
    again = f", attempt {found.attempt + 1}" if found.attempt else ""
    anew = f", generation {found.generation + 1}" if found.generation else ""
    return f"task {found.partition} of stage {found.stage}{again}{anew}"


def _why(plain: Mapping[str, Any]) -> str:
    failure = _failure.validate_python(plain)
    if isinstance(failure, FetchFailed):
        lost = f"the block of task {failure.partition} of stage {failure.stage}"
        return f"{lost} could not be read: {failure.reason}"
    return error_of(failure).message


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
