"""Joins are split and give the rows of plain Polars; in order where the join keeps one."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from polars import col
from polars.exceptions import ComputeError, InvalidOperationError
from polars.testing import assert_frame_equal
from tests.plan.repeats import in_any_order
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.exchanges import STAMP
from minispark.plan.stages import OutputKind, StageGraph
from minispark.settings import PlanSettings

Query = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]

HOWS = ("inner", "left", "right", "full", "semi", "anti")
ORDERS = ("left", "right", "left_right", "right_left")
WAYS = {
    "broadcast": PlanSettings(single_task_bytes=0, parallelism=3),
    "hash": PlanSettings(single_task_bytes=0, parallelism=3, broadcast_bytes=0),
}
KEYS: dict[str, tuple[list[Any], Any]] = {
    "integer": ([1, 2, 3, -1, None], pl.Int8),
    "float": ([0.0, -0.0, math.nan, 1.5, None], pl.Float32),
    "decimal": ([Decimal("1.50"), Decimal("2.25"), Decimal(0), None], pl.Decimal(10, 2)),
    "large": ([2**100, -(2**100), 1, None], pl.Int128),
    "text": (["a", "", "ñ", None], pl.String),
    "binary": ([b"a", b"", b"\xff", None], pl.Binary),
    "categorical": (["a", "", "ñ", None], pl.Categorical),
    "enum": (["y", "x", None], pl.Enum(["y", "x", "z"])),
    "boolean": ([True, False, None], pl.Boolean),
    "nothing": ([None], pl.Null),
    "day": ([dt.date(2024, 2, day) for day in (1, 2, 29)], pl.Date),
    "moment": (
        [dt.datetime(2024, 3, 31, hour, 30) for hour in (0, 1, 4)],
        pl.Datetime("ms", "Europe/Berlin"),
    ),
    "span": ([dt.timedelta(hours=1), dt.timedelta(0), None], pl.Duration("ns")),
    "time": ([dt.time(1), dt.time(2), None], pl.Time),
    "list": ([[1], [], [None], None, [1, 2]], pl.List(pl.Int64)),
    "list of floats": ([[0.0], [-0.0], [math.nan], None], pl.List(pl.Float64)),
    "list of categories": ([["a"], ["b", "a"], [None]], pl.List(pl.Categorical)),
    "array": ([[1, 2], [2, 1], [None, 1], None], pl.Array(pl.Int16, 2)),
    "struct": (
        [{"x": 1, "y": "a"}, {"x": None, "y": None}, {"x": 1, "y": None}, None],
        pl.Struct({"x": pl.Int64, "y": pl.String}),
    ),
    "list of structs": ([[{"x": 1}], [{"x": None}], None], pl.List(pl.Struct({"x": pl.Int64}))),
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    folder = tmp_path_factory.mktemp("joins")
    for name, step, rows in (("left", 7, 60), ("right", 5, 45)):
        for part in range(3):
            numbers = range(part * rows // 3, (part + 1) * rows // 3)
            columns = {
                key: pl.Series(
                    [values[n * step % (n % 5 + 3) % len(values)] for n in numbers], dtype=dtype
                )
                for key, (values, dtype) in KEYS.items()
            }
            keys = [None if n % 13 == 0 else n * step % 31 for n in numbers]
            pl.DataFrame({"k": keys, "i": numbers, "u": numbers, **columns}).write_parquet(
                folder / f"{name}{part}.parquet", row_group_size=8
            )
    left = pl.scan_parquet(folder / "left*.parquet")
    right = pl.scan_parquet(folder / "right*.parquet").with_columns(col("u").cast(pl.Int32) + 20)
    return left, right


def graph_of(query: pl.LazyFrame, settings: PlanSettings) -> StageGraph:
    return plan_outputs([PlanOutput("out", query)], settings=settings)


def compare(query: pl.LazyFrame, way: str, folder: Path, *, ordered: bool = False) -> StageGraph:
    """Run a query in stages and compare it with plain Polars; nothing may be gathered."""
    graph = graph_of(query, WAYS[way])
    assert [stage.why for stage in graph.stages if stage.why] == []
    found, expected = run_inline(graph, folder).results["out"], query.collect(engine="in-memory")
    if not ordered:
        found, expected = in_any_order(found), in_any_order(expected)
    assert_frame_equal(found, expected)
    return graph


Sides = tuple[pl.LazyFrame, pl.LazyFrame]


@pytest.mark.parametrize("how", ["full", "semi"])
@pytest.mark.parametrize("key", KEYS)
def test_keys_of_every_dtype(how: Any, key: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select(key, "i") for side in sides)
    query = left.join(right, on=key, how=how, nulls_equal=key in ("text", "list", "struct"))
    compare(query, "hash", tmp_path)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("how", HOWS)
def test_order_is_kept(how: Any, order: Any, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u") for side in sides)
    # Polars promises the whole order only if both sides are named.
    whole = {"left": "left_right", "right": "right_left"}.get(order, order)
    joined = left.join(right, on="k", how=how, maintain_order=whole, suffix="_s")
    named = left.join(right, on="k", how=how, maintain_order=order, suffix="_s")
    compare(joined, "hash", tmp_path, ordered=True)
    if order != whole:
        compare(named, "hash", tmp_path)
    # Where one side can be sent whole to the tasks of the other, no row of the other moves.
    graph = compare(joined, "broadcast", tmp_path, ordered=True)
    first = "right" if order.startswith("right") else "left"
    sent = how == "inner" or how == first or how in ("semi", "anti")
    assert (len(graph.stages) == 2) == sent


OPTIONS: dict[str, Query] = {
    "several keys": lambda a, b: a.join(b, on=["k", "text"], how="left"),
    "expressions": lambda a, b: a.join(b, left_on=col("k") % 7, right_on=col("i") % 5, how="full"),
    "integers of several widths": lambda a, b: a.join(b, left_on="u", right_on="u", how="full"),
    "signed and unsigned": lambda a, b: a.join(
        b, left_on=col("u").cast(pl.UInt64), right_on=col("u") - 40, how="full"
    ),
    "selectors": lambda a, b: a.join(b, on=pl.selectors.by_name("k", "text"), how="anti"),
    "all columns as keys": lambda a, b: a.select("k", "u").join(
        b.select("k", "u"), on=pl.all(), maintain_order="left_right"
    ),
    "coalesced": lambda a, b: a.join(b, on="k", how="full", coalesce=True, suffix="_*"),
    "not coalesced": lambda a, b: a.join(b, on="k", how="left", coalesce=False),
    "not coalesced, other names": lambda a, b: a.join(
        b, left_on="k", right_on="u", how="right", coalesce=False
    ),
    "equal nulls": lambda a, b: a.join(b, on=["k", "struct"], how="full", nulls_equal=True),
    "a constant": lambda a, b: a.join(b.head(3), left_on=pl.lit(1), right_on=pl.lit(1)),
    "one side in one partition": lambda a, b: a.head(9).join(b, on="k", how="full"),
    "an empty side": lambda a, b: a.filter(col("i") < 0).join(b, on="k", how="full"),
    "two empty sides": lambda a, b: a.clear().join(b.clear(), on="k", how="full"),
    "a forced build side": lambda a, b: a.join(b, on="k", build_side="force_right"),
    "serial": lambda a, b: a.join(b, on="k", allow_parallel=False, force_parallel=True),
    "validated": lambda a, b: a.join(b, on="i", how="left", validate="m:1"),
    "unique keys": lambda a, b: a.join(b, on="i", how="full", validate="1:1"),
    "cross": lambda a, b: a.join(b.select("k"), how="cross"),
    "a name that is a pattern": lambda a, b: a.rename({"k": "*"}).join(
        b.rename({"k": "^a.*$"}), left_on=col("^\\*$"), right_on=col("^\\^.*$"), how="left"
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str, way: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u", "text", "struct") for side in sides)
    compare(OPTIONS[name](left, right), way, tmp_path)


WHERE: dict[str, Query] = {
    "less": lambda a, b: a.join_where(b, col("k") < col("k_right")),
    "between": lambda a, b: a.join_where(b, col("i") >= col("u_right"), col("i") < col("k_right")),
    "equal and less": lambda a, b: a.join_where(
        b, col("k") == col("k_right"), col("i") < col("u_right")
    ),
    "equal in one expression": lambda a, b: a.join_where(
        b, (col("text_b") == col("text")) & (col("u_b") > col("u") + 9), suffix="_b"
    ),
    "equal or null": lambda a, b: a.join_where(
        b, col("k").eq_missing(col("k_right")), col("i") < 9
    ),
    "texts and categories": lambda a, b: a.join_where(
        b.select(c=col("text").cast(pl.Categorical)), col("text") == col("c"), col("i") < 7
    ),
    "a constant": lambda a, b: a.join_where(b.select("k"), pl.lit(value=True)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHERE)
def test_conditions(name: str, way: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u", "text") for side in sides)
    compare(WHERE[name](left, right), way, tmp_path)


@pytest.mark.parametrize("left_rows", [60, 7])
@pytest.mark.parametrize("how", ["left", "right", "full"])
@pytest.mark.parametrize("equal", [False, True])
def test_conditions_and_unmatched_rows(
    how: Any, equal: bool, left_rows: int, sides: Sides, tmp_path: Path
) -> None:
    left, right = (side.select("k", "i") for side in sides)
    conditions = [col("k") < col("i_r"), *([col("i") == col("k_r")] if equal else [])]
    query = left.head(left_rows).join_where(right, *conditions, how=how, suffix="_r")
    compare(query, "hash", tmp_path)
    compare(query, "broadcast", tmp_path)


@pytest.mark.parametrize("how", HOWS)
def test_a_small_side_whose_rows_are_kept(how: Any, sides: Sides, tmp_path: Path) -> None:
    small, large = sides[0].select("k", "i").head(5), sides[1].select("k", "i", "text")
    # The small side has a few rows of a file that is as large as the other side.
    settings = replace(WAYS["hash"], broadcast_bytes=500)
    for query in (
        small.join(large, on="k", how=how, nulls_equal=True),
        large.join(small, on="k", how=how, coalesce=how == "full"),
        small.join(large, on=cs.integer(), how=how),
    ):
        graph = graph_of(query, settings)
        # No row of the large side moves.
        assert OutputKind.HASH not in {stage.output.kind for stage in graph.stages}
        assert not any(stage.why for stage in graph.stages)
        found = run_inline(graph, tmp_path).results["out"]
        assert_frame_equal(in_any_order(found), in_any_order(query.collect(engine="in-memory")))


WHOLE: dict[str, Query] = {
    "a condition over all rows": lambda a, b: a.join_where(b, col("k") < col("u").max()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_joins_that_run_whole(name: str, way: str, sides: Sides, tmp_path: Path) -> None:
    left, right = sides[0].select("k", "i"), sides[1].select(col("u").cast(pl.UInt32))
    query = WHOLE[name](left, right)
    graph = graph_of(query, WAYS[way])
    assert any(stage.why for stage in graph.stages)
    found = run_inline(graph, tmp_path).results["out"]
    assert_frame_equal(in_any_order(found), in_any_order(query.collect(engine="in-memory")))


@pytest.mark.parametrize("order", ORDERS)
def test_order_of_a_cross_join(order: Any, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k") for side in sides)
    whole = {"left": "left_right", "right": "right_left"}.get(order, order)
    query = left.join(right, how="cross", maintain_order=whole)
    compare(query, "broadcast", tmp_path, ordered=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("validate", ["m:1", "1:m", "1:1"])
def test_keys_that_are_not_unique(validate: Any, way: str, sides: Sides, tmp_path: Path) -> None:
    # No key has a match: a check of matching rows alone would find nothing.
    left = sides[0].select(col("k") + 100, "i")
    query = left.join(sides[1].select("k", "u"), on="k", how="left", validate=validate)
    graph = graph_of(query, WAYS[way])
    with pytest.raises(ComputeError, match=f"did not fulfill {validate} validation"):
        run_inline(graph, tmp_path)


def test_a_column_with_the_name_of_the_stamp_is_kept(sides: Sides, tmp_path: Path) -> None:
    left = sides[0].select("k", col("i").alias(STAMP))
    query = left.join(sides[1].select("k", "u"), on="k", maintain_order="left_right")
    found = run_inline(graph_of(query, WAYS["hash"]), tmp_path).results["out"]
    assert_frame_equal(found, query.collect(engine="in-memory"))


def asof(**options: Any) -> Query:
    return lambda a, b: a.sort("u").join_asof(b.sort("u"), on="u", **options)


ASOF: dict[str, Query] = {
    "backward": asof(),
    "forward": asof(strategy="forward"),
    "nearest": asof(strategy="nearest"),
    "strictly before": asof(allow_exact_matches=False),
    "strictly behind": asof(strategy="forward", allow_exact_matches=False),
    "nearest but not equal": asof(strategy="nearest", allow_exact_matches=False),
    "a tolerance": asof(strategy="nearest", tolerance=2, coalesce=False, suffix="_r"),
    "not checked": asof(check_sortedness=False),
    "few keys": lambda a, b: (
        a.with_columns(u=col("u") // 20)
        .sort("u", maintain_order=True)
        .join_asof(
            b.with_columns(u=(col("u") // 9).cast(pl.Int64)).sort("u", maintain_order=True),
            on="u",
            strategy="nearest",
            allow_exact_matches=False,
        )
    ),
    "null keys": lambda a, b: a.sort("k", maintain_order=True).join_asof(
        b.sort("k", maintain_order=True), on="k", strategy="forward"
    ),
    "expressions": lambda a, b: a.join_asof(
        b, left_on=col("i") * 2, right_on=col("u") + 1, strategy="nearest"
    ),
    "texts": lambda a, b: a.sort("text", maintain_order=True).join_asof(
        b.sort("text", maintain_order=True), on="text", coalesce=False
    ),
    "moments": lambda a, b: a.sort("moment", maintain_order=True).join_asof(
        b.sort("moment", maintain_order=True), on="moment", tolerance="1h"
    ),
    "by a column": asof(by="text", strategy="nearest", check_sortedness=False),
    "by several columns": lambda a, b: a.join_asof(
        b, on="i", by_left=["k", "text"], by_right=["k", "text"], check_sortedness=False
    ),
    "no rows on the left": lambda a, b: a.filter(col("i") < 0).join_asof(b, on="i"),
    "no rows on the right": lambda a, b: a.join_asof(b.filter(col("i") < 0), on="i"),
    "a hole": lambda a, b: a.join_asof(
        b.filter(~col("i").is_between(4, 40)), on="i", strategy="forward"
    ),
    "far left": lambda a, b: a.join_asof(b.with_columns(col("i") + 900), on="i"),
    "far right": lambda a, b: a.join_asof(
        b.with_columns(col("i") - 900), on="i", strategy="nearest"
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ASOF)
def test_nearest_keys(name: str, way: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u", "text", "moment") for side in sides)
    compare(ASOF[name](left, right), way, tmp_path, ordered=True)


def merged(*keys: str, nulls_last: bool = False) -> Query:
    """Merge both sides, sorted by ``keys``."""

    def query(a: pl.LazyFrame, b: pl.LazyFrame) -> pl.LazyFrame:
        b = b.with_columns(col("u").cast(pl.Int64))
        left, right = (
            side.sort(keys, nulls_last=nulls_last, maintain_order=True) for side in (a, b)
        )
        return left.merge_sorted(right, key=keys, maintain_order=True)

    return query


MERGED: dict[str, Query] = {
    "numbers": merged("u"),
    "few numbers": merged("k"),
    "texts": merged("text"),
    "several keys": merged("k", "u"),
    "nulls in several batches": lambda a, b: a.select(
        "i", k=pl.when(col("i") > 50).then("i")
    ).merge_sorted(b.select("i", k=pl.when(col("i") > 40).then("i")), key="k", maintain_order=True),
    "no order of equal keys": lambda a, b: (
        a.select("k").sort("k").merge_sorted(b.select("k").sort("k"), key="k")
    ),
    "no rows": lambda a, b: a.clear().merge_sorted(
        b.clear().with_columns(col("u").cast(pl.Int64)), key="i"
    ),
    "rows on one side": lambda a, b: a.filter(col("i") < 0).merge_sorted(
        b.with_columns(col("u").cast(pl.Int64)), key="i"
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_merged_rows(name: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u", "text") for side in sides)
    compare(MERGED[name](left, right), "hash", tmp_path, ordered=True)


@pytest.mark.parametrize("key", ["k", "text"])
def test_nulls_stay_at_the_end(key: str, sides: Sides, tmp_path: Path) -> None:
    left, right = (side.select("k", "i", "u", "text") for side in sides)
    query = merged(key, nulls_last=True)(left, right)
    found = run_inline(graph_of(query, WAYS["hash"]), tmp_path).results["out"]
    # Polars' in-memory engine gives such nulls another place than its documentation.
    assert_frame_equal(found, query.collect(engine="streaming"))


@pytest.mark.parametrize("nulls_last", [False, True])
def test_null_keys_of_the_left_side_come_first(nulls_last: bool, tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [*[None] * 30, *[0, 1] * 8], "i": range(46)})
    left = rows.sort("x", nulls_last=nulls_last, maintain_order=True)
    right = left.filter(col("i") % 3 > 0).with_columns(col("i") + 100)
    query = left.lazy().merge_sorted(right.lazy(), key="x", maintain_order=True)
    found = run_inline(graph_of(query, WAYS["hash"]), tmp_path).results["out"]
    # Polars' in-memory engine mixes such nulls of both sides.
    both = pl.concat([left, right])
    assert_frame_equal(found, both.sort("x", nulls_last=nulls_last, maintain_order=True))


UNSORTED: dict[str, Query] = {
    "the left side": lambda a, b: a.with_columns(col("i") % 40).join_asof(b, on="i"),
    "the right side": lambda a, b: a.join_asof(b.with_columns(-col("i")), on="i"),
    "two partitions": lambda a, b: a.with_columns(col("i") % 20).join_asof(b, on="i"),
    "nulls at the end": lambda a, b: a.join_asof(
        b.with_columns(pl.when(col("i") < 44).then("i")), on="i"
    ),
    "nulls in between": lambda a, b: a.with_columns(pl.when(col("i") != 20).then("i")).join_asof(
        b, on="i"
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", UNSORTED)
def test_keys_that_are_not_sorted(name: str, way: str, sides: Sides, tmp_path: Path) -> None:
    query = UNSORTED[name](*(side.select("k", "i") for side in sides))
    with pytest.raises(InvalidOperationError, match="is not sorted"):
        query.collect(engine="in-memory")
    with pytest.raises(InvalidOperationError, match="is not sorted"):
        run_inline(graph_of(query, WAYS[way]), tmp_path)
