"""Every operator against a computation by hand in Python, run as Polars does and cut into tasks."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.exceptions import PanicException
from polars.testing import assert_frame_equal
from tests.jobs.job_kit import Collect, Job, Node, Write, chain, fan_in, refused

from minispark.jobs import compile_job, parse_job, plan_job
from minispark.testing.inline import run_inline

Row = dict[str, Any]

SALES: list[Row] = [
    {"sku": "b", "qty": 2, "price": 1.5},
    {"sku": "a", "qty": 5, "price": 2.0},
    {"sku": "b", "qty": None, "price": 4.0},
    {"sku": None, "qty": 1, "price": 8.0},
    {"sku": "c", "qty": None, "price": 1.0},
    {"sku": "a", "qty": 7, "price": 2.5},
]
NAMES: list[Row] = [
    {"sku": "a", "name": "Apple"},
    {"sku": "b", "name": "Bean"},
    {"sku": "z", "name": "Zinc"},
]


@pytest.fixture
def sales(write: Write) -> Node:
    return write("sales", SALES)


@pytest.fixture
def names(write: Write) -> Node:
    return write("names", NAMES)


def step(op: str, **fields: Any) -> Node:
    return {"id": "out", "op": op, **fields}


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


def joined(how: str) -> list[Row]:
    matches = [(s, n) for s in SALES for n in NAMES if s["sku"] == n["sku"]]
    left_only = [s for s in SALES if s["sku"] not in {n["sku"] for n in NAMES}]
    right_only = [n for n in NAMES if n["sku"] not in {s["sku"] for s in SALES}]
    none = {"qty": None, "price": None}
    rows: dict[str, list[Row]] = {
        "inner": [{**s, **n} for s, n in matches],
        "semi": [s for s, _ in matches],
        "anti": left_only,
    }
    rows["left"] = rows["inner"] + [{**s, "name": None} for s in left_only]
    rows["right"] = rows["inner"] + [{**none, **n} for n in right_only]
    rows["full"] = rows["left"] + [{**none, **n} for n in right_only]
    return rows[how]


def as_set(rows: list[Row]) -> Counter[frozenset[tuple[str, Any]]]:
    return Counter(frozenset(row.items()) for row in rows)


@pytest.mark.parametrize("how", ["inner", "left", "right", "full", "semi", "anti"])
def test_join(sales: Node, names: Node, collect: Collect, how: str) -> None:
    found = collect(fan_in(step("join", on="sku", how=how), sales, names), ordered=False)
    assert as_set(found.to_dicts()) == as_set(joined(how))


def test_join_under_other_names_and_cross(
    sales: Node, names: Node, write: Write, collect: Collect
) -> None:
    other = write("other", [{"code": "a", "qty": 0}])
    job = fan_in(step("join", left_on="sku", right_on="code", suffix="_2"), sales, other)
    found = collect(job, ordered=False)
    assert found.columns == ["sku", "qty", "price", "qty_2"]
    assert sorted(found.rows()) == [("a", 5, 2.0, 0), ("a", 7, 2.5, 0)]
    found = collect(fan_in(step("join", how="cross"), sales, names), ordered=False)
    assert found.columns == ["sku", "qty", "price", "sku_right", "name"]
    assert found.height == len(SALES) * len(NAMES)


def test_join_with_itself(sales: Node, collect: Collect) -> None:
    job = {
        "dag": {
            "nodes": [sales, step("join", on="sku")],
            "edges": [["sales", "out"], ["sales", "out"]],
        }
    }
    assert collect(job, ordered=False).height == 2 * 2 + 2 * 2 + 1


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


def test_union(sales: Node, write: Write, collect: Collect) -> None:
    more = write("more", SALES[:2])
    found = collect(fan_in(step("union"), sales, more, {**more, "id": "again"}))
    assert found.to_dicts() == SALES + SALES[:2] + SALES[:2]


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


def test_readers(root: Path, collect: Collect) -> None:
    (root / "a.txt").write_text("one two\n\nthree")
    found = collect(chain(step("read_text", path="a.txt")))
    assert found.to_dict(as_series=False) == {"text": ["one two", "", "three"]}
    pl.DataFrame(SALES).write_parquet(root / "a.parquet")
    assert collect(chain(step("read_parquet", path="a.parquet"))).to_dicts() == SALES
    (root / "a.csv").write_text("1;x\n-;y\n")
    schema = {"n": "Int16", "t": "String"}
    options = {"separator": ";", "has_header": False, "schema": schema, "null_values": "-"}
    found = collect(chain(step("read_csv", path="a.csv", **options)))
    assert found.schema == {"n": pl.Int16, "t": pl.String}
    assert found.rows() == [(1, "x"), (None, "y")]


def test_files_from_directories_globs_and_lists_come_in_order(root: Path, collect: Collect) -> None:
    for name in ("d/b", "d/a", "e/c"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / f"{name}.csv").write_text(f"text\n{name}\n")
    for path, expected in (
        ("d", ["d/a", "d/b"]),
        ("*/*.csv", ["d/a", "d/b", "e/c"]),
        (["e/c.csv", "d/a.csv"], ["e/c", "d/a"]),
        (str(root / "d" / "*.csv"), ["d/a", "d/b"]),
    ):
        found = collect(chain(step("read_csv", path=path)))
        assert found["text"].to_list() == expected


def test_partitions_of_a_reader_are_honoured(root: Path) -> None:
    (root / "a.txt").write_text("some words\n" * 1_000)
    job = chain({"id": "r", "op": "read_text", "path": "a.txt", "partitions": 7}, parallelism=2)
    (stage,) = plan_job(job, data_root=root).stages
    assert stage.partitions == 7


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


def test_writers_become_sinks(sales: Node, root: Path) -> None:
    job = chain(sales, step("write_jsonl", path="out/x", overwrite=True))
    (output,) = compile_job(parse_job(job), data_root=root).outputs
    assert output.sink is not None
    assert (output.sink.format, output.sink.path, output.sink.overwrite) == ("jsonl", "out/x", True)
    assert output.name == "out"
    assert_frame_equal(output.frame.collect(), pl.DataFrame(SALES))
    (output,) = compile_job(
        parse_job(chain({**sales, "path": str(root / "sales.jsonl")}, step("write_csv", path="o")))
    ).outputs
    assert output.sink is not None
    assert output.sink.path.endswith("/o")


WRONG = [
    # what, node, field, part of the message, part of the hint
    (("flat_map", {"fn": "tokenize", "column": "sk"}), "column", "no column 'sk'", "'sku'"),
    (("flat_map", {"fn": "tokenize", "column": "qty"}), "column", "Int64, not texts", None),
    (("map", {"fn": "trim", "column": "price"}), "column", "Float64, not texts", None),
    (("map", {"expr": {"r": "qti * 2"}}), "expr", "no column 'qti'", "'qty'"),
    (("map", {"expr": {"r": "qty *"}}), "expr", "is no expression", None),
    (("map", {"expr": {"r": ""}}), "expr", "is no expression", None),
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
    (("reduce_by_key", {"fn": "sum", "key": "qty", "value": "sku"}), "fn", "no sum", None),
    (("reduce_by_key", {"fn": "mean", "key": "qty", "value": "sku"}), "fn", "not supported", None),
    (("reduce_by_key", {"fn": "sum", "key": ["sku", "sku"]}), "key", "twice", None),
    (("reduce", {"fn": "sum", "value": "prise"}), "value", "no column 'prise'", "'price'"),
    (("aggregate", {"by": "skuu", "aggs": {"n": "count(*)"}}), "by", "'skuu'", "'sku'"),
    (("aggregate", {"by": "sku", "aggs": {"n": "qty"}}), "aggs", "no aggregate", "sum(qty)"),
    (("aggregate", {"aggs": {"n": "qty + 1"}}), "aggs", "no aggregate", "sum("),
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


def test_wrong_joins_and_unions(sales: Node, names: Node, write: Write, root: Path) -> None:
    info = refused(fan_in(step("join", on="name"), sales, names), root)
    assert (info.field, info.code) == ("on", "MS-164")
    assert "in 'sales'" in info.message
    info = refused(fan_in(step("join", left_on="sku", right_on="nam"), sales, names), root)
    assert (info.field, info.hint) == ("right_on", "did you mean 'name'?")
    info = refused(fan_in(step("join", left_on="qty", right_on="sku"), sales, names), root)
    assert (info.field, "datatypes of join keys" in info.message) == ("left_on", True)
    twice = write("twice", [{"sku": "a", "qty": 1, "qty_right": 2}])
    assert refused(fan_in(step("join", on="sku"), twice, sales), root).field == "suffix"
    info = refused(fan_in(step("union"), sales, names), root)
    assert (info.field, "'sales' and 'names' differ" in info.message) == ("dag.edges", True)
    floats = write("floats", [{"sku": 1, "name": "x"}])
    assert "String and Int64" in refused(fan_in(step("union"), names, floats), root).message


def test_csv_cannot_hold_lists(write: Write, root: Path) -> None:
    lists = write("lists", [{"a": [1, 2]}])
    info = refused(chain(lists, step("write_csv", path="o")), root)
    assert (info.field, info.hint) == ("op", "use write_jsonl or write_parquet")
    compile_job(parse_job(chain(lists, step("write_parquet", path="o"))), data_root=root)


@pytest.mark.parametrize(
    ("dtype", "op", "hint"),
    [
        (pl.Binary(), "write_csv", "use write_parquet"),
        (pl.Binary(), "write_jsonl", "use write_parquet"),
        (pl.List(pl.Binary), "write_jsonl", "use write_parquet"),
        (pl.Duration(), "write_csv", "use write_jsonl or write_parquet"),
    ],
)
def test_what_a_format_cannot_hold_is_said_before_it_runs(
    root: Path, dtype: pl.DataType, op: str, hint: str
) -> None:
    pl.DataFrame(schema={"a": pl.Int64, "b": dtype}).write_parquet(root / "in.parquet")
    read = {"id": "in", "op": "read_parquet", "path": "in.parquet"}
    info = refused(chain(read, step(op, path="o")), root)
    assert (info.field, info.hint) == ("op", hint)
    assert "cannot hold the column 'b'" in info.message


def test_unknown_dtypes_are_refused_with_the_nearest(root: Path) -> None:
    (root / "a.csv").write_text("a\n1\n")
    for name, meant in (("int64", "Int64"), ("Strng", "String"), ("double", "Float64")):
        info = refused(chain(step("read_csv", path="a.csv", schema={"a": name})), root)
        assert (info.field, info.code) == ("schema", "MS-161")
        assert info.hint == f"did you mean '{meant}'?"
    info = refused(chain(step("read_csv", path="a.csv", schema={"a": "__class__"})), root)
    assert "dtypes are" in (info.hint or "")


def test_files_that_cannot_be_understood_are_named(root: Path) -> None:
    (root / "empty.csv").write_text("")
    (root / "bad.parquet").write_text("this is no parquet")
    (root / "bad.jsonl").write_text("{")
    for op, name in (
        ("read_csv", "empty.csv"),
        ("read_parquet", "bad.parquet"),
        ("read_jsonl", "bad.jsonl"),
    ):
        info = refused(chain(step(op, path=name)), root)
        assert (info.node, info.field, info.code) == ("out", "path", "MS-168")
        assert name in info.message
        assert name in (info.file or "")


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
    monkeypatch.setattr(f"minispark.jobs.queries.pl.LazyFrame.{place}", panic)
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


def test_what_a_query_selects_away_is_in_no_file(root: Path, tmp_path: Path) -> None:
    rows = pl.select(k=pl.int_range(60_000)).with_columns(
        g=pl.col("k") % 3, ls=pl.concat_list("k", pl.col("k") + 1)
    )
    rows.write_parquet(root / "rows.parquet", row_group_size=10_000, compression="uncompressed")
    assert (root / "rows.parquet").stat().st_size > 256 * 1024
    query = "SELECT k, g FROM (SELECT k, g, UNNEST(ls) AS e FROM unnested)"
    for partitions in (1, 3):
        job = chain(
            {"id": "unnested", "op": "read_parquet", "path": "rows.parquet"},
            {"id": "q", "op": "sql", "query": query},
            {"id": "w", "op": "write_parquet", "path": f"out{partitions}"},
            parallelism=partitions,
        )
        run_inline(plan_job(job, data_root=root), tmp_path, data_root=root)
        written = pl.concat(
            pl.read_parquet(file)
            for file in (root / f"out{partitions}").rglob("part-*")
            if file.is_file()
        )
        assert_frame_equal(
            written.sort("k"), rows.explode("ls").select("k", "g").sort("k"), check_row_order=True
        )


def test_json_lines_with_a_schema_or_more_rows_to_infer_from(root: Path, collect: Collect) -> None:
    (root / "a.jsonl").write_text('{"a":1}\n' * 150 + '{"a":1.5,"b":"x"}\n')
    found = collect(chain(step("read_jsonl", path="a.jsonl", infer_rows=1_000)))
    assert found.schema == {"a": pl.Float64, "b": pl.String}
    found = collect(chain(step("read_jsonl", path="a.jsonl", schema={"a": "Float32"})))
    assert found.schema == {"a": pl.Float32}
    assert found["a"].sum() == 151.5
    both = step("read_jsonl", path="a.jsonl", schema={"a": "Float32"}, infer_rows=9)
    assert refused(chain(both), root).field == "infer_rows"


def test_what_is_written_of_no_rows_is_read_again_with_a_schema(
    root: Path, collect: Collect
) -> None:
    (root / "out").mkdir()
    (root / "out" / "part-00000.jsonl").write_text("")
    for path in ("out", "out/*.jsonl"):
        info = refused(chain(step("read_jsonl", path=path)), root)
        assert (info.code, info.hint) == ("MS-110", "give the columns in schema")
        assert "empty files only" in info.message
        found = collect(chain(step("read_jsonl", path=path, schema={"a": "Int64"})))
        assert found.schema == {"a": pl.Int64}
        assert found.height == 0
    for path in ("none", "none/*.jsonl", "*.none"):
        info = refused(chain(step("read_jsonl", path=path, schema={"a": "Int64"})), root)
        assert "matches no file" in info.message


def test_differing_headers_are_quoted(root: Path) -> None:
    for name, header in (("a", "a,b"), ("b", "a, b")):
        (root / f"{name}.csv").write_text(f"{header}\n1,2\n")
    info = refused(chain(step("read_csv", path="*.csv")), root)
    assert "its columns are 'a', ' b', those of 'a.csv' 'a', 'b'" in info.message
    assert (info.file or "").endswith("b.csv")


@pytest.mark.parametrize(
    "node",
    [
        {"op": "aggregate", "by": "", "aggs": {"n": "sum(b)"}},
        {"op": "reduce_by_key", "key": "", "fn": "sum", "value": "b"},
        {"op": "distinct", "subset": ""},
    ],
    ids=lambda node: node["op"],
)
def test_a_column_may_have_no_name(root: Path, collect: Collect, node: Node) -> None:
    (root / "a.csv").write_text(",b\n1,2\n3,4\n1,2\n")
    found = collect(chain(step("read_csv", path="a.csv", id="r"), step(**node)), ordered=False)
    assert sorted(found[""].to_list()) == [1, 3]


@pytest.mark.parametrize("keys", [{"on": ""}, {"on": [""]}, {"left_on": "", "right_on": ""}])
def test_tables_are_joined_on_a_column_without_a_name(
    root: Path, collect: Collect, keys: Node
) -> None:
    for name in "bc":
        (root / f"{name}.csv").write_text(f",{name}\n1,2\n")
    readers = [step("read_csv", path=f"{name}.csv", id=name) for name in "bc"]
    found = collect(fan_in(step("join", **keys), *readers))
    assert found.to_dicts() == [{"": 1, "b": 2, "c": 2}]
