"""The binary plan: read, changed and written again, it is still the query."""

from __future__ import annotations

from typing import Any

import msgpack
import polars as pl
import pytest
from polars import col

from minispark.plan.node_kinds import KINDS
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
    parse_bytes,
    plan_header,
    post_order,
)

pytestmark = pytest.mark.polars_contract

ROWS = pl.LazyFrame({"a": [1, 2, 3], "b": ["x", "y", None]})


QUERIES = {
    "Cache": ROWS.cache(),
    "DataFrameScan": pl.LazyFrame(schema={"a": pl.Int64}),
    "Distinct": ROWS.unique(maintain_order=True),
    "Filter": ROWS.filter(col("a") > 1),
    "Gather": ROWS.gather([2, 0]),
    "GroupBy": ROWS.join(ROWS, on="a").group_by("a").len().sort("a").head(2),
    "HConcat": pl.concat([ROWS.select("a"), ROWS.select("b")], how="horizontal"),
    "HStack": ROWS.with_columns(col("a").map_elements(repr, return_dtype=pl.String)),
    "Join": ROWS.sort("a").join_asof(ROWS.sort("a"), on="a"),
    "MapFunction": ROWS.map_batches(lambda batch: batch.head(1)),
    "MatchToSchema": ROWS.match_to_schema({"a": pl.Int64, "b": pl.String}),
    "MergeSorted": ROWS.merge_sorted(ROWS, key="a"),
    "PipeWithSchema": ROWS.pipe_with_schema(lambda rows, schema: rows.select(list(schema)[:1])),
    "Pivot": ROWS.pivot("b", on_columns=["x", "y"], index="a", values="a", maintain_order=True),
    "SQL": pl.SQLContext(rows=ROWS).execute("select b, sum(a) from rows group by b order by b"),
    "SQL of two": pl.SQLContext(r=ROWS, s=ROWS).execute(
        "select r.a from r join s on r.a = s.a order by 1"
    ),
    "Select": ROWS.select(col("a").sum()),
    "Slice": ROWS.slice(1, 1),
    "Sort": ROWS.sort("b"),
    "Union": pl.concat([ROWS, ROWS.select(col("a") + 1, "b")]),
    "Union of unions": pl.concat([pl.concat([ROWS, ROWS]), ROWS]),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_plan_read_and_written_gives_the_same_rows(name: str) -> None:
    query = QUERIES[name]
    root = parse(query)
    assert name.split()[0] in {node.kind for node in post_order(root)}
    assert frame_of(root).collect().equals(query.collect())


def test_every_kind_of_node_is_read_here_or_has_no_inputs() -> None:
    read = {name.split()[0] for name in QUERIES}
    sinks = {"Sink", "SinkMultiple"}
    assert KINDS.keys() - read - sinks == {name for name, kind in KINDS.items() if kind.opaque}


def test_a_kind_that_is_not_listed_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KINDS, "Pivot")
    with pytest.raises(PlanUnreadableError, match="Pivot"):
        parse(QUERIES["Pivot"])


def changed_plan(query: pl.LazyFrame, kind: str, **fields: Any) -> bytes:
    """Return the bytes of a plan with other fields in the bodies of its nodes of one kind."""
    data = query.serialize()
    arena = msgpack.unpackb(data[len(plan_header()) :], strict_map_key=False)
    for slot in arena["dsl_plans"]:
        if slot["value"] and kind in slot["value"]:
            slot["value"][kind].update(fields)
    packed: bytes = msgpack.packb(arena)
    return plan_header() + packed


def test_a_reference_in_a_field_that_has_none_cannot_be_read() -> None:
    options = {"deep": [{"inside": {"idx": 1, "version": 1}}]}
    with pytest.raises(PlanUnreadableError, match=r"Slice.options"):
        parse_bytes(changed_plan(QUERIES["Slice"], "Slice", options=options))


def test_a_node_that_is_its_own_input_cannot_be_read() -> None:
    itself = {"idx": 2, "version": 1}
    with pytest.raises(PlanUnreadableError, match="is its own input"):
        parse_bytes(changed_plan(QUERIES["Slice"], "Slice", input=itself))


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
