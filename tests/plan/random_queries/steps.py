"""Operators of random queries: each returns Python text that makes ``q`` from ``q``.

A step that raises `NothingToTakeError` does not fit the frame as it is. Steps say whether Polars
still promises the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.plan.random_queries import sql
from tests.plan.random_queries.columns import (
    LOOSE,
    Chance,
    NothingToTakeError,
    aggregate,
    elementwise,
    key,
    positional,
    predicate,
    whole,
)

__all__ = ["STEPS", "Step", "put_in_order"]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, and whether the rows that it gives are in a promised order."""

    text: str
    ordered: bool


Maker = Callable[[Chance], Step]


def put_in_order(c: Chance) -> Step:
    """Sort by every column: rows that stay ties are equal."""
    inexact = [name for name in c.schema if name.startswith(LOOSE)]
    drop = f".drop({inexact!r})" if inexact else ""
    if len(inexact) == len(c.schema):
        raise NothingToTakeError
    return Step(f"q = q{drop}.sort(pl.all(), maintain_order=True)", ordered=True)


def _require_order(c: Chance) -> None:
    if not c.ordered:
        raise NothingToTakeError


def _exact(c: Chance) -> None:
    if any(name.startswith(LOOSE) for name in c.schema):
        raise NothingToTakeError


def _filter(c: Chance) -> Step:
    method = c.pick(["filter"] * 5 + ["remove"])
    return Step(f"q = q.{method}({predicate(c, depth=2)})", c.ordered)


def _project(c: Chance) -> Step:
    names = c.columns("any", 2, 6)
    return Step(f"q = q.select({names!r})", c.ordered)


def _select(c: Chance) -> Step:
    parts = [repr(name) for name in c.columns("any", 1, 4)]
    parts += [_named(c, elementwise(c)) for _ in range(c.dice.randint(1, 3))]
    c.dice.shuffle(parts)
    return Step(f"q = q.select({', '.join(parts)})", c.ordered)


def _named(c: Chance, text: str) -> str:
    if "field('*')" in text:
        return text
    return f"{text}.alias({c.name()!r})"


def _add(c: Chance) -> Step:
    parts = [_named(c, elementwise(c)) for _ in range(c.dice.randint(1, 3))]
    return Step(f"q = q.with_columns({', '.join(parts)})", c.ordered)


def _replace_column(c: Chance) -> Step:
    name = c.column("any")
    text = elementwise(c)
    if "field('*')" in text:
        raise NothingToTakeError
    return Step(f"q = q.with_columns({text}.alias({name!r}))", c.ordered)


def _only(c: Chance) -> Step:
    """Select one expression that changes the number of rows."""
    _require_order(c)
    name = f"pl.col({c.column('any')!r})"
    number = f"pl.col({c.column('number')!r})"
    text = c.pick(
        [
            f"{name}.drop_nulls()",
            f"{name}.unique(maintain_order=True)",
            f"{name}.head(7)",
            f"{name}.tail(7)",
            f"{name}.slice(5, 900)",
            f"{name}.rle()",
            f"{name}.filter({predicate(c)})",
            f"{name}.gather_every(7, 2)",
            f"{name}.reverse()",
            f"{name}.implode()",
            f"{name}.mode().sort()",
            f"{number}.top_k(5).sort()",
            f"{name}.append({name})",
            f"{name}.value_counts(sort=True).struct.field('count')",
            f"{number}.arg_sort().head(3)",
            f"{name}.extend_constant(None, 2)",
            f"{number}.sort().search_sorted(3)",
            f"{name}.unique_counts()",
            f"{name}.arg_unique()",
        ]
    )
    return Step(f"q = q.select(({text}).alias({c.name()!r}))", ordered=True)


def _with_whole(c: Chance) -> Step:
    parts = ", ".join(whole(c) for _ in range(c.dice.randint(1, 3)))
    method = c.pick(["with_columns", "with_columns", "select"])
    return Step(f"q = q.{method}({parts})", c.ordered)


def _with_positions(c: Chance) -> Step:
    _require_order(c)
    parts = ", ".join(positional(c) for _ in range(c.dice.randint(1, 3)))
    method = c.pick(["with_columns", "with_columns", "select"])
    return Step(f"q = q.{method}({parts})", ordered=True)


