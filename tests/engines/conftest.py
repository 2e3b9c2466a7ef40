from collections.abc import Iterator
from typing import Any

import pytest
from tests.runners.inject import InjectingRunner
from tests.runners.twice import TwiceRunner

from minispark.engines import polars_engine
from minispark.engines.base import JobOutcome
from minispark.engines.local import LocalRunner
from minispark.plan.stages import StageGraph


@pytest.fixture(
    scope="session",
    params=[LocalRunner, InjectingRunner, TwiceRunner],
    ids=lambda kind: kind.__name__,
)
def runner(request: pytest.FixtureRequest) -> Iterator[LocalRunner]:
    """One embedded engine for all tests: its processes take a second to start.

    All run a second time while blocks are lost, and a third with every task run twice.
    """
    with request.param(2) as made:
        yield made
        if isinstance(made, TwiceRunner):
            assert made.compared
            assert made.disagreements == ()
        if isinstance(made, InjectingRunner):
            assert any(loss.noticed for loss in made.losses)


@pytest.fixture
def jobs(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> list[StageGraph]:
    """Engines of a test run on the processes that are there already; returns what they ran."""
    monkeypatch.setattr(polars_engine, "_embedded", lambda _pid: runner)
    ran: list[StageGraph] = []
    run = runner.run

    def noted(graph: StageGraph, **options: Any) -> JobOutcome:
        ran.append(graph)
        return run(graph, **options)

    monkeypatch.setattr(runner, "run", noted)
    return ran
