"""The named functions of JSON jobs, as Polars expressions.

To add one: a line in a table here, and its name in the model of its operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from minispark.plan.columns import exact_column

_BREAKS = r"[\t-\r\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"
r"""All white space of Unicode (``\s`` in a Polars pattern) except the blank."""


def words(column: str) -> pl.Expr:
    r"""Return lists of texts: the words between white space, and empty texts.

    A split at blanks takes a third of the time of ``extract_all(r"\S+")``, so only rows with other
    white space use that. In rows of ASCII a search for single bytes finds other white space at the
    speed of memory; only the other rows need the whole pattern.
    """
    text = exact_column(column)
    ascii_only = text.str.len_bytes() == text.str.len_chars()
    ascii_breaks = text.str.contains("[\t\n\r]") | text.str.contains("[\x0b\x0c]")
    breaks = pl.when(ascii_only).then(ascii_breaks).otherwise(text.str.contains(_BREAKS))
    return pl.when(breaks).then(text.str.extract_all(r"\S+")).otherwise(text.str.split(" "))


def _split_words(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
    lists = frame.select(words(column).alias("token"))
    split = lists.explode("token", empty_as_null=False, keep_nulls=False)
    return split.filter(pl.col("token") != "")


SPLITTERS: Mapping[str, Callable[[pl.LazyFrame, str], pl.LazyFrame]] = {
    "tokenize": _split_words,
    "split_words": _split_words,
}
"""Functions of ``flat_map``, which give one column ``token``."""

MAPS: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "to_lower": lambda text: text.str.to_lowercase(),
    "to_upper": lambda text: text.str.to_uppercase(),
    "trim": lambda text: text.str.strip_chars(),
    "reverse": lambda text: text.str.reverse(),
    "strip_punctuation": lambda text: text.str.replace_all(r"\p{P}+", ""),
    "length": lambda text: text.str.len_chars().cast(pl.Int64),
}
"""Functions of ``map``, which change a column."""

FILTERS: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "non_empty": lambda text: text != "",
    "contains_alpha": lambda text: text.str.contains(r"\p{L}"),
}
"""Functions of ``filter``: whether a row passes; null does not."""

_REDUCERS: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "sum": lambda value: value.sum(),
    "count": lambda value: value.count(),
    "min": lambda value: value.min(),
    "max": lambda value: value.max(),
    "mean": lambda value: value.mean(),
}


def reducer(fn: str, value: str) -> pl.Expr:
    """Return the aggregate ``fn`` of a column."""
    return _REDUCERS[fn](exact_column(value))


def row_count(fn: str) -> pl.Expr:
    """Return the aggregate ``fn`` of a column ``count`` with a 1 in every row."""
    rows = pl.len().cast(pl.Int64)
    if fn in ("sum", "count"):
        return rows.alias("count")
    one = pl.when(pl.len() > 0).then(pl.lit(1, dtype=pl.Int64))
    return (one.cast(pl.Float64) if fn == "mean" else one).alias("count")
