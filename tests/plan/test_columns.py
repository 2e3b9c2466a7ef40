"""Columns by name: no query of a plan takes a name that comes with data for a pattern."""

from __future__ import annotations

import ast
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

import minispark
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.columns import exact_column, exact_columns, with_columns_in_order
from minispark.settings import PlanSettings

PATTERNS = ["*", "^a.*$", "^$", "^.*$", "^(?i)A$"]
HOSTILE = [*PATTERNS, "", "a", "ab", "^", "$", "a\0b", '"q"', "'", "a.b", "a\nb", "é", " ", "len"]
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=5))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_that_column_and_no_other(name: str) -> None:
    frame = pl.DataFrame({other: [number] for number, other in enumerate(HOSTILE)})
    expr = exact_column(name)
    assert frame.select(expr).to_dict(as_series=False) == {name: [HOSTILE.index(name)]}
    assert expr.meta.root_names() == [name]
    again = pl.Expr.deserialize(io.BytesIO(expr.meta.serialize()))
    assert frame.select(again.sum()).columns == [name]


def test_rows_are_kept_in_whatever_columns() -> None:
    frame = pl.DataFrame({"*": [1, 2], "a": [3, 4]})
    assert with_columns_in_order(frame, ["a", "*"]).rows() == [(3, 1), (4, 2)]
    assert with_columns_in_order(frame, ["*"]).rows() == [(1,), (2,)]
    assert with_columns_in_order(frame, []).shape == (2, 0)
    assert with_columns_in_order(frame.drop("*", "a"), []).height == frame.height


def test_no_module_gives_a_name_to_polars_that_it_does_not_spell_out() -> None:
    package = Path(minispark.__file__).parent
    calls = [
        f"{file.name}:{node.lineno}"
        for file in package.rglob("*.py")
        if file.name != "columns.py" and not {"testing", "cli"} & set(file.parts)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pl.col"
        if not all(isinstance(name, ast.Constant) for name in node.args)
    ]
    assert calls == [], "give them to exact_column"


Query = Callable[[pl.LazyFrame, list[pl.Expr]], pl.LazyFrame]
QUERIES: dict[str, Query] = {
    "all": lambda rows, c: rows,
    "one column": lambda rows, c: rows.select(c[0]),
    "two columns": lambda rows, c: rows.select(c[-1], c[0]),
    "filter": lambda rows, c: rows.filter(c[0] > 1).select(c[-1]),
    "change": lambda rows, c: rows.with_columns(c[0] * 2),
    "sums by key": lambda rows, c: rows.group_by(c[0]).agg(c[-1].sum()),
    "sums by keys": lambda rows, c: rows.group_by(c[:2]).agg(pl.len().alias("\1len")),
    "medians by key": lambda rows, c: rows.group_by(c[0]).agg(c[-1].median()),
    "sums": lambda rows, c: rows.select(c[0].sum(), c[-1].mean()),
    "distinct": lambda rows, c: rows.unique(),
    "distinct keys": lambda rows, c: rows.select(c[0]).unique(),
    "one of each key": lambda rows, c: rows.unique(subset=c[:1], keep="first").sort(c),
    "sort": lambda rows, c: rows.sort(c, descending=True),
    "top": lambda rows, c: rows.sort(c).head(3),
    "head": lambda rows, c: rows.head(5),
    "join": lambda rows, c: rows.join(rows.select(c[0]).unique(), on=c[0]),
    "join with itself": lambda rows, c: rows.join(rows, left_on=c[0], right_on=c[-1], suffix="\1"),
    "full join": lambda rows, c: rows.join(
        rows.filter(c[0] > 2), on=c[0], how="full", coalesce=True, suffix="\1"
    ),
    "window": lambda rows, c: rows.select(c[-1], c[-1].sum().over(c[0]).alias("\1sum")),
    "index": lambda rows, c: rows.with_row_index("\1index").select("\1index", c[0]),
    "union": lambda rows, c: pl.concat([rows, rows.filter(c[0] > 1)]),
    "diagonal": lambda rows, c: pl.concat([rows, rows.select(c[-1])], how="diagonal"),
    "rows": lambda rows, c: rows.select(pl.len()),
    "explode": lambda rows, c: rows.with_columns(pl.concat_list(c)).explode(
        pl.selectors.by_name(c[0].meta.output_name())
    ),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True).filter(
        lambda names: not any(name.startswith("\1") for name in names)
    ),
    name=st.sampled_from(list(QUERIES)),
    partitions=st.sampled_from([2, 9]),
    rows=st.integers(1, 40),
)
@example(names=["*", "a"], name="sums", partitions=2, rows=20)
@example(names=["*", "a"], name="sums by key", partitions=9, rows=20)
@example(names=["^.*$", "a"], name="distinct", partitions=2, rows=20)
@example(names=["a", "^a$"], name="diagonal", partitions=2, rows=20)
@example(names=["", "column_0"], name="all", partitions=2, rows=20)
@example(names=["^a.*$", "*"], name="explode", partitions=2, rows=20)
def test_rows_equal_plain_polars(names: list[str], name: str, partitions: int, rows: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="minispark-test-"))
    try:
        table = pl.DataFrame([[n * (k + 3) % 7 for n in range(rows)] for k in range(len(names))])
        table.columns = names
        table.write_parquet(folder / "in.parquet", row_group_size=8)
        query = QUERIES[name](pl.scan_parquet(folder / "in.parquet"), exact_columns(names))
        plan = PlanSettings(parallelism=partitions, single_task_bytes=0, broadcast_bytes=0)
        graph = plan_outputs([PlanOutput("out", query)], settings=plan)
        assert not any("could not be cut" in stage.why for stage in graph.stages)
        actual = run_inline(graph, folder).results["out"]
        expected = query.collect(engine="in-memory")
        # Columns are compared by place: the comparison itself takes names for patterns.
        assert actual.columns == expected.columns
        places = [str(place) for place in range(actual.width)]
        actual.columns = expected.columns = places
        assert_frame_equal(actual, expected, check_row_order=False)
    finally:
        shutil.rmtree(folder)
