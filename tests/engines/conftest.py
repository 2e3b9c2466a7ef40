import pytest

from minispark.engines.local import LocalRunner


@pytest.fixture(scope="session")
def runner():
    """One embedded engine for all tests: its processes take a second to start."""
    with LocalRunner(2) as made:
        yield made
