"""A journal told in words: kept journals of real clusters, and single lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from minispark.observe.story import Step, StoryLine, story
from minispark.testing.chaos import journals
from minispark.ui import STEPS_PER_PAGE, Plot

KEPT = sorted((Path(__file__).parent.parent / "chaos" / "journals").glob("*.gz"))


def lines_of(path: Path) -> dict[str, list[StoryLine]]:
    """The lines of each job that was submitted and ended in a kept journal, with all others."""
    rows = journals.load(path).rows
    lines = [
        StoryLine(
            row.seq,
            row.kind,
            row.at,
            json.loads(row.payload),
            json.loads(row.commands) if row.commands else [],
        )
        for row in rows
    ]
    jobs = [row.job for row in rows if row.kind == "job_submitted"]
    return dict.fromkeys(jobs, lines)


def told(path: Path) -> dict[str, list[Step]]:
    return {job: story(lines, job=job) for job, lines in lines_of(path).items()}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_kept_journals_are_told_in_words(path: Path) -> None:
    stories = told(path)
    assert stories
    for steps in stories.values():
        assert all(step.what and "_" not in step.what.replace("_minispark", "") for step in steps)
        for deed in (deed for step in steps for deed in step.decided):
            assert deed.sentence
            assert deed.rule


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_known_adds_up(path: Path) -> None:
    for job, steps in told(path).items():
        own = [step for step in steps if step.knew.stages]
        tasks = {step.knew.waiting + step.knew.running + step.knew.done for step in own}
        assert len(tasks) == 1, job
        for step in own:
            assert sum(step.knew.workers.values()) >= step.knew.running
            assert all(stage.waiting >= 0 for stage in step.knew.stages)
        end = next(
            step for step in own
            if any("the job SUCCEEDED" in deed.sentence for deed in step.decided)
        )  # fmt: skip
        assert end.knew.stages[-1].done == end.knew.stages[-1].tasks
        assert end.knew.running == 0


def spec(job: str = "job-1") -> StoryLine:
    branch = {"partitions": 2, "inputs": []}
    reads = {"leaf": "a", "stage": 0, "read": "all"}
    stages = [
        {"id": 0, "branches": [branch]},
        {"id": 1, "branches": [{"partitions": 1, "inputs": [reads]}]},
    ]
    launches = [["launch_task", "w1", f"{job}.0.0.0.0"], ["launch_task", "w2", f"{job}.0.0.1.0"]]
    return StoryLine(1, "job_submitted", 0.0, {"job": {"job": job, "stages": stages}}, launches)


def success(
    seq: int, block: tuple[int, int, int], worker: str, decisions: list[object]
) -> StoryLine:
    stage, partition, attempt = block
    key = {"job": "job-1", "stage": stage, "generation": 0, "partition": partition}
    report = {
        "key": key | {"attempt": attempt},
        "block": {"partitions": [{"rows": 3}]},
        "duration_s": 0.5,
    }
    return StoryLine(
        seq, "task_succeeded", 1.0, {"worker": worker, "counted": True, "report": report}, decisions
    )


def test_a_worker_that_goes_takes_its_blocks_along() -> None:
    down = StoryLine(
        3,
        "time_facts",
        9.0,
        {"silent": [["w1", 1]], "stranded": []},
        [["worker_down", "w1", "no heartbeat"], ["launch_task", "w2", "job-1.0.0.0.1"]],
    )
    steps = story([spec(), success(2, (0, 0, 0), "w1", []), down], job="job-1")
    assert steps[0].what == "the job arrived: 2 stages, 3 tasks"
    assert steps[0].decided[0].sentence == "send task 0 of stage 0 to w1"
    assert "no other stage" in steps[0].decided[0].rule
    assert steps[1].what == "w1 ended task 0 of stage 0 well: 3 rows in 0.50 s"
    assert (steps[1].knew.waiting, steps[1].knew.running, steps[1].knew.done) == (1, 1, 1)
    assert "its block is lost" in steps[2].decided[1].rule


def test_an_attempt_that_waits_is_given_to_a_free_slot() -> None:
    back = StoryLine(
        2,
        "time_facts",
        1.0,
        {"silent": [], "stranded": []},
        [["cancel_task", "w2", "job-1.0.0.1.0"], ["launch_task", "w1", "job-1.0.0.1.1"]],
    )
    cancelled, sent = story([spec(), back], job="job-1")[1].decided
    assert "while a slot is free elsewhere" in cancelled.rule
    assert "waited in another worker's line" in sent.rule


def test_lines_of_other_jobs_change_nothing_here() -> None:
    steps = story([spec(), spec("job-2")], job="job-1")
    assert steps[1].what.startswith("of job-2: ")
    assert steps[1].knew.waiting + steps[1].knew.running == 3
    assert steps[1].decided == ()


def test_a_kind_of_a_later_version_is_named() -> None:
    (step,) = story([StoryLine(1, "moon_rose", 0.0, {}, [["howl", "w1"]])])
    assert step.what == "moon rose"
    assert step.decided[0].sentence == "howl"


def large(tasks: int) -> list[StoryLine]:
    """A job of so many tasks on ten workers, one of which is lost on the way."""
    stages = [{"id": 0, "branches": [{"partitions": tasks, "inputs": []}]}]
    launches: list[list[object]] = [
        ["launch_task", f"w{number % 10}", f"job-1.0.0.{number}.0"] for number in range(tasks)
    ]
    lines = [
        StoryLine(1, "job_submitted", 0.0, {"job": {"job": "job-1", "stages": stages}}, launches)
    ]
    for number in range(tasks):
        if number % 10:
            lines.append(success(2 + number, (0, number, 0), f"w{number % 10}", []))
    lost: list[list[object]] = [["worker_down", "w0", "no heartbeat"]]
    moved = range(0, tasks, 10)
    lost += [["launch_task", "w1", f"job-1.0.0.{number}.1"] for number in moved]
    back = [["cancel_task", "w1", f"job-1.0.0.{number}.1"] for number in moved]
    back += [["launch_task", "w2", f"job-1.0.0.{number}.2"] for number in moved]
    silent = {"silent": [["w0", 1]], "stranded": []}
    lines.append(StoryLine(tasks + 2, "time_facts", 9.0, silent, lost))
    lines.append(StoryLine(tasks + 3, "time_facts", 9.5, {}, back))
    lines += [success(tasks + 4 + n, (0, n, 2), "w2", []) for n in moved]
    return lines


def steps_of_python(tasks: int) -> int:
    """How many lines of code it takes to tell such a job."""
    lines, count = large(tasks), 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        plot = Plot("job-1")
        plot.take(lines)
    finally:
        sys.settrace(before)
    assert plot.told == len(lines)
    return count


def test_a_job_twice_as_large_takes_twice_the_work() -> None:
    """Counted, not timed: what each line told anew of all tasks would be four times the work."""
    work = [steps_of_python(tasks) for tasks in (250, 500, 1_000)]
    assert work[1] / work[0] < 2.2
    assert work[2] / work[1] < 2.2


def test_a_story_is_told_by_pages_that_make_up_the_whole() -> None:
    lines = large(700)
    whole = story(lines, job="job-1")
    plot = Plot("job-1")
    for begin in range(0, len(lines), 100):
        plot.take(lines[begin : begin + 100])
    assert plot.told == len(whole)
    pages = [plot.page(number, total=0) for number in range(1, len(whole) + 1, STEPS_PER_PAGE)]
    assert [page.first for page in pages] == [1 + n * STEPS_PER_PAGE for n in range(len(pages))]
    told = [step for page in pages for step in page.steps]
    assert [(s.seq, s.what, s.done) for s in told] == [(s.seq, s.what, s.knew.done) for s in whole]
    assert plot.page(len(whole), total=0) == pages[-1] == plot.page(10**9, total=0)
    assert told[-1].done == 700
