"""`rolling` and `group_by_dynamic` are split and give the rows of plain Polars."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col
from polars.exceptions import InvalidOperationError
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame], pl.LazyFrame]
T, V, N = col("t"), col("v"), col("n")
ANY = [
    V.sum(),
    V.median().alias("half"),
    pl.len(),
    V.first().alias("first"),
    N.implode().alias("all"),
]
SIMPLE = [V.sum(), V.mean().alias("m"), pl.len(), V.first().alias("f"), V.last().alias("l")]

SPLIT: dict[str, Query] = {
    "rolling": lambda f: f.rolling("t", period="2d", group_by="g").agg(ANY),
    "rolling, two groups": lambda f: f.rolling(
        "t", period="2d", offset="-1h", closed="both", group_by=["g", "h"]
    ).agg(ANY),
    "rolling, having": lambda f: (
        f.rolling("t", period="2d", group_by="g").having(pl.len() > 3).agg(ANY)
    ),
    "rolling of all": lambda f: f.rolling("t", period="1d", group_by="g").agg(pl.all().last()),
    "dynamic": lambda f: f.group_by_dynamic("t", every="1d", group_by="g").agg(ANY),
    "dynamic, options": lambda f: f.group_by_dynamic(
        "t",
        every="1d",
        period="3d",
        offset="5h",
        closed="right",
        label="right",
        include_boundaries=True,
        group_by=["g", "h"],
    ).agg(ANY),
    "dynamic, from the first row": lambda f: f.group_by_dynamic(
        "t", every="1w", start_by="datapoint", label="datapoint", group_by=col("h") % 2
    ).agg(ANY),
    "no groups": lambda f: f.group_by_dynamic("t", every="1d").agg(SIMPLE),
    "no groups, options": lambda f: f.group_by_dynamic(
        "t", every="7h", offset="2h", closed="right", label="right", include_boundaries=True
    ).agg(SIMPLE),
    "no groups, having": lambda f: (
        f.group_by_dynamic("t", every="1mo", closed="none").having(pl.len() > 3).agg(SIMPLE)
    ),
    "numbers": lambda f: f.group_by_dynamic("n", every="7i").agg(SIMPLE),
    "dates": lambda f: f.with_columns(T.dt.date()).group_by_dynamic("t", every="3d").agg(SIMPLE),
    "a zone": lambda f: (
        f.with_columns(T.dt.replace_time_zone("Europe/Madrid"))
        .group_by_dynamic("t", every="1d")
        .agg(SIMPLE)
    ),
}
WHOLE: dict[str, Query] = {
    "overlapping": lambda f: f.group_by_dynamic("t", every="1d", period="2d").agg(SIMPLE),
    "closed at both ends": lambda f: f.group_by_dynamic("t", every="1d", closed="both").agg(SIMPLE),
    "rolling": lambda f: f.rolling("t", period="2d").agg(ANY),
    "median": lambda f: f.group_by_dynamic("t", every="1d").agg(ANY),
    "from the first row": lambda f: f.group_by_dynamic("t", every="1d", start_by="datapoint").agg(
        SIMPLE
    ),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    folder = tmp_path_factory.mktemp("time_windows")
    dice = random.Random(3)
    start = dt.datetime(2024, 2, 20)
    times = sorted(start + dt.timedelta(minutes=dice.randint(0, 20_000)) for _ in range(180))
    for part in range(3):
        numbers = range(part * 60, part * 60 + 60)
        pl.DataFrame(
            {
                "t": [times[n] for n in numbers],
                "g": [dice.choice(["a", "bb", "c", None]) for _ in numbers],
                "h": [dice.choice([None, 0, 1, 2]) for _ in numbers],
                "v": [dice.choice([None, 1, 2, 3, 4]) for _ in numbers],
                "n": numbers,
            }
        ).write_parquet(folder / f"{part}.parquet", row_group_size=6)
    return pl.scan_parquet(folder / "*.parquet")


def plan(query: pl.LazyFrame, parallelism: int) -> StageGraph:
    settings = PlanSettings(single_task_bytes=0, parallelism=parallelism)
    return plan_outputs([PlanOutput("out", query)], settings=settings)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", SPLIT)
def test_split(name: str, few: bool, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows.filter(N.is_between(40, 51) | N.is_between(130, 131)) if few else rows)
    graph = plan(query, 7 if few else 3)
    assert [stage.why for stage in graph.stages if stage.why] == []
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", ["rolling", "no groups"])
def test_no_rows(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows.filter(N < 0))
    found = run_inline(plan(query, 3), tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", WHOLE)
def test_what_runs_whole(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = WHOLE[name](rows)
    graph = plan(query, 3)
    assert any(stage.why for stage in graph.stages)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("every", ["1h", "1mo"])
def test_rows_out_of_order_are_an_error(every: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    swapped = pl.concat([rows.filter(N >= 60), rows.filter(N < 60)])
    query = swapped.group_by_dynamic("t", every=every).agg(SIMPLE)
    with pytest.raises(InvalidOperationError, match="not sorted"):
        query.collect(engine="in-memory")
    with pytest.raises(InvalidOperationError, match="not sorted"):
        run_inline(plan(query, 3), tmp_path)
