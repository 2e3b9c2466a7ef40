"""What random queries are written from: a generator of chance, and expressions as Python text.

A column whose name begins with ``x_`` holds floats that depend on the order of summation: they are
compared with a tolerance, and never decide which rows there are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

__all__ = ["LOOSE", "Chance", "aggregate", "elementwise", "key", "positional", "predicate", "whole"]

LOOSE = "x_"

Test = Callable[[pl.DataType], bool]


def _number(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or dtype.is_decimal()


_KINDS: dict[str, Test] = {
    "any": lambda dtype: True,
    "number": _number,
    "integer": lambda dtype: dtype.is_integer(),
    "float": lambda dtype: dtype.is_float(),
    "decimal": lambda dtype: dtype.is_decimal(),
    "text": lambda dtype: dtype == pl.String,
    "boolean": lambda dtype: dtype == pl.Boolean,
    "date": lambda dtype: dtype == pl.Date,
    "moment": lambda dtype: dtype == pl.Datetime,
    "duration": lambda dtype: dtype == pl.Duration,
    "temporal": lambda dtype: dtype.is_temporal(),
    "category": lambda dtype: dtype in (pl.Categorical, pl.Enum),
    "categorical": lambda dtype: dtype == pl.Categorical,
    "list": lambda dtype: dtype == pl.List,
    "numbers": lambda dtype: dtype == pl.List(pl.Int64),
    "words": lambda dtype: dtype == pl.List(pl.String),
    "struct": lambda dtype: dtype == pl.Struct,
    "array": lambda dtype: isinstance(dtype, pl.Array) and len(dtype.shape) == 1,
    "binary": lambda dtype: dtype == pl.Binary,
    "flat": lambda dtype: not dtype.is_nested(),
    "ordered": lambda dtype: not dtype.is_nested() and dtype not in (pl.Binary, pl.Null),
}


class NothingToTakeError(Exception):
    """The frame has no column of the kind that is needed."""


@dataclass(slots=True)
class Chance:
    """Draws from a seed, over the columns of the frame as it is at present."""

    dice: random.Random
    schema: Mapping[str, pl.DataType] = field(default_factory=dict)
    ordered: bool = True
    """Whether Polars promises the order of the rows."""
    names: int = 0

    def of(self, kind: str) -> list[str]:
        """Return the columns of a kind; none whose floats are inexact."""
        return [
            name
            for name, dtype in self.schema.items()
            if _KINDS[kind](dtype) and not name.startswith(LOOSE)
        ]

    def column(self, *kinds: str) -> str:
        """Draw one column of these kinds and return its name."""
        found = [name for kind in kinds for name in self.of(kind)]
        if not found:
            raise NothingToTakeError
        return self.dice.choice(found)

    def columns(self, kind: str, low: int, high: int) -> list[str]:
        """Draw several columns, in the order of the frame."""
        found = self.of(kind)
        if len(found) < low:
            raise NothingToTakeError
        drawn = set(self.dice.sample(found, min(len(found), self.dice.randint(low, high))))
        return [name for name in found if name in drawn]

    def chance(self, share: float) -> bool:
        """Return True in a share of the cases."""
        return self.dice.random() < share

    def pick(self, values: Sequence[str]) -> str:
        """Draw one of these texts."""
        return self.dice.choice(values)

    def name(self, prefix: str = "n") -> str:
        """Return a column name that is new in this query."""
        self.names += 1
        return f"{prefix}{self.names}"


def _col(name: str) -> str:
    return f"pl.col({name!r})"


_BY_NUMBER = (
    "{a} + 1",
    "{a} * 2",
    "-{a}",
    "{a}.abs()",
    "{a} > {n}",
    "{a}.fill_null(0)",
    "{a}.clip(-3, 20)",
    "{a}.is_between(0, {n})",
    "{a}.cast(pl.Float64)",
    "{a}.is_null()",
    "{a}.sign()",
    "{a}.cast(pl.Int8, strict=False)",
    "pl.when({a} > {n}).then({a}).otherwise(None)",
    "pl.when({p}).then({a}).when({a} < 0).then(pl.lit(7)).otherwise(pl.lit(None))",
    "pl.when({p}).then(pl.lit('yes')).otherwise(pl.lit('no'))",
    "pl.struct({a}, {o})",
    "pl.max_horizontal({a}, {n})",
    "pl.coalesce({a}, {n})",
    "{a}.replace({{1: 2, 3: 4}})",
    "{a} / 4",
    "pl.lit({n})",
    "{a}.eq_missing({a})",
    "pl.concat_list({a}, {a} + 1)",
)
_BY_INTEGER = (
    "{a} % 5",
    "{a} // 3",
    "{a}.cast(pl.String)",
    "{a}.is_in([1, 2, 3, {n}])",
    "{a}.cast(pl.Int64) * {b}",
    "{a}.cast(pl.Int64) - {b}",
    "pl.format('{{}}-{{}}', {a}, {b})",
    "({a} % 3).cast(pl.Boolean)",
    "pl.int_ranges(0, {a}.fill_null(0).abs() % 4)",
    "pl.sum_horizontal({a}, {b})",
    "pl.from_epoch({a}, time_unit='d')",
    "{a}.cast(pl.Decimal(20, 3), strict=False)",
    "{a}.repeat_by(({b} % 3).abs())",
    "{a}.hash(3)",
)
_BY_FLOAT = (
    "{a}.round(1)",
    "{a}.floor()",
    "{a}.is_nan()",
    "{a}.fill_nan(0.5)",
    "{a}.is_finite()",
    "{a}.cast(pl.Int64, strict=False)",
    "({a} * 8).cut([-50, 0, 50])",
)
_BY_TEXT = (
    "{a}.str.len_chars()",
    "{a}.str.to_uppercase()",
    "{a}.str.contains('b')",
    "{a}.str.slice(0, 2)",
    "{a}.str.split(' ')",
    "{a}.str.replace_all('b', '-')",
    "{a}.str.starts_with('a')",
    "{a}.str.to_integer(strict=False)",
    "{a}.str.head(1)",
    "{a}.str.reverse()",
    "{a}.str.pad_start(4, '.')",
    "{a}.str.extract(r'(\\w)')",
    "{a}.cast(pl.Categorical)",
    "{a}.cast(pl.Binary)",
    "{a} + '!'",
    "{a}.is_in(['a', 'b', None])",
    "{a}.fill_null('none')",
    "pl.concat_str({a}, pl.lit('_'), {o}.is_null().cast(pl.String), ignore_nulls=True)",
    "{a}.str.find('b')",
)
_BY_KIND: dict[str, tuple[str, ...]] = {
    "number": _BY_NUMBER,
    "integer": _BY_INTEGER,
    "float": _BY_FLOAT,
    "text": _BY_TEXT,
    "boolean": ("~{a}", "{a} & {p}", "{a} | {p}", "{a}.cast(pl.Int8)", "{a}.fill_null(True)"),
    "decimal": ("{a} * 2", "{a} + {a}", "{a}.cast(pl.Float64)", "{a}.round(1)", "{a} > 3"),
    "date": (
        "{a}.dt.month()",
        "{a}.dt.truncate('1w')",
        "{a} + pl.duration(days=2)",
        "{a}.dt.strftime('%Y-%m')",
        "{a}.cast(pl.Datetime('ms'))",
        "{a} > pl.date(2024, 3, 1)",
        "{a}.dt.offset_by('1mo')",
        "({a} - pl.date(2024, 1, 1)).dt.total_days()",
    ),
    "moment": (
        "{a}.dt.hour()",
        "{a}.dt.date()",
        "{a}.dt.truncate('6h')",
        "{a}.dt.replace_time_zone('UTC')",
        "{a}.cast(pl.Datetime('ns'))",
        "{a} - pl.datetime(2024, 3, 1)",
    ),
    "duration": ("{a}.dt.total_minutes()", "{a} * 2", "-{a}", "{a}.cast(pl.Duration('ms'))"),
    "category": ("{a}.cast(pl.String)", "{a}.is_null()", "{a}.is_in(['hi', 'x'])"),
    "categorical": ("{a} == 'hi'", "{a}.fill_null('x')", "{a}.cat.len_chars()"),
    "numbers": (
        "{a}.list.len()",
        "{a}.list.sum()",
        "{a}.list.get(0, null_on_oob=True)",
        "{a}.list.sort()",
        "{a}.list.contains(2)",
        "{a}.list.eval(pl.element() + 1)",
        "{a}.list.eval(pl.element().rank())",
        "{a}.list.head(2)",
        "{a}.list.max()",
        "{a}.list.reverse()",
        "{a}.list.unique(maintain_order=True)",
        "{a}.list.eval(pl.element().filter(pl.element() > 1))",
        "{a}.list.agg(pl.element().sum())",
    ),
    "words": ("{a}.list.join('+')", "{a}.list.len()", "{a}.list.first()", "{a}.list.contains('a')"),
    "struct": (
        "{a}.struct.json_encode()",
        "{a}.is_null()",
        "{a}.struct.field('*').name.prefix('f_')",
    ),
    "array": ("{a}.arr.sum()", "{a}.arr.get(0)", "{a}.arr.to_list()", "{a}.arr.max()"),
    "binary": ("{a}.bin.size()", "{a}.bin.encode('hex')", "{a}.is_null()"),
    "any": ("{a}", "{a}.is_null()", "{a}.is_not_null()", "pl.struct({a})", "pl.lit(None)"),
}


def elementwise(c: Chance, *, depth: int = 1) -> str:
    """Return an expression of one value for each row, from that row alone."""
    kind = c.pick([kind for kind in _BY_KIND if c.of(kind)] or ["any"])
    column = _col(c.column(kind))
    return "(" + _written(c, c.pick(_BY_KIND[kind]), column, kind, depth) + ")"


def _written(c: Chance, template: str, column: str, kind: str, depth: int) -> str:
    other = _col(c.column(kind))
    inner = predicate(c, depth=depth - 1) if "{p}" in template else ""
    return template.format(
        a=column, b=other, o=_col(c.column("any")), n=c.dice.randint(-5, 12), p=inner
    )


def predicate(c: Chance, *, depth: int = 1) -> str:
    """Return a condition on one row."""
    options = []
    if c.of("number"):
        name = _col(c.column("number"))
        options += [f"({name} > {c.dice.randint(-20, 60)})", f"({name} <= {c.dice.randint(-5, 9)})"]
    if c.of("integer"):
        name = _col(c.column("integer"))
        options += [f"({name} % 3 != 1)", f"{name}.is_in([0, 1, 2, 5, 8])"]
    if c.of("text"):
        name = _col(c.column("text"))
        options += [f"{name}.str.contains('b')", f"({name} != 'a')", f"({name} >= 'b')"]
    if c.of("boolean"):
        options.append(_col(c.column("boolean")))
    if c.of("date"):
        options.append(f"({_col(c.column('date'))} > pl.date(2024, 3, 10))")
    if c.of("category"):
        options.append(f"({_col(c.column('category'))}.cast(pl.String) == 'hi')")
    name = _col(c.column("any"))
    options += [f"{name}.is_null()", f"{name}.is_not_null()"]
    chosen = c.pick(options)
    if depth > 0 and c.chance(0.35):
        chosen = f"({chosen} {c.pick('&|')} {predicate(c, depth=depth - 1)})"
    return f"(~{chosen})" if c.chance(0.1) else chosen


def key(c: Chance, kind: str = "flat") -> str:
    """Return an expression to group by, often a plain column."""
    name = c.column(kind)
    if c.chance(0.75):
        return _col(name)
    if c.of("integer") and c.chance(0.5):
        return f"({_col(c.column('integer'))} % 4).alias({c.name('key')!r})"
    return f"{_col(name)}.is_null().alias({c.name('key')!r})"


_NUMBER_AGGREGATES = (
    "{a}.sum()",
    "{a}.min()",
    "{a}.max()",
    "{a}.mean()",
    "{a}.median()",
    "{a}.std()",
    "{a}.var(ddof=0)",
    "{a}.quantile(0.25, 'nearest')",
    "{a}.quantile(0.75, 'linear')",
    "{a}.sum() / pl.len()",
    "{a}.max() - {a}.min()",
    "{a}.nan_max()",
    "{a}.abs().sum()",
    "{a}.sum() + {a}.count()",
    "{a}.filter({p}).sum()",
    "{a}.filter({p}).mean()",
    "({a} * {a}).sum()",
    "{a}.skew()",
    "{a}.sort().first()",
    "{a}.top_k(2).sum()",
    "{a}.unique().sort().head(3)",
    "{a}.rank().max()",
)
_ANY_AGGREGATES = (
    "{a}.count()",
    "{a}.len()",
    "pl.len()",
    "{a}.null_count()",
    "{a}.n_unique()",
    "{a}.is_null().sum()",
    "{a}.is_not_null().any()",
    "{a}.drop_nulls().len()",
    "pl.lit(3).sum()",
    "pl.lit(5)",
    "{a}.count() > 3",
    "{a}.filter({p}).count()",
    "pl.len().cast(pl.Int64) * 2",
    "{a}.unique().len()",
    "{a}.has_nulls()",
    "pl.when(pl.len() > 30).then({a}.count()).otherwise(0)",
)
_ORDERED_AGGREGATES = ("{a}.min()", "{a}.max()", "{a}.filter({p}).max()", "{a}.drop_nulls().min()")
_ROW_AGGREGATES = (
    "{a}.first()",
    "{a}.last()",
    "{a}.implode()",
    "{a}",
    "{a}.head(2)",
    "{a}.tail(2)",
    "{a}.reverse()",
    "{a}.get(0)",
    "{a}.slice(1, 2)",
    "{a}.filter({p})",
    "{a}.filter({p}).first()",
    "{a}.unique(maintain_order=True)",
    "{a}.shift(1)",
    "{a}.gather_every(3)",
    "{a}.is_first_distinct().sum()",
    "{a}.drop_nulls().first()",
    "{a}.rle_id().max()",
    "{a}.rle()",
    "{a}.value_counts(sort=True).first().is_not_null()",
)
_ROW_NUMBER_AGGREGATES = (
    "{a}.cum_sum()",
    "{a}.diff()",
    "{a}.diff().max()",
    "{a}.cum_max().last()",
    "{a}.sort_by({b}, maintain_order=True).first()",
    "{a}.sort(descending=True)",
    "{a}.rank('ordinal')",
    "{a}.forward_fill().last()",
)
_BOOLEAN_AGGREGATES = (
    "{a}.sum()", "{a}.any()", "{a}.all()", "{a}.mean()", "{a}.min()",
    "{a}.any(ignore_nulls=False)", "{a}.max()",
)  # fmt: skip
_INEXACT = (
    ".mean()",
    ".std()",
    ".var(",
    ".skew()",
    "/ pl.len()",
    "* pl.col",
    "linear",
    ".median()",
    "rank()",
)


def aggregate(c: Chance, *, rows: bool | None = None, scalar: bool = False) -> str:
    """Return an aggregate with its name; one that looks at the order of rows only if ``rows``."""
    rows = c.ordered if rows is None else rows
    options: list[tuple[str, tuple[str, ...]]] = [("any", _ANY_AGGREGATES)]
    if c.of("number"):
        options += [("number", _NUMBER_AGGREGATES)] * 3
    if c.of("ordered"):
        options.append(("ordered", _ORDERED_AGGREGATES))
    if c.of("boolean"):
        options.append(("boolean", _BOOLEAN_AGGREGATES))
    if rows and not scalar:
        options.append(("any", _ROW_AGGREGATES))
        options += [("number", _ROW_NUMBER_AGGREGATES)] if c.of("number") else []
    kind, templates = c.dice.choice(options)
    text = _written(c, c.pick(templates), _col(c.column(kind)), kind, 0)
    if scalar and (".head(" in text or "sort().head" in text):
        text = f"{_col(c.column(kind))}.count()"
    return _named(c, text)


def _named(c: Chance, text: str) -> str:
    loose = any(part in text for part in _INEXACT)
    return f"({text}).alias({c.name(LOOSE if loose else 'n')!r})"


_WHOLE = (
    "{a}.sum()",
    "{a}.max() - {a}",
    "{a} - {a}.min()",
    "{a}.rank('dense')",
    "{a}.rank('min', descending=True)",
    "{a} > {a}.mean()",
    "{a}.fill_null(strategy='max')",
    "{a}.is_unique()",
    "{a}.is_duplicated()",
    "{a}.n_unique()",
    "{a}.count()",
    "{a} == {a}.max()",
    "{a}.is_in({b}.implode())",
    "{a}.sum().over({g})",
    "{a}.max().over({g})",
    "{a}.rank('dense').over({g})",
    "pl.len().over({g})",
    "{a}.count().over({g}, {h})",
    "({a} - {a}.min().over({g}))",
    "{a}.mean().over({g})",
    "{a}.n_unique().over({g})",
    "{a}.sum().over(({a} > 0))",
    "{a}.sort().over({g}, mapping_strategy='join')",
    "{a}.quantile(0.5).over({g})",
)
_POSITIONAL = (
    "{a}.cum_sum()",
    "{a}.cum_max()",
    "{a}.cum_min(reverse=True)",
    "{a}.cum_count()",
    "{a}.diff()",
    "{a}.shift(1)",
    "{a}.shift(-2, fill_value=0)",
    "{a}.rank('ordinal')",
    "{a}.forward_fill()",
    "{a}.backward_fill(1)",
    "{a}.rle_id()",
    "{a}.rolling_sum(3)",
    "{a}.rolling_max(4, min_samples=1)",
    "{a}.rolling_mean(3)",
    "{a}.is_first_distinct()",
    "{a}.is_last_distinct()",
    "{a}.interpolate()",
    "{a}.reverse()",
    "{a}.peak_max()",
    "{a}.first()",
    "{a}.last()",
    "{a}.cum_sum().over({g})",
    "{a}.diff().over({g})",
    "{a}.shift(1).over({g})",
    "{a}.first().over({g})",
    "{a}.last().over({g}, {h})",
    "{a}.rank('ordinal').over({g})",
    "{a}.cum_count().over({g})",
    "{a}.cum_sum().over({g}, order_by={o})",
    "{a}.first().over({g}, order_by={o}, descending=True)",
    "{a}.implode().over({g}, mapping_strategy='join')",
    "{a}.head(2).over({g}, mapping_strategy='join')",
    "{a}.reverse().over({g})",
    "{a}.forward_fill().over({g})",
    "{a}.rle_id().over({g})",
    "pl.int_range(pl.len()).over({g})",
    "{a}.sort_by({b}, maintain_order=True).over({g})",
    "{a}.ewm_mean(alpha=0.5)",
    "{a}.cum_sum().diff()",
    "{a}.sort(descending=True)",
    "{a}.gather([0, 0, 1]).first()",
    "{a}.bottom_k(3).sum()",
)


def whole(c: Chance) -> str:
    """Return an expression that needs all rows, in any order."""
    return _window(c, _WHOLE)


def positional(c: Chance) -> str:
    """Return an expression that depends on the order of the rows."""
    return _window(c, _POSITIONAL if c.chance(0.8) else _WHOLE)


def _window(c: Chance, templates: Sequence[str]) -> str:
    name = c.column("number")
    text = c.pick(templates).format(
        a=_col(name),
        b=_col(c.column("number")),
        g=_col(c.column("flat")),
        h=_col(c.column("flat")),
        o=_col(c.column("ordered")),
    )
    loose = (
        any(part in text for part in ("mean(", "rolling_", "ewm", "interpolate"))
        and "> " not in text
    )
    return f"({text}).alias({c.name(LOOSE if loose else 'w')!r})"
