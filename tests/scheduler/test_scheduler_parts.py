"""The parts by themselves: placement, liveness, lineage; and the page that draws the states."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
from tests.scheduler.play import Play, key, map_reduce, single

from minispark.blocks.meta import Receipt
from minispark.plan.stages import Label
from minispark.scheduler import invariants, job_queue, lineage, placement
from minispark.scheduler.commands import LaunchTask
from minispark.scheduler.events import JobSubmitted, WorkerRegistered
from minispark.scheduler.spec import StageBranch, StageSpec
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JOB_ARROWS
from minispark.scheduler.tasks import TASK_ARROWS
from minispark.scheduler.worker_index import WorkerIndex
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings

STATES_PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def line_of(slots: int = 4, **loads: int) -> list[Worker]:
    line = []
    for turn, (name, load) in enumerate(loads.items()):
        line.append(Worker(name, 1, slots, turn=turn))
        for number in range(load):
            line[-1].take(key(0, number), 0.0)
    return line


def choose(
    line: list[Worker], *avoid: str, there: dict[str, int] | None = None, ahead: int = 2
) -> str | None:
    lines = WorkerIndex(max_load_diff=2, max_prefetch=2)
    for worker in line:
        lines.see(worker)
    held = there or {}
    chosen = placement.choose(
        lines, avoid=avoid, ahead=ahead, near=held, input_on=lambda name: held.get(name, 0)
    )
    return chosen.name if chosen is not None else None


def test_the_first_in_line_gets_the_task_unless_it_is_overloaded() -> None:
    assert choose(line_of(w1=2, w2=1, w3=3)) == "w1"
    assert choose(line_of(w1=4, w3=3, w2=1, slots=9)) == "w3"


def test_a_free_slot_comes_before_a_place_in_a_queue() -> None:
    assert choose(line_of(w1=1, w2=0, slots=1)) == "w2"
    assert choose(line_of(w1=1, w2=1, slots=1)) == "w1"
    assert choose(line_of(w1=3, w2=3, slots=1)) is None


def test_input_decides_only_among_equals() -> None:
    assert choose(line_of(w1=0, w2=0, w3=1), there={"w2": 5, "w3": 9}) == "w2"


def test_workers_that_failed_it_are_asked_last() -> None:
    assert choose(line_of(w1=0, w2=1), "w1") == "w2"
    assert choose(line_of(w1=0, w2=1), "w1", "w2") == "w1"
    assert choose(line_of(w1=0, w2=3, slots=1), "w1") is None


def test_a_long_task_is_not_leased_ahead_of_a_slot() -> None:
    assert choose(line_of(w1=1, w2=1, slots=1), ahead=0) is None
    assert choose(line_of(w1=2, w2=1, slots=2), ahead=0) == "w2"


def test_the_line_is_as_long_as_the_tasks_are_short() -> None:
    settings = SchedulerSettings()
    stage = StageRun(StageSpec(0, (StageBranch(9),)), 0, Label.UNORDERED, [])
    assert job_queue.prefetch_depth(stage, settings) == settings.first_prefetch == 2
    depths = {}
    for took_s in (0.0, 0.001, 0.02, 0.1, 0.3, 0.6):
        stage = StageRun(StageSpec(0, (StageBranch(9),)), 0, Label.UNORDERED, [])
        stage.note_time(took_s)
        depths[took_s] = job_queue.prefetch_depth(stage, settings)
    assert depths == {0.0: 64, 0.001: 64, 0.02: 16, 0.1: 4, 0.3: 2, 0.6: 0}
    # One that has nothing to do beside one that has: the median may be 0 where the mean is not.
    stage.times_s, stage.prefetch_depth = [0.0, 0.05], None
    assert job_queue.prefetch_depth(stage, settings) == 16
    stage.prefetch_depth = None
    assert job_queue.prefetch_depth(stage, SchedulerSettings(max_prefetch=1)) == 1


def test_short_tasks_are_leased_many_at_a_time_and_evenly() -> None:
    play = Play("w0", "w1", settings=SchedulerSettings())
    play.submit(single(500))
    assert len(play.scheduler.active_attempts("w0")) == 3
    for _ in range(200):
        name = max(("w0", "w1"), key=lambda name: len(play.scheduler.active_attempts(name)))
        play.now += 0.001
        play.done(play.scheduler.active_attempts(name)[0])
    held = [len(play.scheduler.active_attempts(name)) for name in ("w0", "w1")]
    assert max(held) - min(held) <= 2
    assert 40 <= min(held) <= 65


def test_who_is_excluded_works_only_where_nobody_fit_would_do() -> None:
    first, second, third = line_of(w1=0, w2=0, w3=0, slots=1)
    first.excluded_until_s = 60.0
    assert choose([first, second, third]) == "w2"
    assert choose([first, second, third], "w2") == "w3"
    assert choose([first, second, third], "w2", "w3") == "w1"
    assert choose([first, second, third], "w1", "w2", "w3") == "w2"
    second.full, third.suspect = "disk", True
    assert choose([first, second, third]) == "w1"
    assert choose([second, third]) is None


def test_tasks_are_dealt_round_to_equal_workers() -> None:
    play = Play("w0", "w1", "w2", slots=2)
    launches = [c for c in play.submit(single(6)) if isinstance(c, LaunchTask)]
    assert [c.worker for c in launches] == ["w0", "w1", "w2", "w0", "w1", "w2"]


def test_slots_are_filled_before_attempts_are_leased_ahead() -> None:
    play = Play("w0", "w1", slots=1, settings=SchedulerSettings(max_prefetch=1))
    launches = [c for c in play.submit(single(9)) if isinstance(c, LaunchTask)]
    assert [c.worker for c in launches] == ["w0", "w1", "w0", "w1"]


def test_without_heartbeats_no_timer_is_asked_for() -> None:
    # An engine within one process has no network to doubt.
    settings = SchedulerSettings(heartbeat_timeout_s=inf, no_worker_grace_s=inf)
    play = Play(settings=settings)
    assert play.scheduler.step(JobSubmitted(single()), 0.0) == []
    play.scheduler.step(WorkerRegistered("w0", 1, 1), 0.0)
    assert play.scheduler.wake_s == inf


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Receipt((1, 2), (3, 4)), Receipt((1, 2), (3, 4)), True),
        (Receipt((1, 2), (3, 4)), Receipt((2, 1), (3, 4)), False),
        (Receipt((1, 2), (3, 4)), Receipt((1, 2), (3, 5)), False),
        (Receipt((1, 2), (3, None)), Receipt((1, 2), (3, 5)), True),
        (Receipt((1, 2)), Receipt((1, 2), (3, 5)), True),
    ],
)
def test_receipts_are_compared_where_they_say_something(
    first: Receipt, second: Receipt, same: bool
) -> None:
    assert lineage.same_rows(first, second) is same


def test_a_contradiction_is_told_as_a_story() -> None:
    play = Play("w0")
    play.submit(map_reduce())
    del play.scheduler.state.workers["w0"].leased[key(0, 0)]
    with pytest.raises(invariants.InvariantError, match="has 1 attempts at work of 0") as caught:
        invariants.check(play.scheduler, play.now)
    assert "stage 0 g0 determinate Lr" in str(caught.value)


def test_the_page_draws_every_arrow_and_no_other() -> None:
    tasks = {f"{a.__name__} --> {b.__name__}: {why}" for (a, b), why in TASK_ARROWS.items()}
    jobs = {f"{a} --> {b}: {why}" for (a, b), why in JOB_ARROWS.items()}
    lines = [line.strip() for line in STATES_PAGE.read_text().splitlines()]
    drawn = {line for line in lines if "-->" in line and "[*]" not in line}
    workers = {line for line in drawn if line.startswith(("UP ", "DOWN ", "DRAINING "))}
    assert drawn - workers == tasks | jobs
    assert len(workers) == 6
