from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.tables import write_tables

from minispark.client.local_cluster import LocalCluster


@pytest.fixture(scope="package")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tables as CSV, JSONL and Parquet, each in several files, one of them empty."""
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="package")
def cluster(tables: Path) -> Iterator[LocalCluster]:
    """A master and two workers with one slot each; relative paths mean the tables' folder."""
    with LocalCluster(workers=2, threads=1, data_root=tables) as running:
        yield running
