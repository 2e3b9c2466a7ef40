"""Joins of every kind, over keys of every kind, with every option."""

from __future__ import annotations

from typing import Any

import polars as pl
from polars import col
from tests.plan.differential.case import Case, bag, exact

_HOWS: tuple[Any, ...] = ("inner", "left", "right", "full", "semi", "anti")
_KEYS: dict[str, Any] = {
    "number": "g",
    "several widths": "k",
    "text": "s",
    "category": "cat",
    "enum": "en",
    "day": "day",
    "decimal": "dec",
    "struct": "st",
    "list": "ls",
    "two": ["g", "s"],
}


def _left(t: pl.LazyFrame) -> pl.LazyFrame:
    return t.select("id", "g", "k", "s", "cat", "en", "day", "dec", "st", "ls")


def _dims(r: pl.LazyFrame) -> pl.LazyFrame:
    return r.unique("g", keep="first", maintain_order=True).select("g", "v", "w")


def _bag(key: Any = "g", **options: Any) -> Case:
    return bag(lambda t, r: _left(t).join(r, on=key, **options))


def _exact(**options: Any) -> Case:
    return exact(lambda t, r: _left(t).join(r, on="g", **options))


def _with_dims(how: Any) -> Case:
    return exact(lambda t, r: _left(t).join(_dims(r), on="g", how=how, maintain_order="left"))


def _with_few(how: Any, rows: int) -> Case:
    return bag(lambda t, r: _left(t).join(r.filter(col("rid") < rows), on="g", how=how))


def _on_expressions(how: Any) -> Case:
    return bag(lambda t, r: _left(t).join(r, left_on=col("g") + 1, right_on=col("w") % 7, how=how))


def _asof(strategy: Any, by: str | None = None) -> Case:
    return exact(
        lambda t, r: t.select("id", "s").join_asof(
            r.sort("w").select("w", "rid", "s"),
            left_on="id",
            right_on="w",
            by=by,
            strategy=strategy,
            check_sortedness=False,
        )
    )


CASES: dict[str, Case] = {
    **{f"{how} by {name}": _bag(key, how=how) for how in _HOWS for name, key in _KEYS.items()},
    **{f"{how}, nulls are equal": _bag(how=how, nulls_equal=True) for how in _HOWS},
    **{
        f"{how}, coalesced {merged}": _bag(how=how, coalesce=merged)
        for how in ("inner", "left", "right", "full")
        for merged in (True, False)
    },
    **{
        f"{how} in the order of {order}": _exact(how=how, maintain_order=order)
        for how in ("inner", "left", "right", "full")
        for order in ("left_right", "right_left")
    },
    **{
        f"{how} with a unique side in order": _with_dims(how)
        for how in ("inner", "left", "semi", "anti")
    },
    **{f"{how} of a small side": _with_few(how, 4) for how in _HOWS},
    **{f"{how} with an empty side": _with_few(how, 0) for how in _HOWS},
    **{f"{how} on expressions": _on_expressions(how) for how in _HOWS},
    **{f"as-of {strategy}": _asof(strategy) for strategy in ("backward", "forward", "nearest")},
    **{f"as-of {strategy} by": _asof(strategy, "s") for strategy in ("backward", "forward")},
    "as-of with a tolerance": exact(
        lambda t, r: t.select("id").join_asof(
            r.sort("w").select("w", "rid"), left_on="id", right_on="w", tolerance=3
        )
    ),
    "as-of without equal ones": exact(
        lambda t, r: t.select("id").join_asof(
            r.sort("w").select("w", "rid"), left_on="id", right_on="w", allow_exact_matches=False
        )
    ),
    "as-of of moments": exact(
        lambda t, _: t.select("id", "at").join_asof(
            t.filter(col("id") % 5 == 0).select("at", other="id"), on="at"
        )
    ),
    "cross": bag(lambda t, r: t.select("id").join(r.select("rid").head(7), how="cross")),
    "cross of two large": bag(lambda t, r: t.select("id").join(r.select("rid"), how="cross")),
    "where": bag(
        lambda t, r: t.select("id", "g").join_where(r.select("rid", "w"), col("id") < col("w"))
    ),
    "where between": bag(
        lambda t, r: t.select("id").join_where(
            r.select("rid", "w"), col("id") >= col("w"), col("id") < col("w") + 5
        )
    ),
    "where equal": bag(
        lambda t, r: t.select("id", "g").join_where(
            r.select("rid", "w", h="g"), col("g") == col("h"), col("id") < col("w")
        )
    ),
    "suffix": bag(lambda t, r: t.select("id", "g", "s").join(r, on="g", suffix="_other")),
    "validate m:1": bag(lambda t, r: _left(t).join(_dims(r), on="g", validate="m:1")),
    "validate 1:m": bag(
        lambda t, r: _left(t).unique("g", keep="first").join(r, on="g", validate="1:m")
    ),
    "validate fails": bag(lambda t, r: t.join(r, on="g", validate="1:1")),
    "with itself": bag(lambda t, _: t.select("g", "id").join(t.select("g", b="id"), on="g")),
    "with its groups": bag(
        lambda t, _: _left(t).join(t.group_by("g").agg(n=pl.len()), on="g", how="left")
    ),
    "with its mean": bag(
        lambda t, _: t.select("id").join(t.select(m=col("id").mean()), how="cross")
    ),
    "of two joins": bag(
        lambda t, r: _left(t).join(_dims(r), on="g").join(r.select("s", "rid"), on="s")
    ),
    "filter above": bag(lambda t, r: _left(t).join(r, on="g", how="left").filter(col("w") > 30)),
    "filter below": bag(lambda t, r: _left(t).filter(col("id") > 30).join(r, on="g")),
    "groups above": bag(lambda t, r: _left(t).join(r, on="g").group_by("s").agg(col("w").sum())),
    "sort above": exact(
        lambda t, r: t.select("id", "g").join(r.select("g", "rid"), on="g").sort("id", "rid")
    ),
    "head above, in order": exact(
        lambda t, r: t.select("id", "g").join(
            _dims(r), on="g", how="left", maintain_order="left"
        ).head(9)
    ),
    "rows of a join": exact(lambda t, r: _left(t).join(r, on="g").select(pl.len())),
    "left on, right on": bag(
        lambda t, r: t.select("id", "g").join(r.select("rid", "k"), left_on="g", right_on="k")
    ),
    "keys of other widths": bag(
        lambda t, r: t.select("id", "i8").join(r.select("rid", "w"), left_on="i8", right_on="w")
    ),
    "category with text": bag(
        lambda t, r: t.select("id", "cat").with_columns(col("cat").cast(pl.String)).join(
            r.select("rid", cat=col("cat").cast(pl.String)), on="cat"
        )
    ),
    "floats with nan": bag(
        lambda t, r: t.select("id", "f").join(r.select("rid", "v"), left_on="f", right_on="v")
    ),
    "nothing in common": bag(
        lambda t, r: t.select("id", a=col("g") + 100).join(
            r.select("rid", "g"), left_on="a", right_on="g"
        )
    ),
    "merge_sorted": exact(
        lambda t, r: t.select(w="id").merge_sorted(r.sort("w").select("w"), "w")
    ),
    "merge_sorted of rows": bag(
        lambda t, r: t.select(w="id", n="id").merge_sorted(r.sort("w").select("w", n="rid"), "w")
    ),
}  # fmt: skip