def _filter_on_whole(c: Chance) -> Step:
    name, group = f"pl.col({c.column('number')!r})", f"pl.col({c.column('flat')!r})"
    conditions = [
        f"{name} > {name}.median()",
        f"{name} == {name}.max().over({group})",
        f"pl.len().over({group}) > 40",
        f"{name}.is_unique()",
        f"{name}.is_in({name}.unique().implode())",
    ]
    if c.ordered:
        conditions += [
            f"{name} > {name}.shift(1)",
            f"{name}.is_first_distinct()",
            f"{name}.cum_count().over({group}) <= 2",
            f"pl.int_range(pl.len()).over({group}) == 0",
            f"{name}.rank('ordinal') < 50",
        ]
    return Step(f"q = q.filter({c.pick(conditions)})", c.ordered)


def _exploding_window(c: Chance) -> Step:
    _require_order(c)
    _exact(c)
    group = c.column("flat")
    text = c.pick(["pl.all().head(2)", "pl.all().reverse()", "pl.all().tail(1)"])
    window = f"{text}.over({group!r}, mapping_strategy='explode')"
    return Step(f"q = q.select({window})", ordered=False)


def _reduce(c: Chance) -> Step:
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 4)))
    return Step(f"q = q.select({parts})", ordered=True)


def _reduce_all(c: Chance) -> Step:
    method = c.pick(["max()", "min()", "count()", "null_count()", "sum()", "quantile(0.5)"])
    names = c.columns("number", 1, 4)
    if c.ordered and c.chance(0.4):
        method = c.pick(["first()", "last()"])
    return Step(f"q = q.select({names!r}).{method}", ordered=True)


def _group(c: Chance) -> Step:
    keys = [key(c) for _ in range(c.dice.choice([1, 1, 1, 2, 2, 3]))]
    return _grouped(c, ", ".join(dict.fromkeys(keys)))


def _odd_group(c: Chance) -> Step:
    keys = c.pick(
        [
            "[]",
            "pl.lit(1)",
            "pl.lit('a').alias('l'), " + key(c),
            "cs.by_dtype(pl.Object)",
            "cs.by_dtype(pl.Int8, pl.Categorical)",
            "pl.col('^zz.*$')",
            "pl.lit(None).alias('nn')",
            f"pl.struct({c.columns('flat', 1, 2)!r}).alias('sk')",
            key(c, "list") if c.of("list") else "[]",
            key(c, "struct") if c.of("struct") else "[]",
            f"{elementwise(c)}.alias({c.name('key')!r})",
            f"pl.col({c.column('number')!r}).rank('dense').alias({c.name('key')!r})",
        ]
    )
    return _grouped(c, keys)


def _grouped(c: Chance, keys: str) -> Step:
    keep = c.ordered and c.chance(0.25)
    head = f"q.group_by({keys}{', maintain_order=True' if keep else ''})"
    if c.chance(0.12):
        total = f"pl.col({c.column('number')!r}).sum() > 10"
        head += f".having({c.pick(['pl.len() > 2', 'pl.len() > 40', total])})"
    plain = c.chance(0.5)
    parts = [
        aggregate(c, rows=False if plain else None)
        for _ in range(c.dice.choice([0, 1, 1, 2, 2, 3, 4]))
    ]
    text = f"{head}.agg({', '.join(parts)})"
    if ".having" not in head and c.chance(0.15):
        shortcuts = ["len()", "count()", "n_unique()"]
        shortcuts += ["first()", "last()", "head(2)", "tail(1)", "all()"] if c.ordered else []
        text = f"{head}.{c.pick(shortcuts)}"
        _exact(c)
    return Step(f"q = {text}", keep)


def _unique(c: Chance) -> Step:
    if c.chance(0.4):
        _exact(c)
        keep = c.pick(["any", "none"])
        order = c.ordered and c.chance(0.3)
        return Step(f"q = q.unique(keep={keep!r}, maintain_order={order})", order)
    subset = c.columns("flat", 1, 3)
    keep = c.pick(["first", "last", "none"])
    if keep != "none":
        _require_order(c)
    order = c.ordered and c.chance(0.5)
    return Step(f"q = q.unique({subset!r}, keep={keep!r}, maintain_order={order})", order)


def _sort(c: Chance) -> Step:
    names = c.columns("flat", 1, 3)
    down = [c.chance(0.4) for _ in names]
    last = [c.chance(0.4) for _ in names]
    options = f"descending={down}, nulls_last={last}, maintain_order={c.ordered}"
    return Step(f"q = q.sort({names!r}, {options})", c.ordered)


def _sort_by_expression(c: Chance) -> Step:
    return Step(f"q = q.sort({elementwise(c)}, maintain_order=True)", c.ordered)


