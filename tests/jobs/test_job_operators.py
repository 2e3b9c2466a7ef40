"""Every operator against a computation by hand in Python, run as Polars does and cut into tasks."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.jobs.job_kit import SALES, Collect, Job, Node, Write, as_set, chain, fan_in, step
from tests.runners.inline import run_inline

from minispark.jobs import compile_job, parse_job, plan_job
from minispark.settings import PlanSettings


def test_word_count_as_in_the_interface(root: Path, tmp_path: Path) -> None:
    (root / "data").mkdir()
    (root / "data/a.csv").write_text('text\nThe cat  the\t"dog"\n"the\ncat"\n')
    (root / "data/b.csv").write_text("text\nDog the\n\n")
    job = {
        "name": "wordcount-batch",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_csv", "path": "data/*.csv", "partitions": 4},
                {"id": "flat", "op": "flat_map", "fn": "tokenize"},
                {"id": "map1", "op": "map", "fn": "to_lower"},
                {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"},
            ],
            "edges": [["read", "flat"], ["flat", "map1"], ["map1", "agg"]],
        },
        "parallelism": 4,
    }
    graph = plan_job(job, data_root=root)
    assert graph.stages[-1].partitions == 4
    run = run_inline(graph, tmp_path, data_root=root)
    text = 'The cat  the\t"dog" the cat Dog the'
    expected = Counter(text.lower().split())
    found = run.results["agg"]
    assert found.columns == ["token", "count"]
    assert dict(found.rows()) == expected
    rows = pl.scan_csv(root / "data" / "*.csv").collect().height
    assert run.nodes == {"read": rows, "flat": 8, "map1": 8, "agg": len(expected)}
    assert graph.flow == {"read": (), "flat": ("read",), "map1": ("flat",), "agg": ("map1",)}


def test_word_count_as_in_the_seed(root: Path, collect: Collect) -> None:
    (root / "x.csv").write_text("text\na b\nb  c b\n")
    job = chain(
        {"id": "read", "op": "read_csv", "path": "x.csv"},
        {"id": "flatmap", "op": "flat_map", "fn": "split_words"},
        {"id": "map", "op": "map", "fn": "pair_with_one"},
        {"id": "reduce", "op": "reduce_by_key", "key": "key", "fn": "sum"},
    )
    found = collect(job, ordered=False)
    assert found.columns == ["key", "value"]
    assert dict(found.rows()) == {"a": 1, "b": 3, "c": 1}


def test_flat_map_takes_the_only_column_of_texts(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("flat_map", fn="tokenize")))
    assert found.to_dict(as_series=False) == {"token": ["b", "a", "b", "c", "a"]}


def test_map_by_function_changes_one_column_in_place(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("map", fn="to_upper", column="sku")))
    upper = [{**row, "sku": row["sku"] and row["sku"].upper()} for row in SALES]
    assert found.to_dicts() == upper
    assert found.columns == ["sku", "qty", "price"]


def test_map_by_expressions_computes_all_from_the_input(sales: Node, collect: Collect) -> None:
    expr = {"price": "price * 2", "revenue": "qty * price"}
    found = collect(chain(sales, step("map", expr=expr)))
    assert found.columns == ["sku", "qty", "price", "revenue"]
    for row, given in zip(found.to_dicts(), SALES, strict=True):
        assert row["price"] == given["price"] * 2
        assert row["revenue"] == (given["qty"] * given["price"] if given["qty"] else None)


def test_filter(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("filter", where="qty > 1 and sku <> 'c'")))
    assert found.to_dicts() == [r for r in SALES if r["qty"] and r["qty"] > 1 and r["sku"] != "c"]
    found = collect(chain(sales, step("filter", fn="contains_alpha")))
    assert found.to_dicts() == [row for row in SALES if row["sku"]]


REDUCERS: dict[str, Callable[[list[int]], float | None]] = {
    "sum": sum,
    "count": len,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "mean": lambda values: sum(values) / len(values) if values else None,
}


@pytest.mark.parametrize("fn", list(REDUCERS))
def test_reduce_by_key_and_reduce(sales: Node, collect: Collect, fn: str) -> None:
    groups: dict[str | None, list[int]] = {}
    for row in SALES:
        groups.setdefault(row["sku"], [])
        if row["qty"] is not None:
            groups[row["sku"]].append(row["qty"])
    found = collect(
        chain(sales, step("reduce_by_key", key="sku", value="qty", fn=fn)), ordered=False
    )
    assert found.columns == ["sku", "qty"]
    assert dict(found.rows()) == {key: REDUCERS[fn](values) for key, values in groups.items()}

    found = collect(chain(sales, step("reduce", value="qty", fn=fn)))
    assert found.rows() == [(REDUCERS[fn]([r["qty"] for r in SALES if r["qty"] is not None]),)]


def test_reduce_by_key_counts_rows_where_there_is_no_value(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("reduce_by_key", key=["sku"], fn="sum")), ordered=False)
    assert found.columns == ["sku", "count"]
    assert dict(found.rows()) == Counter(row["sku"] for row in SALES)
    assert collect(chain(sales, step("reduce", fn="count"))).to_dicts() == [{"count": len(SALES)}]


def test_reduce_by_key_takes_key_and_value_by_name(write: Write, collect: Collect) -> None:
    rows = write("rows", [{"key": "x", "value": 2}, {"key": "x", "value": 5}])
    assert collect(chain(rows, step("reduce_by_key", fn="max"))).to_dicts() == [
        {"key": "x", "value": 5}
    ]


def test_aggregate(sales: Node, collect: Collect) -> None:
    aggs = {"revenue": "sum(qty * price)", "rows": "count(*)", "top": "max(price) - min(price)"}
    found = collect(chain(sales, step("aggregate", by="sku", aggs=aggs)), ordered=False)
    by_sku = {row["sku"]: row for row in found.to_dicts()}
    assert by_sku["a"] == {"sku": "a", "revenue": 27.5, "rows": 2, "top": 0.5}
    assert by_sku[None] == {"sku": None, "revenue": 8.0, "rows": 1, "top": 0.0}
    groups: list[Node] = [{}, {"by": []}, {"by": None}]
    for by in groups:
        found = collect(chain(sales, step("aggregate", aggs={"n": "count(qty)"}, **by)))
        assert found.to_dicts() == [{"n": 4}]


def test_select(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("select", columns=["price", "sku"])))
    assert found.rows() == [(row["price"], row["sku"]) for row in SALES]
    found = collect(chain(sales, step("select", columns={"twice": "price * 2", "sku": "sku"})))
    assert found.rows() == [(row["price"] * 2, row["sku"]) for row in SALES]


def test_sql_over_two_inputs(sales: Node, names: Node, collect: Collect) -> None:
    query = """
        SELECT names.name, SUM(sales.qty) AS qty  -- not read_csv('x')
        FROM sales JOIN names ON sales.sku = names.sku
        GROUP BY names.name ORDER BY qty DESC
    """
    found = collect(fan_in(step("sql", query=query), sales, names))
    assert found.rows() == [("Apple", 12), ("Bean", 2)]


def test_sql_is_split_as_other_operators_are(root: Path, sales: Node, names: Node) -> None:
    query = (
        "SELECT name, SUM(qty) AS qty FROM sales JOIN names ON sales.sku = names.sku GROUP BY name"
    )
    job = fan_in(step("sql", query=query), sales, names)
    graph = plan_job({**job, "parallelism": 3}, data_root=root)
    assert [(stage.name, stage.partitions, stage.why) for stage in graph.stages] == [
        ("broadcast", 3, ""),
        ("partial group_by", 3, ""),
        ("result", 3, ""),
    ]


def test_distinct(sales: Node, collect: Collect) -> None:
    union: Job = {"dag": {"nodes": [sales, step("union"), {"id": "d", "op": "distinct"}]}}
    union["dag"]["edges"] = [["sales", "out"], ["sales", "out"], ["out", "d"]]
    assert as_set(collect(union, ordered=False).to_dicts()) == as_set(SALES)
    job = chain(
        sales,
        {"id": "s", "op": "select", "columns": ["sku"]},
        step("distinct", subset="sku"),
    )
    assert Counter(collect(job, ordered=False)["sku"]) == Counter(["a", "b", "c", None])


def test_sort_is_stable_with_nulls_first_unless_last(sales: Node, collect: Collect) -> None:
    found = collect(chain(sales, step("sort", by="sku")))
    expected = sorted(SALES, key=lambda row: (row["sku"] is not None, row["sku"] or ""))
    assert found.to_dicts() == expected
    found = collect(
        chain(sales, step("sort", by=["sku", "price"], descending=[False, True], nulls_last=True))
    )
    expected = sorted(SALES, key=lambda r: (r["sku"] is None, r["sku"] or "", -r["price"]))
    assert found.to_dicts() == expected


def test_many_equal_rows_stay_in_order(write: Write, collect: Collect, root: Path) -> None:
    rows = [{"k": number * 7 % 3, "n": number} for number in range(20_000)]
    job = chain(write("many", rows), step("sort", by="k", descending=True))
    assert collect(job).to_dicts() == sorted(rows, key=lambda row: -row["k"])
    # An unstable sort happens to keep the order of many inputs: look at what is asked for.
    (output,) = compile_job(parse_job(job), data_root=root).outputs
    assert "maintain_order: true" in output.frame.explain()


def test_limit_and_repartition(sales: Node, collect: Collect, root: Path, tmp_path: Path) -> None:
    assert collect(chain(sales, step("limit", n=2))).to_dicts() == SALES[:2]
    assert collect(chain(sales, step("limit", n=0))).height == 0
    job = chain(sales, step("repartition", n=5))
    graph = plan_job(job, data_root=root)
    assert graph.stages[-1].partitions == 5
    found = run_inline(graph, tmp_path, data_root=root).results["out"]
    assert as_set(found.to_dicts()) == as_set(SALES)


def test_nodes_with_several_readers_are_counted_once(
    sales: Node, root: Path, tmp_path: Path
) -> None:
    nodes = [
        sales,
        {"id": "some", "op": "filter", "where": "price > 1"},
        {"id": "x", "op": "limit", "n": 2},
        {"id": "y", "op": "reduce", "fn": "count"},
        {"id": "z", "op": "select", "columns": ["sku"]},
    ]
    edges = [["sales", "some"], ["some", "x"], ["some", "y"], ["sales", "z"]]
    job = {"dag": {"nodes": nodes, "edges": edges}, "parallelism": 2}
    graph = plan_job(job, data_root=root)
    scans = [scan for stage in graph.stages for branch in stage.branches for scan in branch.scans]
    assert len(scans) == 2  # a file is read again, not kept
    run = run_inline(graph, tmp_path, data_root=root)
    assert set(run.results) == {"x", "y", "z"}
    assert run.nodes == {"sales": 6, "some": 5, "x": 2, "y": 1, "z": 6}
    assert run.results["y"].item() == 5


def test_nodes_below_a_sort_are_counted_once(root: Path, tmp_path: Path) -> None:
    rows = pl.DataFrame({"n": range(90)})
    rows.write_parquet(root / "rows.parquet", row_group_size=9)
    job = chain(
        {"id": "rows", "op": "read_parquet", "path": "rows.parquet"},
        {"id": "some", "op": "filter", "where": "n > 9"},
        {"id": "sorted", "op": "sort", "by": ["n"]},
        parallelism=3,
    )
    graph = plan_job(job, data_root=root, settings=PlanSettings(single_task_bytes=0))
    assert "sample" in [stage.name for stage in graph.stages]
    run = run_inline(graph, tmp_path, data_root=root)
    assert run.nodes == {"rows": 90, "some": 80, "sorted": 80}
