"""Steps that join."""

from __future__ import annotations

from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.columns import predicate
from tests.plan.random_queries.step import Step, require_order

_HOWS = ("inner", "left", "right", "full", "semi", "anti")
_ORDERS = ("left", "right", "left_right", "left_right", "right_left", "right_left")


def join_step(c: Chance) -> Step:
    how = c.pick(_HOWS)
    other, keys = _partner(c)
    options = [f"how={how!r}", f"suffix='_{c.name()}'"]
    if c.chance(0.2):
        options.append("nulls_equal=True")
    if how in ("left", "right", "full", "inner") and c.chance(0.25):
        options.append(f"coalesce={c.pick(['True', 'False'])}")
    ordered = False
    if c.chance(0.35):
        order = c.pick(_ORDERS)
        options.append(f"maintain_order={order!r}")
        whole = order in ("left_right", "right_left") or how in ("semi", "anti")
        ordered = c.ordered and whole and "group_by" not in other
    if c.chance(0.1):
        options.append(f"validate={c.pick(['1:m', 'm:1', '1:1'])!r}")
    elif c.chance(0.1):
        options.append(f"build_side={c.pick(['force_left', 'force_right', 'prefer_left'])!r}")
    return Step(f"q = q.join({other}, {keys}, {', '.join(options)})", ordered)


def _partner(c: Chance) -> tuple[str, str]:
    """Return the other side of a join and the keys."""
    shared = {
        "k": "r",
        "g": "d",
        "en": "e.unique('en', keep='first', maintain_order=True)",
        "s": "d.unique('s', keep='first', maintain_order=True)",
        "cat": "r.unique('cat', keep='first', maintain_order=True)",
        "day": "r.unique('day', keep='first', maintain_order=True)",
    }
    keys_of_both = [name for name in shared if name in c.schema]
    if keys_of_both and c.chance(0.75):
        name = c.pick(keys_of_both)
        if (
            name == "k"
            and "s" in c.schema
            and c.schema["s"] == c.schema.get("txt")
            and c.chance(0.3)
        ):
            return "r", "on=['k', 's']"
        return shared[name], f"on={name!r}"
    name = c.column("integer")
    if c.chance(0.4):
        return "r", f"left_on={name!r}, right_on='rid'"
    if c.chance(0.5):
        return "r", f"left_on=pl.col({name!r}) + 1, right_on=pl.col('rid') * 2"
    inner = f"q.group_by({name!r}).agg(pl.len().alias('size'))"
    return inner, f"on={name!r}"


def own_groups_step(c: Chance) -> Step:
    name, value = c.column("flat"), c.column("number")
    groups = f"q.group_by({name!r}).agg(pl.col({value!r}).max().alias({c.name()!r}))"
    how = c.pick(["inner", "left", "semi", "anti"])
    return Step(f"q = q.join({groups}, on={name!r}, how={how!r})", ordered=False)


def update_step(c: Chance) -> Step:
    key_, value = c.column("integer"), c.column("number")
    if key_ == value:
        raise NothingToTakeError
    side = f"q.group_by({key_!r}).agg(pl.col({value!r}).max())"
    how = c.pick(["left", "inner", "full"])
    return Step(f"q = q.update({side}, on={key_!r}, how={how!r})", ordered=False)


def own_rows_step(c: Chance) -> Step:
    """Join rows with some of themselves, by keys of every dtype."""
    names = c.columns("any", 1, 2)
    kept = f"q.filter({predicate(c)}).select({names!r}, pl.lit({c.name()!r}).alias({c.name()!r}))"
    how = c.pick(_HOWS)
    options = [f"how={how!r}", f"suffix='_{c.name()}'", f"nulls_equal={c.chance(0.5)}"]
    ordered = c.ordered and c.chance(0.5)
    if ordered:
        options.append(f"maintain_order={c.pick(['left_right', 'right_left'])!r}")
    return Step(f"q = q.join({kept}, on={names!r}, {', '.join(options)})", ordered)


def few_rows_step(c: Chance) -> Step:
    """Join a few rows with a large table; their unmatched rows are kept or not."""
    require_order(c)
    name, how = c.column("integer"), c.pick(_HOWS)
    head = f"q.head({c.dice.randint(0, 9)})"
    options = f"how={how!r}, suffix='_{c.name()}'"
    if c.chance(0.5):
        return Step(
            f"q = {head}.join(r, left_on={name!r}, right_on='rid', {options})", ordered=False
        )
    return Step(f"q = r.join({head}, left_on='k', right_on={name!r}, {options})", ordered=False)


def cross_step(c: Chance) -> Step:
    side = c.pick(["d.head(3)", "e.filter(pl.col('g') < 4)", "d.select(pl.col('z').max())"])
    return Step(f"q = q.join({side}, how='cross', suffix='_{c.name()}')", ordered=False)


def join_where_step(c: Chance) -> Step:
    name = c.column("integer")
    condition = c.pick(
        [
            f"pl.col({name!r}) < pl.col('g_d')",
            f"pl.col({name!r}) == pl.col('g_d'), pl.col('z') > 0",
            f"(pl.col('g_d') == pl.col({name!r}) % 9) & (pl.col('z') < 20)",
            f"pl.col({name!r}).cast(pl.Int64, strict=False).eq_missing(pl.col('g_d'))",
            f"pl.col({name!r}) > pl.col('g_d'), pl.col({name!r}) <= pl.col('g_d') + 2",
        ]
    )
    some = "r.filter(pl.col('rid') % 40 == 3)"
    sides = [
        "d.select(pl.col('g').alias('g_d'), 'z')",
        f"{some}.select(pl.col('g').alias('g_d'), pl.col('v').alias('z'))",
    ]
    side = c.pick(sides)
    if {"g_d", "z"} & set(c.schema):
        raise NothingToTakeError
    how = c.pick(["inner", "inner", "left", "right", "full"])
    how = f", how={how!r}" if how != "inner" else ""
    return Step(f"q = q.join_where({side}, {condition}{how})", ordered=False)


def asof_step(c: Chance) -> Step:
    """Find the nearest row of a side that is sorted by the same key, mostly."""
    require_order(c)
    name = c.column("integer")
    by, order = "", "'on'"
    if "s" in c.schema and str(c.schema["s"]) == "String" and c.chance(0.4):
        by, order = ", by='s'", c.pick(["'on'", "'s', 'on'"])
    key = c.pick(["pl.col('rid')", "(pl.col('rid') // 9)", "pl.col('k')"])
    side = f"r.with_columns({key}.alias('on')).sort({order}, maintain_order=True)"
    if c.chance(0.1) and not by:
        side = "r.with_columns((pl.col('rid') % 1900).alias('on'))"
    left = f"q.with_columns(pl.col({name!r}).cast(pl.Int64).alias('on'))"
    if {"on"} & set(c.schema):
        raise NothingToTakeError
    options = [
        f"strategy={c.pick(['backward', 'forward', 'nearest'])!r}",
        f"suffix='_{c.name()}'",
        f"coalesce={c.chance(0.7)}",
        f"allow_exact_matches={c.chance(0.6)}",
        f"check_sortedness={c.chance(0.7) and not by}",
    ]
    if c.chance(0.3):
        options.append(f"tolerance={c.dice.randint(0, 30)}")
    return Step(
        f"q = {left}.sort({order}, maintain_order=True).join_asof({side}, on='on'{by}, "
        f"{', '.join(options)})",
        ordered=True,
    )
