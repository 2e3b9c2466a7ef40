"""A history that fails is shrunk, and its message repeats it."""

from __future__ import annotations

import pytest

from minispark.scheduler import lineage
from minispark.testing.sim import SimOptions, SimulationError, World
from minispark.testing.sim.shrink import shrink


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers of an indeterminate stage keep what they read of its lost version."""
    monkeypatch.setattr(lineage, "unrepeatable", lambda job, needed: None)


def failure(options: SimOptions) -> SimulationError:
    with pytest.raises(SimulationError) as caught:
        World(options).run()
    return caught.value


def first_failure(seeds: int) -> SimulationError:
    for seed in range(seeds):
        try:
            World(SimOptions(seed)).run()
        except SimulationError as error:
            return error
    pytest.fail(f"none of {seeds} histories goes wrong")


@pytest.mark.usefixtures("broken")
def test_what_goes_wrong_is_made_smaller_and_goes_wrong_again() -> None:
    first = first_failure(200)
    small = shrink(first)
    assert len(World(small.options).faults.active) < len(World(first.options).faults.active)
    again = failure(small.options)
    assert (again.reason, again.story) == (small.reason, small.story)
    assert small.options.command in str(again)
