"""A journal told in words: kept journals of real clusters, and single lines."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.chaos.recordings import load
from tests.observe.recorded import Recorded

from minispark.ids import TaskKey
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import Row, Submission, event_of
from minispark.observe.story import story
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler.commands import CancelTask, LaunchTask
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings
from minispark.ui import STEPS_PER_PAGE, StepPager

KEPT = sorted((Path(__file__).parent.parent / "chaos" / "journals").glob("*.gz"))


def lines_of(path: Path) -> dict[str, list[Row]]:
    """The rows of each job that was submitted and ended in a kept journal, with all others."""
    rows = [Row.read(stored) for stored in load(path).rows]
    return dict.fromkeys((r.job for r in rows if isinstance(r.happening, Submission)), rows)


def attempts_in(row: Row) -> list[tuple[str, TaskKey]]:
    """The attempts, with their workers, that a row launches or cancels."""
    return [(d.worker, d.key) for d in row.decisions if isinstance(d, LaunchTask | CancelTask)]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_kept_journals_are_told_in_words(path: Path) -> None:
    """Each line and each decision has a sentence of its own, about the task and worker it names."""
    jobs = lines_of(path)
    assert jobs
    told = 0
    for job, lines in jobs.items():
        for line, step in zip(lines, story(lines, job=job), strict=True):
            kind = event_of(line.happening).kind
            assert step.what.rpartition(": ")[2] != kind.replace("_", " ")
            assert "_" not in step.what.replace("_minispark", "")
            said = [deed.sentence for deed in step.decided]
            for worker, key in attempts_in(line):
                task = f"task {key.partition} of stage {key.stage}"
                assert key.job != job or any(task in s and worker in s for s in said)
                told += 1
            for deed in step.decided:
                assert deed.sentence
                assert deed.rule, deed.sentence
    assert told > 10


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_known_adds_up(path: Path) -> None:
    for job, lines in lines_of(path).items():
        steps = story(lines, job=job)
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


def spec(job: str = "job-1") -> JobSpec:
    read = StageInput("a", 0, ReadMode.ALL)
    return JobSpec(
        job,
        (
            StageSpec(0, (StageBranch(2),)),
            StageSpec(1, (StageBranch(1, (read,)),), result=True),
        ),
    )


def test_a_worker_that_goes_takes_its_blocks_along() -> None:
    made = Recorded({"w1": 1, "w2": 2})
    made.submit(spec())
    made.succeed(0, 0)
    made.lose("w1")
    steps = story(made.lines, job="job-1")
    assert steps[0].what == "the job arrived: 2 stages, 3 tasks"
    assert steps[0].decided[0].sentence == "send task 0 of stage 0 to w1"
    assert "no other stage" in steps[0].decided[0].rule
    assert steps[1].what == "w1 ended task 0 of stage 0 well: 3 rows in 0.50 s"
    assert (steps[1].knew.waiting, steps[1].knew.running, steps[1].knew.done) == (1, 1, 1)
    assert "its block is lost" in steps[2].decided[1].rule


def test_an_attempt_that_waits_is_given_to_a_free_slot() -> None:
    made = Recorded({"w1": 1}, settings=SchedulerSettings(first_prefetch=2))
    made.submit(spec())
    made.register("w2", slots=2)
    cancelled, sent = story(made.lines, job="job-1")[1].decided
    assert "while a slot is free elsewhere" in cancelled.rule
    assert "waited in another worker's line" in sent.rule


def test_lines_of_other_jobs_change_nothing_here() -> None:
    made = Recorded({"w1": 1, "w2": 3})
    made.submit(spec())
    made.submit(spec("job-2"))
    steps = story(made.lines, job="job-1")
    assert made.lines[1].decisions
    assert steps[1].what.startswith("of job-2: ")
    assert steps[1].knew.waiting + steps[1].knew.running == 3
    assert steps[1].decided == ()


def test_a_kind_of_a_later_version_is_named() -> None:
    stored = JournalEvent(1, "", "moon_rose", 0.0, 0.0, "{}", '[["howl", "w1"]]')
    (step,) = story([Row.read(stored)])
    assert step.what == "moon rose"
    assert step.decided[0].sentence == "howl"


def large(tasks: int) -> list[Row]:
    """A job of so many tasks on ten workers; one of them is lost and one comes on the way."""
    settings = SchedulerSettings(first_prefetch=tasks, max_prefetch=tasks)
    made = Recorded({f"w{number}": tasks // 20 for number in range(10)}, settings=settings)
    made.submit(JobSpec("job-1", (StageSpec(0, (StageBranch(tasks),), result=True),)))
    lost = set(made.leased("w0"))
    for key in [key for key in made.leased() if key not in lost][: tasks // 2]:
        made.end(key)
    made.lose("w0")
    made.register("w10", slots=tasks, at=21.0)
    while leased := made.leased():
        made.end(leased[0], at=22.0)
    return made.lines


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
        plot = StepPager("job-1")
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
    plot = StepPager("job-1")
    for begin in range(0, len(lines), 100):
        plot.take(lines[begin : begin + 100])
    assert plot.told == len(whole)
    pages = [plot.page(number, total=0) for number in range(1, len(whole) + 1, STEPS_PER_PAGE)]
    assert [page.first for page in pages] == [1 + n * STEPS_PER_PAGE for n in range(len(pages))]
    told = [step for page in pages for step in page.steps]
    assert [(s.seq, s.what, s.done) for s in told] == [(s.seq, s.what, s.knew.done) for s in whole]
    assert plot.page(len(whole), total=0) == pages[-1] == plot.page(10**9, total=0)
    assert told[-1].done == 700