def _top(c: Chance) -> Step:
    _exact(c)
    method = c.pick(["top_k", "bottom_k"])
    return Step(f"q = q.{method}({c.dice.randint(1, 40)}, by=pl.all())", ordered=False)


def _slice(c: Chance) -> Step:
    _require_order(c)
    count = c.dice.choice([0, 1, 7, 50, 900, 2500])
    offset = c.dice.choice([0, 3, 400, 1500, -20, -1200])
    text = c.pick(
        [f"head({count})", f"tail({count})", f"slice({offset}, {count})", f"slice({offset})",
         f"limit({count})", "reverse()", "gather_every(5, 1)", "shift(2)"]
    )  # fmt: skip
    return Step(f"q = q.{text}", ordered=True)


def _sorted_head(c: Chance) -> Step:
    _require_order(c)
    first, second = _sort(c), _slice(c)
    return Step(first.text + second.text.removeprefix("q = q"), ordered=True)


def _row_index(c: Chance) -> Step:
    _require_order(c)
    return Step(f"q = q.with_row_index({c.name('row')!r}, offset=5)", ordered=True)


def _explode(c: Chance) -> Step:
    name = c.column("list", "array")
    options = c.pick(["", ", empty_as_null=True", ", keep_nulls=False"])
    return Step(f"q = q.explode({name!r}{options})", c.ordered)


def _unnest(c: Chance) -> Step:
    return Step(f"q = q.unnest({c.column('struct')!r}, separator='_{c.name()}_')", c.ordered)


def _unpivot(c: Chance) -> Step:
    values = c.columns("number", 1, 3)
    index = [name for name in c.columns("flat", 1, 4) if name not in values]
    return Step(f"q = q.unpivot({values!r}, index={index or None!r})", ordered=False)


def _pivot(c: Chance) -> Step:
    on = c.column("category", "boolean", "integer")
    values = c.column("number")
    index = c.column("flat")
    if len({on, values, index}) < 3:
        raise NothingToTakeError
    columns = {"category": ["lo", "hi"], "boolean": [True, False]}
    wanted = next((drawn for kind, drawn in columns.items() if on in c.of(kind)), [1, 2, 3])
    wanted = ["x", "y"] if on == "en" else wanted
    function = c.pick(["sum", "min", "max", "len", "item"] + (["first"] if c.ordered else []))
    order = c.ordered and c.chance(0.4)
    return Step(
        f"q = q.pivot({on!r}, on_columns={wanted!r}, index={index!r}, values={values!r}, "
        f"aggregate_function={function!r}, maintain_order={order})",
        order,
    )


def _union(c: Chance) -> Step:
    kept = predicate(c)
    text = c.pick(
        [
            f"pl.concat([q, q.filter({kept})])",
            "pl.concat([q, q])",
            f"pl.concat([q.filter({kept}), q.filter(~{kept}), q.head(0)])",
            "pl.concat([q, r], how='diagonal_relaxed')",
            "pl.concat([d, q], how='diagonal_relaxed')",
            f"pl.concat([q, q.drop({c.column('any')!r})], how='diagonal')",
            f"pl.concat([q.select(pl.col({c.column('number')!r}).alias('u')), "
            f"q.select(pl.col({c.column('number')!r}).alias('u'))], how='vertical_relaxed')",
        ]
    )
    if ".head(0)" in text:
        return Step(f"q = {text}", c.ordered)
    return Step(f"q = {text}", c.ordered)


def _beside(c: Chance) -> Step:
    _require_order(c)
    other = c.pick(["r", "d", "e.head(5)", "q", "r.select(pl.col('v').sum())"])
    prefix = c.name("z")
    return Step(
        f"q = pl.concat([q, {other}.select(pl.all().name.prefix({prefix + '_'!r}))], "
        "how='horizontal')",
        ordered=True,
    )


def _merge(c: Chance) -> Step:
    name = c.column("integer")
    return Step(
        f"q = q.sort({name!r}).merge_sorted(q.filter({predicate(c)}).sort({name!r}), {name!r})",
        ordered=False,
    )


def _nulls(c: Chance) -> Step:
    name = c.column("any")
    number = c.column("number")
    texts = [
        f"drop_nulls({name!r})",
        "drop_nulls()",
        "fill_null(0)",
        f"with_columns(pl.col({number!r}).fill_null(strategy='zero'))",
        "fill_nan(None)",
        f"with_columns(pl.col({number!r}).fill_null(pl.col({number!r}).max()))",
        f"drop({name!r})",
        f"rename({{{name!r}: {c.name()!r}}})",
        f"cast({{{number!r}: pl.Float64}})",
    ]
    if c.ordered:
        texts += [f"with_columns(pl.col({name!r}).fill_null(strategy='forward'))", "interpolate()"]
    text = c.pick(texts)
    if text in ("interpolate()", "fill_nan(None)"):
        _exact(c)
    if text == "interpolate()":
        numbers = f"select({c.columns('integer', 1, 2)!r}).cast(pl.Int32, strict=False)"
        text = f"{numbers}.interpolate().cast(pl.Float32)"
    return Step(f"q = q.{text}", c.ordered)


