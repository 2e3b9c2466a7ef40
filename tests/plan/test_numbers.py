"""Row numbers, slices, frames beside each other, pivots: split, with the rows of plain Polars."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.rules import slices
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame], pl.LazyFrame]
V, X, N, K = col("v"), col("x"), col("i"), col("k")

SPLIT: dict[str, Query] = {
    "row index": lambda f: f.filter(V != 20).with_row_index("n", 5).filter(col("n") > 8),
    "long slice": lambda f: f.slice(10, 150),
    "rest": lambda f: f.slice(7),
    "from the end": lambda f: f.slice(-100, 50),
    "before the first row": lambda f: f.slice(-1000, 800),
    "long tail": lambda f: f.tail(120),
    "long head of a sort": lambda f: f.sort("v", "i").head(50),
    "every": lambda f: f.gather_every(7, 2),
    "every of expressions": lambda f: f.select(V.gather_every(3), z=(N + 1).gather_every(3)),
    "reverse": lambda f: f.reverse(),
    "slices of columns": lambda f: f.select(pl.all().slice(3, 9)),
    "tail of a column": lambda f: f.select(V.tail(30)),
    "interpolated": lambda f: f.with_columns(V.interpolate(), b=X.interpolate()),
    "interpolated frame": lambda f: f.interpolate(),
    "beside": lambda f: pl.concat([f, f.select(z="i")], how="horizontal"),
    "beside more rows": lambda f: pl.concat(
        [f.filter(V > 20).select("v"), f.select(z="i"), f.head(3).select(q="i")],
        how="horizontal_extend",
    ),
    "top": lambda f: f.select(V.top_k(5).sort(), m=N.bottom_k(5).sort()),
    "top, summed": lambda f: f.select(V.top_k(5).sum() + N.top_k(3).min()),
    "top by": lambda f: f.select(pl.struct("i", "v").top_k_by("i", 4).sort()),
    "unpivot": lambda f: f.unpivot(on=["v", "j"], index="i").sort(pl.all()),
    "row functions": lambda f: f.fill_nan(3).set_sorted("i").filter(N > 50),
    "pivot": lambda f: f.pivot(
        "k", on_columns=["a", "b", None], index="j", values="v", aggregate_function="sum"
    ).sort("j"),
    "pivot by order": lambda f: f.pivot(
        "j", on_columns=[0, 1], index=["v", "k"], values="i", aggregate_function="first"
    ).sort("v", "k"),
    "schema": lambda f: f.match_to_schema(
        {"i": pl.Int64, "v": pl.Int64, "z": pl.String},
        missing_columns={"z": pl.lit("new")},
        extra_columns="ignore",
    ),
    "sum of all": lambda f: f.sum(),
    "mean of all": lambda f: f.mean(),
    "largest of all": lambda f: f.max(),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    folder = tmp_path_factory.mktemp("numbers")
    floats = [0.0, -0.0, math.nan, 1.5, None]
    for part in range(3):
        numbers = range(part * 60, part * 60 + 60)
        pl.DataFrame(
            {
                "k": [("a", "b", "c", None)[n * 7 % 11 % 4] for n in numbers],
                "j": [n * 5 % 3 for n in numbers],
                "x": [floats[n * 3 % 5] for n in numbers],
                "v": [None if n % 17 == 0 else n * 31 % 50 for n in numbers],
                "i": numbers,
            }
        ).write_parquet(folder / f"{part}.parquet", row_group_size=5)
    return pl.scan_parquet(folder / "*.parquet")


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", SPLIT)
def test_split(
    name: str,
    few: bool,
    rows: pl.LazyFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "_LOCAL_ROWS", 40)
    chosen = rows.filter(N.is_between(30, 41) | N.is_between(100, 101)) if few else rows
    query = SPLIT[name](chosen)
    settings = PlanSettings(
        single_task_bytes=0, parallelism=6 if few else 3, fallback="raise", large_bytes=0
    )
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


@pytest.mark.parametrize("name", ["row index", "from the end", "every", "reverse", "top", "pivot"])
def test_no_rows(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = SPLIT[name](rows.filter(N < 0))
    settings = PlanSettings(single_task_bytes=0, parallelism=3)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


def test_frames_of_other_heights_are_an_error(rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = pl.concat([rows, rows.filter(V > 20).select(z="i")], how="horizontal")
    settings = PlanSettings(single_task_bytes=0, parallelism=3, fallback="raise", large_bytes=0)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    with pytest.raises(pl.exceptions.ShapeError):
        run_inline(graph, tmp_path)


@pytest.mark.parametrize(
    "query",
    [
        lambda f: f.select(V.reverse(), N.head(3)),
        lambda f: f.select(V.top_k(3), N.head(3)),
        lambda f: f.pivot(
            "k", on_columns=["a"], index="j", values="v", aggregate_function="sum",
            maintain_order=True,
        ),
        lambda f: f.match_to_schema(
            {"i": pl.Int64, "z": pl.UInt32}, missing_columns={"z": pl.len()}, extra_columns="ignore"
        ),
    ],
)  # fmt: skip
def test_what_runs_whole(query: Query, rows: pl.LazyFrame, tmp_path: Path) -> None:
    whole = query(rows.filter(N >= 3))
    settings = PlanSettings(single_task_bytes=0, parallelism=3)
    graph = plan_outputs([PlanOutput("out", whole)], settings=settings)
    assert any(stage.why for stage in graph.stages)
    try:
        expected = whole.collect(engine="in-memory")
    except pl.exceptions.PolarsError as error:
        with pytest.raises(type(error)):
            run_inline(graph, tmp_path)
    else:
        assert_frame_equal(run_inline(graph, tmp_path).results["out"], expected)
