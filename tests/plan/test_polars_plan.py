"""The binary plan: read, changed and written again, it is still the query."""

from __future__ import annotations

import polars as pl
import pytest
from polars import col

from minispark.plan.polars_plan import (
    PlanUnreadableError,
    expression,
    expression_body,
    frame_of,
    leaf_node,
    merge_equal,
    on_top,
    pack,
    parse,
    plan_header,
    post_order,
)

ROWS = pl.LazyFrame({"a": [1, 2, 3], "b": ["x", "y", None]})


@pytest.mark.parametrize(
    "query",
    [
        ROWS.filter(col("a") > 1),
        ROWS.join(ROWS, on="a").group_by("a").len().sort("a").head(2),
        pl.concat([ROWS, ROWS.select(col("a") + 1, "b")]),
        pl.concat([ROWS.select("a"), ROWS.select("b")], how="horizontal"),
        ROWS.with_columns(col("a").map_elements(repr, return_dtype=pl.String)),
        pl.SQLContext(rows=ROWS).execute("select b, sum(a) from rows group by b order by b"),
        pl.LazyFrame(schema={"a": pl.Int64}),
    ],
)
def test_a_plan_read_and_written_gives_the_same_rows(query: pl.LazyFrame) -> None:
    again = frame_of(parse(query))
    assert again.collect().equals(query.collect())


def test_a_chain_of_two_thousand_nodes_comes_back_byte_for_byte() -> None:
    query = ROWS
    for _ in range(2000):
        query = query.with_columns(col("a") + 1)
    assert pack(parse(query)) == query.serialize()


def test_the_header_is_that_of_every_plan() -> None:
    assert ROWS.serialize().startswith(plan_header())


def test_an_expression_too_deep_to_read_is_said_to_be_unreadable() -> None:
    deep = col("a")
    for _ in range(1500):
        deep = deep + 1
    with pytest.raises(PlanUnreadableError):
        parse(ROWS.select(deep))


def test_on_top_puts_polars_words_above_a_node() -> None:
    schema = {"a": pl.Int64(), "b": pl.String()}
    node = on_top(parse(ROWS), schema, lambda rows: rows.filter(col("a") > 1).select("b"))
    assert frame_of(node).collect().to_dict(as_series=False) == {"b": ["y", None]}


def test_equal_nodes_become_one_and_different_ones_do_not() -> None:
    scan = ROWS.filter(col("a") > 1)
    union = parse(pl.concat([scan.select("b"), scan.select("b"), scan.select("a")]))
    nodes = post_order(union)
    same = merge_equal(nodes, lambda node: True)
    first, second, third = union.body["inputs"]
    assert same[first] is same[second]
    assert same[first] is not same[third]
    impure = merge_equal(nodes, lambda node: False)
    assert impure[first] is not impure[second]


def test_a_leaf_keeps_its_name_through_surgery() -> None:
    leaf = leaf_node("stage7", {"a": pl.Int64()})
    top = on_top(leaf, {"a": pl.Int64()}, lambda rows: rows.select(col("a") + 1))
    assert [node.leaf for node in post_order(top) if hasattr(node, "leaf")] == ["stage7"]


def test_expressions_go_in_and_out() -> None:
    expr = (col("a").sum() / pl.len()).alias("mean")
    assert expression(expression_body(expr)).meta.eq(expr)
