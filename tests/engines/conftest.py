from collections.abc import Iterator

import pytest
from tests.runners.inject import InjectingRunner
from tests.runners.twice import TwiceRunner

from minispark.engines.local import LocalRunner


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