def _strict(c: Chance) -> Step:
    """Something that fails for some rows, mostly."""
    number, text = c.column("number"), c.column("any")
    made = c.pick(
        [
            f"pl.col({number!r}).cast(pl.Int8)",
            f"pl.col({number!r}).cast(pl.UInt64)",
            f"pl.col({text!r}).cast(pl.Int64)",
            f"pl.col({text!r}).cast(pl.Date)",
        ]
    )
    return Step(f"q = q.with_columns({made}.alias({c.name()!r}))", c.ordered)


_HOWS = ("inner", "left", "right", "full", "semi", "anti")


def _join(c: Chance) -> Step:
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
    found = [name for name in shared if name in c.schema]
    if found and c.chance(0.75):
        name = c.pick(found)
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


def _own_groups(c: Chance) -> Step:
    name, value = c.column("flat"), c.column("number")
    groups = f"q.group_by({name!r}).agg(pl.col({value!r}).max().alias({c.name()!r}))"
    how = c.pick(["inner", "left", "semi", "anti"])
    return Step(f"q = q.join({groups}, on={name!r}, how={how!r})", ordered=False)


def _cross(c: Chance) -> Step:
    side = c.pick(["d.head(3)", "e.filter(pl.col('g') < 4)", "d.select(pl.col('z').max())"])
    return Step(f"q = q.join({side}, how='cross', suffix='_{c.name()}')", ordered=False)


def _join_where(c: Chance) -> Step:
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


def _asof(c: Chance) -> Step:
    _require_order(c)
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


def _rolling(c: Chance) -> Step:
    _require_order(c)
    name = c.column("date", "moment")
    group = f", group_by={c.column('flat')!r}" if c.chance(0.4) else ""
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 2)))
    period = c.pick(["3d", "12d"])
    text = f"q.drop_nulls({name!r}).sort({name!r}, maintain_order=True)"
    return Step(
        f"q = {text}.rolling({name!r}, period={period!r}{group}).agg({parts})", ordered=not group
    )


def _dynamic(c: Chance) -> Step:
    _require_order(c)
    name = c.column("date", "moment")
    group = f", group_by={c.column('flat')!r}" if c.chance(0.4) else ""
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 2)))
    options = c.pick(["every='3d'", "every='1w', period='9d'", "every='5d', closed='right'"])
    text = f"q.drop_nulls({name!r}).sort({name!r}, maintain_order=True)"
    return Step(
        f"q = {text}.group_by_dynamic({name!r}, {options}{group}).agg({parts})", ordered=not group
    )


def _cache(c: Chance) -> Step:
    return Step(f"q = q.{c.pick(['cache()', 'lazy()', 'set_sorted([])'])}", c.ordered)


def _sql(c: Chance) -> Step:
    text, ordered = sql.statement(c)
    return Step(f"q = pl.SQLContext(q=q, r=r, d=d).execute({text!r})", ordered)


def _order(c: Chance) -> Step:
    return put_in_order(c)


STEPS: dict[Maker, int] = {
    _filter: 9,
    _project: 5,
    _select: 5,
    _add: 6,
    _replace_column: 2,
    _only: 2,
    _with_whole: 6,
    _with_positions: 6,
    _filter_on_whole: 4,
    _exploding_window: 1,
    _reduce: 5,
    _reduce_all: 2,
    _group: 14,
    _odd_group: 4,
    _unique: 5,
    _sort: 4,
    _sort_by_expression: 1,
    _top: 2,
    _slice: 5,
    _sorted_head: 3,
    _row_index: 2,
    _explode: 4,
    _unnest: 2,
    _unpivot: 3,
    _pivot: 3,
    _union: 4,
    _beside: 2,
    _merge: 1,
    _nulls: 5,
    _strict: 1,
    _join: 12,
    _own_groups: 3,
    _cross: 1,
    _join_where: 2,
    _asof: 1,
    _rolling: 2,
    _dynamic: 2,
    _cache: 1,
    _sql: 10,
    _order: 3,
}
