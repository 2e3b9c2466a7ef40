"""Which expressions may run on a part of the rows. A wrong yes is a wrong answer."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs
import pytest
from polars import col
from polars.exceptions import InvalidOperationError, PanicException

from minispark.plan.aggregates import split_aggregates
from minispark.plan.expressions import expand, is_elementwise, is_random, is_separable
from minispark.plan.polars_plan import expression_body

SEPARABLE = [
    col("a"),
    col("a") + col("b"),
    pl.col("a", "b") * 2,
    pl.all().cast(pl.String),
    col("a").is_in([1, 2]),
    col("a").list.eval(pl.element() + 1),
    col("a").list.sum(),
    col("a").str.split(" "),
    col("a").str.extract_all(r"\S+"),
    col("a").dt.year(),
    pl.struct("a", "b"),
    col("a").struct.unnest(),
    col("a").struct.field("x", "^y.*$") + 1,
    pl.when(col("a") > 1).then(2).otherwise(None),
    pl.sql_expr("a * b"),
    pl.sql_expr("a in (1, 2)"),
    pl.sql_expr("case when a > 1 then b else 0 end"),
    pl.lit(5),
]

NOT_SEPARABLE = [
    col("a").sum(),
    col("a").fill_null(col("a").mean()),
    col("a") - col("a").min(),
    pl.when(col("a") > col("a").mean()).then(1),
    col("a").shift(),
    col("a").cum_sum(),
    col("a").rank(),
    col("a").sum().over("b"),
    col("a").sort(),
    col("a").unique(),
    col("a").reverse(),
    col("a").is_duplicated(),
    col("a").is_first_distinct(),
    col("a").sample(2),
    col("a").shuffle(),
    col("a").interpolate(),
    col("a").rolling_mean(2),
    col("a").fill_null(strategy="forward"),
    col("a").clip(1, col("a").max()),
    col("a").map_elements(repr, return_dtype=pl.String),
    col("a").map_batches(lambda values: values, return_dtype=pl.Int64),
    pl.int_range(pl.len()),
    pl.len(),
    pl.lit(pl.Series([1, 2])),
    pl.sql_expr("sum(a)"),
]


@pytest.mark.parametrize("expr", SEPARABLE, ids=str)
def test_separable(expr: pl.Expr) -> None:
    assert is_separable(expression_body(expr))


@pytest.mark.parametrize("expr", NOT_SEPARABLE, ids=str)
def test_not_separable(expr: pl.Expr) -> None:
    assert not is_separable(expression_body(expr))


@pytest.mark.parametrize("expr", [col("a").explode(), col("a").drop_nulls()], ids=str)
def test_separable_but_not_one_value_a_row(expr: pl.Expr) -> None:
    body = expression_body(expr)
    assert is_separable(body)
    assert not is_elementwise(body)


def test_what_may_differ_on_a_second_run() -> None:
    assert is_random(expression_body(col("a").shuffle()))
    assert is_random(expression_body(col("a").rank("random").over("b")))
    assert not is_random(expression_body(col("Random").rank("min")))
    assert is_random(expression_body(col("a").map_elements(repr, return_dtype=pl.String)))
    assert not is_random(expression_body(col("a").sum()))


def test_selectors_are_written_out_without_the_keys() -> None:
    schema = {"k": pl.Int64(), "a": pl.Int64(), "b": pl.Float64()}
    body = expression_body(pl.all().sum())
    assert expand(body, schema, without=["k"]) == [
        expression_body(col("a").sum()),
        expression_body(col("b").sum()),
    ]


@pytest.mark.parametrize(
    ("expr", "expanded"),
    [
        (pl.sum_horizontal(pl.all()), [pl.sum_horizontal("a", "b")]),
        (pl.all().fill_null(0), [col("a").fill_null(0), col("b").fill_null(0)]),
        (pl.struct(pl.all().max()), [pl.struct(col("a").max(), col("b").max())]),
        (
            pl.all() / pl.sum_horizontal(pl.all()),
            [col("a") / pl.sum_horizontal("a", "b"), col("b") / pl.sum_horizontal("a", "b")],
        ),
        (pl.coalesce(cs.integer(), cs.float()), [pl.coalesce("a", "b")]),
        (cs.integer() + cs.float(), None),
        (pl.sum_horizontal(cs.integer() + cs.float()), None),
    ],
    # The text of a list of expressions holds addresses, which differ between processes.
    ids=lambda value: str(value) if isinstance(value, pl.Expr) else "",
)
def test_a_function_takes_all_columns_of_a_selector_or_each(
    expr: pl.Expr, expanded: list[pl.Expr] | None
) -> None:
    schema = {"a": pl.Int64(), "b": pl.Float64()}
    found = expand(expression_body(expr), schema)
    assert found == (expanded and [expression_body(one) for one in expanded])


SCHEMA = {"a": pl.Int64(), "b": pl.Float64(), "s": pl.String(), "c": pl.Categorical()}


@pytest.mark.parametrize(
    ("expr", "partial"),
    [
        (pl.sql_expr("count(*)"), 1),
        (pl.sql_expr("sum(a * b)"), 2),
        (pl.sql_expr("avg(b)"), 2),
        (col("a").max() - col("a").min(), 2),
        (col("a").sum() / col("a").sum(), 1),
        (col("a").filter(col("b") > 1).sum() / pl.len(), 2),
        (col("s").min(), 1),
        (col("c").min(), 1),
        (col("a").first(), 2),
        (col("a").n_unique(), 1),
        (pl.sql_expr("count(distinct a)"), 1),
        (col("a").sum().alias("Len"), 1),
        (pl.lit(1), 0),
    ],
    ids=str,
)
def test_aggregates_that_split_share_their_partial_columns(expr: pl.Expr, partial: int) -> None:
    split = split_aggregates([expression_body(expr)], SCHEMA, grouped=False)
    assert split is not None
    assert len(split.partial) == partial


@pytest.mark.parametrize(
    "expr",
    [
        col("a").median(),
        col("a"),
        col("a").sum() + col("a"),
        col("a").sum().over("b"),
        col("a").unique().sum(),
        col("a").cum_sum().max(),
        (col("a") - col("a").mean()).sum(),
        col("a").sum().shift(),
        col("a").head(2),
        col("a").top_k(2).sum(),
    ],
    ids=str,
)
def test_aggregates_that_do_not_split(expr: pl.Expr) -> None:
    assert split_aggregates([expression_body(expr)], SCHEMA, grouped=False) is None


HALF = 2**31


def final_step(expr: pl.Expr, *partials: Sequence[float]) -> pl.DataFrame:
    """Return what the final step makes of the partial columns of some partitions."""
    schema = {"a": pl.Int64(), "b": pl.Float64(), "f": pl.Boolean()}
    split = split_aggregates([expression_body(expr)], schema, grouped=False)
    assert split is not None
    empty = pl.LazyFrame(schema=schema).select(split.partial)
    rows = pl.DataFrame(
        [
            pl.Series(name, values, dtype)
            for (name, dtype), values in zip(empty.collect_schema().items(), partials, strict=True)
        ]
    )
    return rows.lazy().select(split.final).select(split.outputs).collect()


@pytest.mark.parametrize("expr", [pl.len(), col("a").count(), col("f").sum()], ids=str)
def test_a_count_that_its_dtype_cannot_hold_is_an_error(expr: pl.Expr) -> None:
    assert final_step(expr, [HALF, HALF - 1]).item() == 2**32 - 1
    assert final_step(expr, [HALF, HALF - 1]).dtypes == [pl.UInt32]
    with pytest.raises(InvalidOperationError, match="conversion from `u64` to `u32` failed"):
        final_step(expr, [HALF, HALF])


def test_a_mean_of_more_rows_than_32_bits_count_is_right() -> None:
    assert final_step(col("b").mean(), [2.0**33, 2.0**33], [2**32 - 1, 2**32 + 1]).item() == 2.0


def test_what_polars_panics_at_needs_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(_: object) -> bool:
        raise PanicException("unreachable")

    monkeypatch.setattr("polars.expr.meta.ExprMetaNameSpace.is_row_separable", panic)
    assert not is_separable(expression_body(col("a") + 123_456_789))
