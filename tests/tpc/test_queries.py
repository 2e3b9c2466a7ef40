"""Queries of TPC-H and TPC-DS, cut in two ways, give the rows of plain Polars; none gathers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from bench.tpc.equal import check_equal
from bench.tpc.suites import SUITES
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings

pytestmark = pytest.mark.tpc

_DATA = Path("data/bench").absolute()
_BROADCAST = PlanSettings(single_task_bytes=0, parallelism=3, fallback="raise", large_bytes=0)
SETTINGS: Mapping[str, PlanSettings] = {
    "broadcast": _BROADCAST,
    "hash": replace(_BROADCAST, broadcast_bytes=0),
}


@cache
def _data(suite: str) -> Path:
    return SUITES[suite].generate(_DATA, scale=0.01)


@pytest.mark.parametrize(
    ("suite", "name"), [(suite.name, name) for suite in SUITES.values() for name in suite.names]
)
def test_rows_equal_plain_polars(suite: str, name: str, tmp_path: Path) -> None:
    query = SUITES[suite].query(name, _data(suite))
    expected = query.collect(engine="streaming")
    for label, settings in SETTINGS.items():
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        job = f"job-{label}-0-0"
        check_equal(run_inline(graph, tmp_path, job=job).results["out"], expected)


def test_results_are_not_all_empty() -> None:
    heights = [
        query(_data("tpch")).select(pl.len()).collect(engine="streaming").item()
        for query in SUITES["tpch"].frames.values()
    ]
    assert all(heights)
