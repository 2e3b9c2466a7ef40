from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PolarsError
from polars.testing import assert_frame_equal

from minispark.plan.fragments import filled
from minispark.plan.leaves import Leaf, bind
from minispark.plan.polars_plan import parse, plan_header, post_order
from minispark.plan.pythons import leaf_of

SCHEMA = pl.Schema({"word": pl.String(), "n": pl.Int64()})
ROWS = pl.DataFrame({"word": ["a", "b", None], "n": [1, 2, 3]}, schema=SCHEMA)
WORDS = Leaf("words", SCHEMA)
QUERIES = {
    "filter": lambda lf: lf.filter(pl.col("n") > 1),
    "one column": lambda lf: lf.select("word"),
    "no column": lambda lf: lf.select(pl.len()),
    "head": lambda lf: lf.head(2),
    "twice": lambda lf: pl.concat(
        [lf.filter(pl.col("n") < 3), lf.join(lf, on="n")], how="diagonal"
    ),
    "itself": lambda lf: lf,
}


def kinds(frame: pl.LazyFrame) -> list[str]:
    return [node.kind for node in post_order(parse(frame))]


def file_of(folder: Path) -> pl.LazyFrame:
    path = folder / "words.csv"
    ROWS.write_csv(path)
    return pl.scan_csv(path, schema=SCHEMA)


@pytest.mark.parametrize("name", QUERIES)
def test_what_stands_in_the_place_of_a_leaf_gives_its_rows(tmp_path: Path, name: str) -> None:
    file = file_of(tmp_path)
    query = QUERIES[name]
    plan = filled(query(WORDS.lazy()).serialize(), {"words": lambda schema: file})
    assert "Resolver" not in kinds(plan)
    assert_frame_equal(plan.collect(), query(file).collect(), check_row_order=name != "twice")


def test_a_plan_is_filled_with_other_rows_each_time() -> None:
    fragment = WORDS.lazy().filter(pl.col("n") > 1).serialize()
    for rows in (ROWS, ROWS.head(1), ROWS.vstack(ROWS)):
        plan = filled(fragment, {"words": lambda schema, rows=rows: rows.lazy()})
        assert_frame_equal(plan.collect(), rows.filter(pl.col("n") > 1))


def test_a_binding_is_told_the_schema_of_its_leaf() -> None:
    found = []
    filled(WORDS.lazy().serialize(), {"words": lambda s: found.append(s) or ROWS.lazy()})
    assert found == [SCHEMA]


def test_leaves_that_are_not_given_stay() -> None:
    other = Leaf("other", SCHEMA)
    query = pl.concat([WORDS.lazy(), other.lazy()]).serialize()
    plan = filled(query, {"words": lambda schema: ROWS.lazy()})
    assert kinds(plan).count("Resolver") == 1
    with bind({"other": lambda schema: ROWS.lazy()}):
        assert_frame_equal(plan.collect(), ROWS.vstack(ROWS))


def long_fragment() -> pl.LazyFrame:
    return WORDS.lazy().filter(pl.col("n").is_in(pl.Series(range(10_000))))


def too_deep() -> pl.LazyFrame:
    deep = pl.col("n")
    for _ in range(300):
        deep = deep + 1
    return WORDS.lazy().select(deep)


@pytest.mark.parametrize("query", [long_fragment, too_deep])
def test_a_plan_that_cannot_be_read_here_keeps_its_leaves(query) -> None:
    plan = filled(query().serialize(), {"words": lambda schema: ROWS.clear().lazy()})
    with bind({"words": lambda schema: ROWS.lazy()}):
        assert_frame_equal(plan.collect(), query().collect())


def test_rows_that_take_many_bytes_to_write_down_stay_a_leaf() -> None:
    many = pl.DataFrame({"word": ["x" * 20_000], "n": [1]}, schema=SCHEMA)
    plan = filled(WORDS.lazy().serialize(), {"words": lambda schema: many.lazy()})
    assert kinds(plan) == ["Resolver"]


def test_a_plan_of_another_polars_is_refused_as_polars_does() -> None:
    data = bytearray(WORDS.lazy().serialize())
    data[len(plan_header()) - 1] ^= 0xFF
    with pytest.raises(PolarsError):
        filled(bytes(data), {"words": lambda schema: ROWS.lazy()})


@pytest.mark.parametrize(
    ("dtype", "known"),
    [
        (pl.Datetime("us", "Europe/Madrid"), True),
        (pl.Decimal(10, 2), True),
        (pl.List(pl.Struct({"a": pl.Array(pl.Int8, 2)})), True),
        (pl.Enum(["a", "b"]), False),
    ],
)
def test_a_leaf_is_known_by_its_schema(dtype: pl.DataType, known: bool) -> None:
    (node,) = post_order(parse(Leaf("odd", {"a": dtype}).lazy()))
    found = leaf_of(node)
    assert (found is not None) == known
    if found is not None:
        assert (found.name, found.columns) == ("odd", {"a": dtype})
    plan = filled(Leaf("odd", {"a": dtype}).lazy().serialize(), {"odd": _nothing})
    with bind({"odd": _nothing}):
        assert plan.collect().schema == {"a": dtype}


def _nothing(schema: pl.Schema) -> pl.LazyFrame:
    return pl.LazyFrame(schema=schema)
