"""What would be: the scheduler runs a measured job on other workers."""

from __future__ import annotations

import pytest
from tests.observe.recorded import Recorded

from minispark.blocks.meta import Receipt
from minispark.errors import UsageError
from minispark.journal.rows import Row
from minispark.observe.predict import Measured, measured, predict
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec


def job(maps: int, seconds: float, *, round_s: float = 0.0, after_s: float = 0.0) -> Measured:
    spec = JobSpec(
        "j",
        (
            StageSpec(0, (StageBranch(maps),)),
            StageSpec(1, (StageBranch(1, (StageInput("in", 0, ReadMode.ALL),)),), sink=True),
        ),
    )
    places = [(0, number) for number in range(maps)] + [(1, 0)]
    return Measured(
        spec,
        dict.fromkeys(places, seconds),
        dict.fromkeys(places, Receipt((1,), (1,))),
        round_s=round_s,
        after_s=after_s,
        total_s=0.0,
    )


@pytest.mark.parametrize(
    ("workers", "slots", "waves"), [(1, 1, 12), (2, 1, 6), (4, 1, 3), (2, 3, 2)]
)
def test_tasks_run_in_waves(workers: int, slots: int, waves: int) -> None:
    found = predict(job(12, 1.0), workers=workers, slots=slots)
    assert found.total_s == pytest.approx(waves + 1.0, abs=0.01)
    first, last = found.stages
    assert (first.tasks, first.begins_s) == (12, 0.0)
    assert last.begins_s == pytest.approx(waves, abs=0.01)
    assert last.seconds == pytest.approx(1.0, abs=0.01)


def test_more_workers_than_tasks_help_nobody() -> None:
    assert predict(job(3, 1.0), workers=50, slots=1).total_s == pytest.approx(2.0, abs=0.01)


def test_launches_reports_and_commit_take_their_time() -> None:
    found = predict(job(1, 1.0, round_s=0.5, after_s=0.25), workers=1, slots=1)
    assert found.total_s == pytest.approx(2 * 1.5 + 0.25, abs=0.01)


def journal() -> list[Row]:
    made = Recorded({"w": 1})
    made.submit(JobSpec("j", (StageSpec(0, (StageBranch(1),), result=True),)), at=10.0)
    made.succeed(0, 0, job="j", took_s=2.0, at=12.5)
    return made.lines


def test_a_journal_is_measured() -> None:
    found = measured(journal(), "j")
    assert found.seconds == {(0, 0): 2.0}
    assert found.round_s == pytest.approx(0.5)
    assert (found.after_s, found.total_s) == (0.0, 2.5)
    assert predict(found, workers=1, slots=1).total_s == pytest.approx(2.5, abs=0.01)


def test_a_job_that_has_not_succeeded_cannot_be_measured() -> None:
    with pytest.raises(UsageError, match="j has not succeeded"):
        measured(journal()[:1], "j")
