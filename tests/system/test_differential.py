"""A sample of the differential suite on a real cluster."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.plan.differential.tables import write_tables
from tests.plan.repeats import in_any_order
from tests.plan.test_differential import CASES, ORDERED, outcome, query_of

import minispark as ms
from minispark.client.local_cluster import LocalCluster


@pytest.fixture(scope="module")
def folder(tables: Path) -> Path:
    made = tables / "differential"
    made.mkdir()
    write_tables(made)
    return made


@pytest.mark.process
@pytest.mark.parametrize("name", list(CASES)[7::97])
def test_it_gives_what_polars_gives(cluster: LocalCluster, folder: Path, name: str) -> None:
    query = query_of(name, folder, "main")
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=3)
    expected = outcome(lambda: query.collect(engine="in-memory", optimizations=ORDERED))
    actual = outcome(lambda: query.collect(engine=engine))
    if not (isinstance(expected, pl.DataFrame) and isinstance(actual, pl.DataFrame)):
        assert actual == expected
    elif CASES[name].ordered:
        assert_frame_equal(actual, expected)
    else:
        assert_frame_equal(in_any_order(actual), in_any_order(expected))
