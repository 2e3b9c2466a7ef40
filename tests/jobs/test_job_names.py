"""Every operator over columns with whatever names: a name is that column, never a pattern."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.jobs.job_kit import Node, fan_in, refused
from tests.runners.inline import run_inline

from minispark.jobs import plan_job

HOSTILE = ["*", "^a.*$", "^$", "^.*$", "", "a", "ab", "a\0b", '"q"', "a.b", "a\nb", "é", " "]
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=4))
LEFT, RIGHT = pl.nth(0), pl.nth(1)

# The fields of a node over columns called a and b, and the same in plain Polars.
Make = Callable[[str, str], dict[str, Any]]
Oracle = Callable[[pl.LazyFrame], pl.LazyFrame]
OPERATORS: dict[str, tuple[Make, Oracle]] = {
    "reduce_by_key": (
        lambda a, b: {"op": "reduce_by_key", "key": a, "value": b, "fn": "sum"},
        lambda t: t.group_by(LEFT).agg(RIGHT.sum()),
    ),
    "reduce_by_keys": (
        lambda a, b: {"op": "reduce_by_key", "key": [a, b], "fn": "sum"},
        lambda t: t.group_by(LEFT, RIGHT).agg(pl.len().cast(pl.Int64).alias("count")),
    ),
    "reduce": (
        lambda a, b: {"op": "reduce", "value": a, "fn": "max"},
        lambda t: t.select(LEFT.max()),
    ),
    "reduce mean": (
        lambda a, b: {"op": "reduce", "value": b, "fn": "mean"},
        lambda t: t.select(RIGHT.mean()),
    ),
    "aggregate": (
        lambda a, b: {"op": "aggregate", "by": a, "aggs": {"rows": "count(*)"}},
        lambda t: t.group_by(LEFT).agg(pl.len().cast(pl.Int64).alias("rows")),
    ),
    "select": (lambda a, b: {"op": "select", "columns": [b, a]}, lambda t: t.select(RIGHT, LEFT)),
    "select one": (lambda a, b: {"op": "select", "columns": [a]}, lambda t: t.select(LEFT)),
    "distinct": (lambda a, b: {"op": "distinct"}, lambda t: t.unique()),
    "distinct by": (
        lambda a, b: {"op": "distinct", "subset": [a, b]},
        lambda t: t.unique(subset=[LEFT, RIGHT]),
    ),
    "sort": (
        lambda a, b: {"op": "sort", "by": [b, a], "descending": True},
        lambda t: t.sort(RIGHT, LEFT, descending=True),
    ),
    "join": (
        lambda a, b: {"op": "join", "on": a, "suffix": "\1"},
        lambda t: t.join(t, on=LEFT, suffix="\1"),
    ),
    "full join": (
        lambda a, b: {"op": "join", "left_on": a, "right_on": b, "how": "full", "suffix": "\1"},
        lambda t: t.join(t, left_on=LEFT, right_on=RIGHT, how="full", coalesce=True, suffix="\1"),
    ),
    "semi join": (
        lambda a, b: {"op": "join", "on": [a, b], "how": "semi"},
        lambda t: t.join(t, on=[LEFT, RIGHT], how="semi"),
    ),
    "map": (
        lambda a, b: {"op": "map", "fn": "to_upper", "column": b},
        lambda t: t.with_columns(RIGHT.str.to_uppercase()),
    ),
    "map to pairs": (
        lambda a, b: {"op": "map", "fn": "pair_with_one", "column": b},
        lambda t: t.select(RIGHT.alias("key"), pl.lit(1, dtype=pl.Int64).alias("value")),
    ),
    "map expr": (
        lambda a, b: {"op": "map", "expr": {a: "1::bigint"}},
        lambda t: t.select(pl.lit(1, dtype=pl.Int64).alias(t.collect_schema().names()[0]), RIGHT),
    ),
    "flat_map": (
        lambda a, b: {"op": "flat_map", "fn": "tokenize", "column": b},
        lambda t: t.select(RIGHT.str.split(" ").alias("token")).explode("token").drop_nulls(),
    ),
    "filter": (
        lambda a, b: {"op": "filter", "fn": "contains_alpha", "column": b},
        lambda t: t.filter(RIGHT.str.contains(r"\p{L}")),
    ),
    "union": (lambda a, b: {"op": "union"}, lambda t: pl.concat([t, t])),
    "limit": (lambda a, b: {"op": "limit", "n": 3}, lambda t: t.head(3)),
    "repartition": (lambda a, b: {"op": "repartition", "n": 4}, lambda t: t),
    "cache": (lambda a, b: {"op": "cache"}, lambda t: t),
}
TEXTS = ["map", "map to pairs", "flat_map", "filter"]
TWO_INPUTS = ["join", "full join", "semi join", "union"]


def _rows(frame: pl.DataFrame) -> list[str]:
    return sorted(map(repr, frame.iter_rows()))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(NAMES, min_size=2, max_size=2, unique=True).filter(
        lambda names: not any("\1" in name or name in ("count", "rows") for name in names)
    ),
    name=st.sampled_from(list(OPERATORS)),
    rows=st.integers(1, 30),
)
@example(names=["*", "a"], name="reduce", rows=9)
@example(names=["a", "*"], name="reduce_by_key", rows=9)
@example(names=["^.*$", "*"], name="full join", rows=9)
@example(names=["", "a"], name="aggregate", rows=9)
@example(names=["", "a"], name="join", rows=9)
@example(names=["a", "*"], name="map", rows=9)
def test_rows_equal_plain_polars(names: list[str], name: str, rows: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="minispark-test-"))
    try:
        make, oracle = OPERATORS[name]
        table = pl.select(n=pl.int_range(rows) % 4, m=pl.int_range(rows) * 3 % 7)
        if name in TEXTS:
            table = table.with_columns(m=pl.format("w {}", "m"))
        table.columns = names
        table.write_parquet(folder / "in.parquet", row_group_size=8)
        read: list[Node] = [
            {"id": f"in{number}", "op": "read_parquet", "path": "in.parquet"}
            for number in range(2 if name in TWO_INPUTS else 1)
        ]
        job = {**fan_in({"id": "out", **make(*names)}, *read), "parallelism": 3}
        graph = plan_job(job, data_root=folder)
        found = run_inline(graph, folder, data_root=folder).results["out"]
        expected = oracle(pl.scan_parquet(folder / "in.parquet")).collect()
        assert found.schema == expected.schema
        assert _rows(found) == _rows(expected)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["*", "^a.*$", "^$", "a b", 'say "a"'])
def test_a_quoted_name_in_an_expression_is_that_column(name: str, root: Path) -> None:
    table = pl.DataFrame({"a": [1, 2], "b": [30, 40]})
    table.columns = ["a", name]
    table.write_parquet(root / "in.parquet")
    read = {"id": "in", "op": "read_parquet", "path": "in.parquet"}
    quoted = '"' + name.replace('"', '""') + '"'
    for fields, expected in (
        ({"op": "aggregate", "aggs": {"s": f"sum({quoted}) + count(*)"}}, [(72,)]),
        ({"op": "filter", "where": f"{quoted} > 30"}, [(2, 40)]),
        ({"op": "select", "columns": {"s": f"{quoted} + a"}}, [(31,), (42,)]),
    ):
        job = fan_in({"id": "out", **fields}, read)
        found = run_inline(plan_job(job, data_root=root), root, data_root=root).results["out"]
        assert found.rows() == expected


def test_a_quoted_pattern_that_is_no_column_is_named(root: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(root / "in.parquet")
    read = {"id": "in", "op": "read_parquet", "path": "in.parquet"}
    error = refused(fan_in({"id": "out", "op": "filter", "where": '"*" > 0'}, read), root)
    assert error.code == "MS-164"
    assert "no column '*'" in error.message
