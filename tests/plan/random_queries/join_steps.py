"""Steps that join."""

from __future__ import annotations

from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.step import Step, require_order

_HOWS = ("inner", "left", "right", "full", "semi", "anti")


def join_step(c: Chance) -> Step:
    how = c.pick(_HOWS)
    other, keys = _partner(c)
    options = [f"how={how!r}", f"suffix='_{c.name()}'"]
    if c.chance(0.2):
        options.append("nulls_equal=True")
    if how in ("left", "right", "full", "inner") and c.chance(0.25):
        options.append(f"coalesce={c.pick(['True', 'False'])}")
    ordered = False
    if c.ordered and "group_by" not in other and how not in ("semi", "anti") and c.chance(0.25):
        options.append(f"maintain_order={c.pick(['left_right', 'right_left'])!r}")
        ordered = True
    elif c.ordered and how in ("semi", "anti") and c.chance(0.3):
        options.append("maintain_order='left'")
        ordered = True
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


def cross_step(c: Chance) -> Step:
    side = c.pick(["d.head(3)", "e.filter(pl.col('g') < 4)", "d.select(pl.col('z').max())"])
    return Step(f"q = q.join({side}, how='cross', suffix='_{c.name()}')", ordered=False)


def join_where_step(c: Chance) -> Step:
    name = c.column("integer")
    condition = c.pick(
        [
            f"pl.col({name!r}) < pl.col('g_d')",
            f"pl.col({name!r}) == pl.col('g_d'), pl.col('z') > 0",
            f"pl.col({name!r}) > pl.col('g_d'), pl.col({name!r}) <= pl.col('g_d') + 2",
        ]
    )
    side = "d.select(pl.col('g').alias('g_d'), 'z')"
    if {"g_d", "z"} & set(c.schema):
        raise NothingToTakeError
    how = c.pick(["inner", "inner", "left", "full", "semi", "anti"])
    how = f", how={how!r}" if how != "inner" else ""
    return Step(f"q = q.join_where({side}, {condition}{how})", ordered=False)


def asof_step(c: Chance) -> Step:
    require_order(c)
    name = c.column("integer")
    strategy = c.pick(["backward", "forward", "nearest"])
    by = ", by='s'" if "s" in c.schema and str(c.schema["s"]) == "String" and c.chance(0.3) else ""
    side = "r.with_columns(pl.col('rid').alias('on'))"
    left = f"q.drop_nulls({name!r}).with_columns(pl.col({name!r}).cast(pl.Int64).alias('on'))"
    if {"on"} & set(c.schema):
        raise NothingToTakeError
    return Step(
        f"q = {left}.sort('on', maintain_order=True).join_asof({side}, on='on'{by}, "
        f"strategy={strategy!r}, suffix='_{c.name()}')",
        ordered=True,
    )
