"""A journal told in words: kept journals of real clusters, and single lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.chaos import recordings
from tests.chaos.recordings import load
from tests.observe.recorded import Recorded

from minispark.ids import TaskKey
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import Row, Submission, event_of
from minispark.observe.record import JobRecord
from minispark.observe.story import story
from minispark.observe.story_words import reason_words
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler.commands import CancelTask, LaunchTask
from minispark.scheduler.reasons import Reason, Why
from minispark.scheduler.snapshot import SCHEDULER_VERSION
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings
from minispark.testing.sim.records import graph_of
from minispark.ui import STEPS_PER_PAGE, StepPager

KEPT = sorted((Path(__file__).parent.parent / "chaos" / "journals").glob("*.gz"))


def lines_of(path: Path) -> dict[str, list[Row]]:
    """The rows of each job that was submitted and ended in a kept journal, with all others."""
    rows = [Row.read(stored) for stored in load(path).rows]
    return dict.fromkeys((r.job for r in rows if isinstance(r.happening, Submission)), rows)


def record_of(rows: Iterable[Row], job: str = "job-1") -> JobRecord:
    """A new record of a job that the rows submit."""
    specs = (row.happening.job for row in rows if isinstance(row.happening, Submission))
    graph = next(graph_of(spec) for spec in specs if spec.job == job)
    return JobRecord(job, job, graph, 0.0)


def attempts_in(row: Row) -> list[tuple[str, TaskKey]]:
    """The attempts, with their workers, that a row launches or cancels."""
    return [(d.worker, d.key) for d in row.decisions if isinstance(d, LaunchTask | CancelTask)]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_kept_journals_are_told_in_words(path: Path) -> None:
    """Each line and each decision has a sentence of its own, about the task and worker it names."""
    jobs, version = lines_of(path), recordings.load(path).version
    assert jobs
    told = 0
    for job, lines in jobs.items():
        for line, step in zip(lines, story(lines, record_of(lines, job)), strict=True):
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
                assert deed.rule or version < SCHEDULER_VERSION, deed.sentence
    assert told > 10


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_known_adds_up(path: Path) -> None:
    for job, lines in lines_of(path).items():
        steps = list(story(lines, record_of(lines, job)))
        tasks = {step.waiting + step.running + step.done for step in steps}
        assert len(tasks) == 1, job
        for step in steps:
            assert sum(step.workers.values()) >= step.running
            assert all(stage.waiting >= 0 for stage in step.stages)
        end = next(
            step for step in steps
            if any("the job SUCCEEDED" in deed.sentence for deed in step.decided)
        )  # fmt: skip
        assert end.stages[-1].done == end.stages[-1].tasks
        assert end.running == 0


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
    steps = list(story(made.lines, record_of(made.lines)))
    assert steps[0].what == "the job was submitted: 2 stages, 3 tasks"
    assert steps[0].decided[0].sentence == "send task 0 of stage 0 to w1"
    assert "first attempt" in steps[0].decided[0].rule
    assert steps[1].what == "w1 completed task 0 of stage 0: 3 rows in 0.50 s"
    assert (steps[1].waiting, steps[1].running, steps[1].done) == (1, 1, 1)
    down, again = steps[2].decided
    assert (down.sentence, down.rule) == ("mark w1 as DOWN", "it sent no heartbeat for 10 s")
    assert again.rule == "its output was lost with w1"


def test_an_attempt_that_waits_is_given_to_a_free_slot() -> None:
    made = Recorded({"w1": 1}, settings=SchedulerSettings(first_prefetch=2))
    made.submit(spec())
    made.register("w2", slots=2)
    submitted, moved = story(made.lines, record_of(made.lines))
    assert submitted.decided[1].sentence.endswith("to w1, where it waits for a free slot")
    cancelled, sent = moved.decided
    assert cancelled.rule == "it waited on w1 while another worker had a free slot" == sent.rule
    assert cancelled.sentence == "cancel task 1 of stage 0 on w1"


def test_every_reason_has_words_that_name_its_evidence() -> None:
    key = TaskKey("j", 3, 0, 7, 1)
    for why in Why:
        said = reason_words(Reason(why, "w9", key, 42))
        assert said
        assert "{" not in said
    assert reason_words(Reason(Why.FAILED, "w9", key)) == "attempt 2 failed on w9"
    assert reason_words(Reason(Why.OUTPUT_LOST, "w9", key)) == "its output was lost with w9"
    assert reason_words(None) == ""


def test_lines_of_other_jobs_change_nothing_here() -> None:
    made = Recorded({"w1": 1, "w2": 3})
    made.submit(spec())
    made.submit(spec("job-2"))
    steps = list(story(made.lines, record_of(made.lines)))
    assert made.lines[1].decisions
    assert steps[1].what.startswith("of job-2: ")
    assert steps[1].waiting + steps[1].running == 3
    assert steps[1].decided == []


def test_a_kind_of_a_later_version_is_named() -> None:
    stored = JournalEvent(1, "", "moon_rose", 0.0, 0.0, "{}", '[["howl", "w1"]]')
    (step,) = story([Row.read(stored)], JobRecord("job-1", "", graph_of(spec()), 0.0))
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

    record = record_of(lines)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        pager = StepPager(record)
        pager.take(lines)
    finally:
        sys.settrace(before)
    assert pager.count == len(lines)
    return count


def test_a_job_twice_as_large_takes_twice_the_work() -> None:
    """Counted, not timed: what each line told anew of all tasks would be four times the work."""
    work = [steps_of_python(tasks) for tasks in (250, 500, 1_000)]
    assert work[1] / work[0] < 2.2
    assert work[2] / work[1] < 2.2


def test_a_story_is_told_by_pages_that_make_up_the_whole() -> None:
    lines = large(700)
    whole = list(story(lines, record_of(lines)))
    pager = StepPager(record_of(lines))
    for begin in range(0, len(lines), 100):
        pager.take(lines[begin : begin + 100])
    assert pager.count == len(whole)
    pages = [pager.page(number, total=0) for number in range(1, len(whole) + 1, STEPS_PER_PAGE)]
    assert [page.first for page in pages] == [1 + n * STEPS_PER_PAGE for n in range(len(pages))]
    told = [step for page in pages for step in page.steps]
    assert [(s.seq, s.what, s.done) for s in told] == [(s.seq, s.what, s.done) for s in whole]
    assert pager.page(len(whole), total=0) == pages[-1] == pager.page(10**9, total=0)
    assert told[-1].done == 700
