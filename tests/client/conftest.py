from collections.abc import Iterator

import pytest

from minispark.client import LocalCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One cluster for all tests that leave its processes alone."""
    with LocalCluster(2) as made:
        yield made
