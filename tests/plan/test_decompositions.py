"""Every aggregate of every dtype gives in two steps what it gives in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest
from polars import col
from polars.testing import assert_frame_equal
from tests.plan.every_dtype import KINDS, NESTED, every_dtype
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

ALL = cs.by_name(KINDS)
FLAT = cs.by_name([kind for kind in KINDS if kind not in NESTED])
NUMBERS = cs.numeric() - cs.by_name("y")
MOMENTS = cs.numeric() | cs.by_name("flag", "nothing")
BITS = cs.integer() | cs.boolean()

SCALARS: dict[str, pl.Expr] = {
    "sum": (NUMBERS | cs.by_name("flag", "span", "nothing")).sum(),
    "mean": (FLAT - cs.by_name("text", "raw", "cat", "enum")).mean(),
    "min": FLAT.min(),
    "max": FLAT.max(),
    "nan_max": FLAT.nan_max(),
    "count": ALL.count(),
    "len": ALL.len(),
    "first": ALL.first(),
    "last": ALL.last(),
    "first known": ALL.first(ignore_nulls=True),
    "last known": ALL.last(ignore_nulls=True),
    "first of filtered": ALL.filter(col("y") > 20).first(),
    "last of known": ALL.drop_nulls().last(),
    "sum of filtered": NUMBERS.filter(col("y") > 28).sum(),
    "any": (NUMBERS | cs.boolean()).any(),
    "all": (NUMBERS | cs.boolean()).all(),
    "any or null": (NUMBERS | cs.boolean()).any(ignore_nulls=False),
    "all or null": (NUMBERS | cs.boolean()).all(ignore_nulls=False),
    "var": MOMENTS.var(),
    "var of all": MOMENTS.var(ddof=0),
    "std": MOMENTS.std(),
    "std of few": MOMENTS.std(ddof=23),
    "n_unique": ALL.n_unique(),
    "n_unique of filtered": ALL.filter(col("y") > 28).n_unique(),
    "product": (cs.integer() | cs.float() | cs.boolean()).product(),
    "and": BITS.bitwise_and(),
    "or": BITS.bitwise_or(),
    "xor": BITS.bitwise_xor(),
    "null_count": ALL.null_count(),
    "has_nulls": ALL.has_nulls(),
    "is_empty": ALL.filter(col("y") > 28).is_empty(),
}
PAIRS: dict[str, list[pl.Expr]] = {
    "corr": [pl.corr(kind, "y").alias(kind) for kind in ("i8", "u64", "f32", "flag")],
    "cov": [pl.cov(kind, "y").alias(kind) for kind in ("i64", "f64", "flag")],
    "cov of all": [pl.cov("i64", "i16", ddof=0)],
    "expressions": [
        (col("f32").fill_nan(None).sum() / pl.len()).alias("share"),
        pl.when(col("i64").max() > 4).then(col("text").first()).alias("when"),
        (col("at").max() - col("at").min()).alias("range"),
    ],
}
LISTS: dict[str, pl.Expr] = {
    "head": ALL.head(2),
    "tail": ALL.tail(3),
}
BY_KEY: dict[str, pl.Expr] = {
    "median": (FLAT - cs.by_name("text", "raw", "cat", "enum")).median(),
    "quantile": NUMBERS.quantile(0.3),
    "implode": ALL.implode(),
    "rows": ALL,
    "mode": ALL.mode(maintain_order=True),
    "unique": ALL.unique(maintain_order=True),
    "top_k": ALL.top_k(3),
    "bottom_k": ALL.bottom_k(2),
    "value_counts": FLAT.value_counts(sort=True).len(),
    "min_by": ALL.min_by("y"),
    "skew": NUMBERS.skew(),
    "arg_max": FLAT.arg_max(),
    "deviations": (NUMBERS.fill_null(0) - NUMBERS.min()).sum(),
    "slice": ALL.slice(1, 2),
    "function": col("i64").map_elements(lambda n: 7 if n else 0, return_dtype=pl.Int64).sum(),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.LazyFrame:
    path = tmp_path_factory.mktemp("dtypes") / "rows.parquet"
    every_dtype().write_parquet(path, row_group_size=13)
    return pl.scan_parquet(path)


def plan_of(query: pl.LazyFrame, parallelism: int) -> StageGraph:
    settings = PlanSettings(
        single_task_bytes=0, parallelism=parallelism, fallback="raise", large_bytes=0
    )
    return plan_outputs([PlanOutput("out", query)], settings=settings)


def names_of(graph: StageGraph) -> set[str]:
    return {stage.name for stage in graph.stages}


@pytest.mark.parametrize("name", [*SCALARS, *PAIRS])
def test_of_all_rows(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.select(SCALARS.get(name, PAIRS.get(name)))
    found = run_inline(plan_of(query, 4), tmp_path).results["out"]
    assert_frame_equal(found, query.collect())


def test_of_no_rows(rows: pl.LazyFrame, tmp_path: Path) -> None:
    named = [SCALARS[name].name.suffix(f" {name}") for name in SCALARS]
    query = rows.filter(col("y") > 99).select(named)
    found = run_inline(plan_of(query, 2), tmp_path).results["out"]
    assert_frame_equal(found, query.collect())


@pytest.mark.parametrize("name", [*SCALARS, *PAIRS, *LISTS])
def test_of_groups(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.group_by("k").agg(SCALARS.get(name, PAIRS.get(name, LISTS.get(name))))
    graph = plan_of(query, 3)
    assert "partial group_by" in names_of(graph)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found.sort("k"), query.collect().sort("k"))


@pytest.mark.parametrize("name", BY_KEY)
def test_of_groups_whose_rows_meet(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.group_by("k").agg(BY_KEY[name])
    graph = plan_of(query, 3)
    assert "group_by" in names_of(graph)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found.sort("k"), query.collect().sort("k"))


@pytest.mark.parametrize("parallelism", [2, 9, 40])
@pytest.mark.parametrize("whole", [False, True])
def test_groups_in_their_order(
    whole: bool, parallelism: int, rows: pl.LazyFrame, tmp_path: Path
) -> None:
    by = ["k", (col("i64") % 3).alias("third")]
    aggregates = [BY_KEY["median"] if whole else SCALARS["first"], SCALARS["len"].name.suffix("n")]
    query = rows.group_by(by, maintain_order=True).agg(aggregates)
    graph = plan_of(query, parallelism)
    assert "order" in names_of(graph)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(found, query.collect())


Query = Callable[[pl.LazyFrame], pl.LazyFrame]

GROUPINGS: dict[str, Query] = {
    "of filtered groups": lambda f: (
        f.group_by("k").having(col("i64").first() > 0).agg(col("i8").sum())
    ),
    "of filtered groups whose rows meet": lambda f: (
        f.group_by("cat", maintain_order=True).having(pl.len() > 20).agg(col("i8").median())
    ),
    "by an expression": lambda f: f.group_by(col("i64") % 3, maintain_order=True).agg(pl.len()),
    "by a selector": lambda f: f.group_by(cs.by_dtype(pl.Enum, pl.Date)).agg(col("i8").median()),
    "all": lambda f: f.group_by("cat", maintain_order=True).all(),
    "head": lambda f: f.group_by("cat", maintain_order=True).head(2),
    "tail": lambda f: f.group_by("cat").tail(1),
    "len": lambda f: f.group_by("cat").len(name="Len"),
    "nothing": lambda f: f.group_by("cat", maintain_order=True).agg(),
    "function of groups": lambda f: f.group_by("cat").map_groups(
        lambda group: group.select(pl.len().cast(pl.Int64).alias("n")), schema={"n": pl.Int64}
    ),
    "no rows": lambda f: f.filter(col("y") > 99).group_by("k", maintain_order=True).agg(pl.len()),
    "no keys": lambda f: f.group_by([]).agg(col("i8").sum(), col("text").first()),
    "a constant key": lambda f: f.group_by(pl.lit(1)).agg(col("text").last(), pl.len()),
}


@pytest.mark.parametrize("name", GROUPINGS)
def test_kinds_of_groups(name: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = GROUPINGS[name](rows)
    found = run_inline(plan_of(query, 3), tmp_path).results["out"]
    ordered = "maintain_order=True" in query.explain()
    assert_frame_equal(found, query.collect(), check_row_order=ordered)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_every_dtype(kind: str, rows: pl.LazyFrame, tmp_path: Path) -> None:
    query = rows.group_by(kind, maintain_order=True).agg(pl.len(), col("k").first())
    found = run_inline(plan_of(query, 3), tmp_path).results["out"]
    assert_frame_equal(found, query.collect())
