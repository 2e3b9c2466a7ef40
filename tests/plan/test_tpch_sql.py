"""The queries of TPC-H as SQL text are split, and give the rows of plain Polars."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from bench.tpc.equal import check_equal
from bench.tpc.suites import SUITES
from tests.plan.tpch_tables import write_tables
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings

TEXTS = SUITES["tpch"].sql
SPLIT = PlanSettings(
    single_task_bytes=0, parallelism=2, broadcast_bytes=4096, fallback="raise", large_bytes=0
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> pl.SQLContext[pl.LazyFrame]:
    return pl.SQLContext(write_tables(tmp_path_factory.mktemp("tpch")), eager=False)


@pytest.mark.parametrize("name", TEXTS)
def test_a_query_is_split(name: str, tables: pl.SQLContext[pl.LazyFrame], tmp_path: Path) -> None:
    query = tables.execute(TEXTS[name])
    expected = query.collect(engine="in-memory")
    assert expected.height
    graph = plan_outputs([PlanOutput("out", query)], settings=SPLIT)
    assert not any("SQL" in stage.why for stage in graph.stages)
    check_equal(run_inline(graph, tmp_path).results["out"], expected)
