"""Steps that aggregate: groups, distinct rows, pivots, time windows."""

from __future__ import annotations

from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.columns import aggregate, elementwise, key
from tests.plan.random_queries.step import Step, require_exact, require_order


def reduce_step(c: Chance) -> Step:
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 4)))
    return Step(f"q = q.select({parts})", ordered=True)


def reduce_all_step(c: Chance) -> Step:
    method = c.pick(["max()", "min()", "count()", "null_count()", "sum()", "quantile(0.5)"])
    names = c.columns("number", 1, 4)
    if c.ordered and c.chance(0.4):
        method = c.pick(["first()", "last()"])
    return Step(f"q = q.select({names!r}).{method}", ordered=True)


def group_step(c: Chance) -> Step:
    keys = [key(c) for _ in range(c.dice.choice([1, 1, 1, 2, 2, 3]))]
    return _grouped(c, ", ".join(dict.fromkeys(keys)))


def odd_group_step(c: Chance) -> Step:
    keys = c.pick(
        [
            "[]",
            "pl.lit(1)",
            "pl.lit('a').alias('l'), " + key(c),
            "cs.by_dtype(pl.Int16)",
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
    if c.chance(0.2):
        over_all = ["cs.integer().sum()", "pl.all().count()", "cs.string().max()"]
        over_all += ["pl.all().first()", "pl.all().drop_nulls().last()"] if c.ordered else []
        require_exact(c)
        parts = [c.pick(over_all), *parts[:1]]
    text = f"{head}.agg({', '.join(parts)})"
    if ".having" not in head and c.chance(0.15):
        shortcuts = ["len()", "count()", "n_unique()"]
        shortcuts += ["first()", "last()", "head(2)", "tail(1)", "all()"] if c.ordered else []
        text = f"{head}.{c.pick(shortcuts)}"
        require_exact(c)
    return Step(f"q = {text}", keep)


def unique_step(c: Chance) -> Step:
    if c.chance(0.4):
        require_exact(c)
        keep = c.pick(["any", "none"])
        order = c.ordered and c.chance(0.3)
        return Step(f"q = q.unique(keep={keep!r}, maintain_order={order})", order)
    subset = c.columns("any" if c.chance(0.2) else "flat", 1, 3)
    keep = c.pick(["first", "last", "none"])
    if keep != "none":
        require_order(c)
    order = c.ordered and c.chance(0.5)
    return Step(f"q = q.unique({subset!r}, keep={keep!r}, maintain_order={order})", order)


def pivot_step(c: Chance) -> Step:
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


def rolling_step(c: Chance) -> Step:
    require_order(c)
    name = c.column("date", "moment")
    group = f", group_by={c.column('flat')!r}" if c.chance(0.4) else ""
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 2)))
    period = c.pick(["3d", "12d"])
    text = f"q.drop_nulls({name!r}).sort({name!r}, maintain_order=True)"
    return Step(
        f"q = {text}.rolling({name!r}, period={period!r}{group}).agg({parts})", ordered=not group
    )


def dynamic_step(c: Chance) -> Step:
    require_order(c)
    name = c.column("date", "moment")
    group = f", group_by={c.column('flat')!r}" if c.chance(0.4) else ""
    parts = ", ".join(aggregate(c, scalar=True) for _ in range(c.dice.randint(1, 2)))
    options = c.pick(["every='3d'", "every='1w', period='9d'", "every='5d', closed='right'"])
    text = f"q.drop_nulls({name!r}).sort({name!r}, maintain_order=True)"
    return Step(
        f"q = {text}.group_by_dynamic({name!r}, {options}{group}).agg({parts})", ordered=not group
    )
