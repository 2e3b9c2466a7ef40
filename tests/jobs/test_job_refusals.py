"""What is wrong in a job is said in one sentence, with node and field."""

import json
from pathlib import Path

import pytest
from polars.exceptions import PanicException
from tests.jobs.job_kit import (
    Node,
    Write,
    chain,
    refused,
    step,
)

from minispark.jobs import compile_job, parse_job, plan_job

WRONG = [
    # what, node, field, part of the message, part of the hint
    (("flat_map", {"fn": "tokenize", "column": "sk"}), "column", "no column 'sk'", "'sku'"),
    (("flat_map", {"fn": "tokenize", "column": "qty"}), "column", "Int64, not texts", None),
    (("map", {"fn": "trim", "column": "price"}), "column", "Float64, not texts", None),
    (("map", {"expr": {"r": "qti * 2"}}), "expr", "no column 'qti'", "'qty'"),
    (("map", {"expr": {"r": "qty *"}}), "expr", "is not an expression", None),
    (("map", {"expr": {"r": ""}}), "expr", "is not an expression", None),
    (("map", {"expr": {"r": "nosuch(qty)"}}), "expr", "'nosuch'", None),
    (("map", {"expr": {"r": "sku * 2"}}), "expr", "arithmetic", None),
    (("map", {"expr": {"r": "lower(qty)"}}), "expr", "expected `String`", None),
    (("map", {"expr": {"r": "(select 1)"}}), "expr", "may not hold a query", "sql node"),
    (("filter", {"where": "qty + 1"}), "where", "Boolean", None),
    (("filter", {"where": "Price > 1"}), "where", "no column 'Price'", "'price'"),
    (("filter", {"where": "+".join(["qty"] * 600) + " > 1"}), "where", "deep", "several nodes"),
    (("filter", {"where": "qty > 1" + " " * 10_000}), "where", "10,000", None),
    (("reduce_by_key", {"fn": "sum"}), "key", "no column 'key'", "columns are"),
    (("reduce_by_key", {"fn": "sum", "key": "sku", "value": "sku"}), "value", "a key", None),
    (
        ("reduce_by_key", {"fn": "sum", "key": "qty", "value": "sku"}),
        "fn",
        "cannot be summed",
        None,
    ),
    (("reduce_by_key", {"fn": "mean", "key": "qty", "value": "sku"}), "fn", "not supported", None),
    (("reduce_by_key", {"fn": "sum", "key": ["sku", "sku"]}), "key", "twice", None),
    (("reduce", {"fn": "sum", "value": "prise"}), "value", "no column 'prise'", "'price'"),
    (("aggregate", {"by": "skuu", "aggs": {"n": "count(*)"}}), "by", "'skuu'", "'sku'"),
    (("aggregate", {"by": "sku", "aggs": {"n": "qty"}}), "aggs", "is not an aggregate", "sum(qty)"),
    (("aggregate", {"aggs": {"n": "qty + 1"}}), "aggs", "is not an aggregate", "sum("),
    (("aggregate", {"by": "sku", "aggs": {"sku": "max(qty)"}}), "aggs", "already", None),
    (("aggregate", {"by": "sku", "aggs": {"n": "sum(qt)"}}), "aggs", "no column 'qt'", "'qty'"),
    (("select", {"columns": ["sku", "pice"]}), "columns", "no column 'pice'", "'price'"),
    (("select", {"columns": ["sku", "sku"]}), "columns", "twice", None),
    (("select", {"columns": {"x": "pice"}}), "columns", "no column 'pice'", "'price'"),
    (("distinct", {"subset": ["x"]}), "subset", "no column 'x'", "columns are"),
    (("sort", {"by": ["sku", "quantity"]}), "by", "no column 'quantity'", None),
    (("sql", {"query": "select skuu from sales"}), "query", "no column 'skuu'", "'sku'"),
    (("sql", {"query": "select * from sale"}), "query", "no table 'sale'", "'sales'"),
    (("sql", {"query": "selekt * from sales"}), "query", "only a query", "SELECT"),
    (("sql", {"query": "select from where"}), "query", "", None),
]


@pytest.mark.parametrize(("what", "field", "message", "hint"), WRONG)
def test_a_wrong_node_is_refused_in_one_sentence(
    sales: Node,
    root: Path,
    what: tuple[str, Node],
    field: str | None,
    message: str,
    hint: str | None,
) -> None:
    op, fields = what
    info = refused(chain(sales, step(op, **fields)), root)
    assert (info.node, info.field) == ("out", field)
    assert message in info.message
    assert hint is None or hint in (info.hint or "")


def test_a_plan_of_a_thousand_nodes_is_made(sales: Node, root: Path) -> None:
    steps = [{"id": f"n{number}", "op": "filter", "where": "qty > 0"} for number in range(150)]
    graph = plan_job(chain(sales, *steps), data_root=root)
    assert len(graph.flow) == 151
    assert json.loads(json.dumps(list(graph.flow)))


@pytest.mark.parametrize("place", ["collect_schema", "explain"])
def test_a_panic_of_polars_names_the_node(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("called unwrap")

    rows = write("rows", [{"a": 1}])
    job = chain(rows, step("sql", query="select a from rows"))
    monkeypatch.setattr(f"minispark.jobs.transforms.pl.LazyFrame.{place}", panic)
    info = refused(job, root)
    assert "Polars stopped with an internal error: called unwrap" in info.message
    assert info.node == ("rows" if place == "collect_schema" else "out")


def test_a_panic_over_no_rows_is_none_of_the_jobs(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("called unwrap")

    rows = write("rows", [{"a": 1}])
    monkeypatch.setattr("minispark.jobs.compile.pl.LazyFrame.collect", panic)
    compile_job(parse_job(chain(rows, step("distinct"))), data_root=root)
