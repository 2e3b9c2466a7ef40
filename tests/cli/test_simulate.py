"""``minispark simulate`` as a user meets it."""

from __future__ import annotations

import pytest

from minispark.scheduler import lineage
from minispark.testing.sim.batch import FailedHistory, run_history
from minispark.testing.sim.options import SimOptions

from .conftest import Minispark


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers of an indeterminate stage keep what they read of its lost version."""
    monkeypatch.setattr(lineage, "unrepeatable", lambda job, needed: None)


@pytest.mark.usefixtures("broken")
def test_the_command_line_says_how_to_make_it_again(
    minispark: Minispark,
) -> None:
    wrong = next(
        seed for seed in range(400) if isinstance(run_history(SimOptions(seed)), FailedHistory)
    )
    ran = minispark("simulate", "--seed", str(wrong), "--histories", "2", "--jobs", "1")
    assert ran.returncode == 1
    assert "WRONG" in ran.stderr
    assert "the end of its journal:" in ran.stderr
    command = ran.stderr.strip().splitlines()[-1].partition("repeat it with: ")[2]
    words = command.split()
    assert words[:2] == ["minispark", "simulate"]
    again = minispark(*words[1:], "--no-shrink")
    assert again.returncode == 1
    assert command in again.stderr


def test_a_range_of_seeds_is_summed_up(minispark: Minispark) -> None:
    ran = minispark("simulate", "--histories", "20", "--jobs", "1", "--digest")
    assert ran.returncode == 0, ran.stderr
    assert "20 histories" in ran.stdout
    assert "went wrong: 0" in ran.stdout
    assert "digest " in ran.stdout
    assert "seeds 0 to 19" in ran.stderr


def test_one_history_can_be_read(minispark: Minispark) -> None:
    ran = minispark("simulate", "--histories", "1", "--seed", "3", "--journal")
    assert ran.returncode == 0
    assert "MasterRestarted" in ran.stdout
    assert "LaunchTask" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--without", "gravity", "--histories", "1"), "no kind of fault 'gravity'"),
        (("--only-jobs", "x", "--histories", "1"), "expected numbers separated by commas"),
        (("--until", "5"), "for one history"),
        (("--only-workers", "9", "--histories", "1"), "no workers are left"),
    ],
)
def test_what_cannot_be_is_said(
    minispark: Minispark,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    ran = minispark("simulate", *arguments)
    assert ran.returncode == 2
    assert said in ran.stderr
