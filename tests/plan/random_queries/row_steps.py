"""Steps that keep rows apart: filters, selections, explosions, unions."""

from __future__ import annotations

from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.columns import elementwise, predicate
from tests.plan.random_queries.step import Step, require_exact


def filter_step(c: Chance) -> Step:
    method = c.pick(["filter"] * 5 + ["remove"])
    return Step(f"q = q.{method}({predicate(c, depth=2)})", c.ordered)


def project_step(c: Chance) -> Step:
    names = c.columns("any", 2, 6)
    return Step(f"q = q.select({names!r})", c.ordered)


def select_step(c: Chance) -> Step:
    parts = [repr(name) for name in c.columns("any", 1, 4)]
    parts += [_named(c, elementwise(c)) for _ in range(c.dice.randint(1, 3))]
    c.dice.shuffle(parts)
    return Step(f"q = q.select({', '.join(parts)})", c.ordered)


def _named(c: Chance, text: str) -> str:
    if "field('*')" in text:
        return text
    return f"{text}.alias({c.name()!r})"


def add_step(c: Chance) -> Step:
    parts = [_named(c, elementwise(c)) for _ in range(c.dice.randint(1, 3))]
    return Step(f"q = q.with_columns({', '.join(parts)})", c.ordered)


def replace_column_step(c: Chance) -> Step:
    name = c.column("any")
    text = elementwise(c)
    if "field('*')" in text:
        raise NothingToTakeError
    return Step(f"q = q.with_columns({text}.alias({name!r}))", c.ordered)


def many_step(c: Chance) -> Step:
    """Expressions over many columns at once."""
    names = c.columns("number", 1, 3)
    options = [
        "select(pl.all().is_null())",
        f"with_columns(pl.col({names!r}) * 2)",
        "select(pl.all().name.suffix('_y'))",
        "with_columns(cs.integer().fill_null(-1))",
        f"select(pl.all(), z=pl.sum_horizontal({names!r}))",
        f"filter(pl.all_horizontal(pl.col({names!r}) > 2))",
        f"filter(pl.any_horizontal(pl.all().is_null()), pl.col({names[0]!r}) < 30)",
        f"select(pl.exclude({names!r}), {names[0]!r})",
        f"drop_nulls({names!r})",
        "select(cs.integer() % 7, cs.string())",
        f"with_columns(pl.col({names!r}).max().name.prefix('p_'))",
        "select(pl.all().count())",
        "select(pl.all().null_count())",
        f"select(pl.col({names!r}).sum().name.suffix('_s'), pl.len().alias('len_'))",
        f"match_to_schema(q.collect_schema()).select({names!r})",
    ]
    if c.ordered:
        options += ["select(pl.all().shift(1))", "with_columns(pl.all().first().name.suffix('_1'))"]
        options += ["select(pl.all().reverse())", "select(pl.all().drop_nulls().len())"]
    return Step(f"q = q.{c.pick(options)}", c.ordered)


_SHARED = ("id", "g", "k", "u", "f", "h", "b", "s", "txt", "day", "at")


def several_files_step(c: Chance) -> Step:
    names = list(dict.fromkeys(c.pick(_SHARED) for _ in range(c.dice.randint(2, 5))))
    sources = [c.pick("tcjm") for _ in range(c.dice.randint(2, 3))]
    frames = ", ".join(f"{source}.select({names!r})" for source in sources)
    return Step(f"q = pl.concat([{frames}])", ordered=True)


def explode_step(c: Chance) -> Step:
    name = c.column("list", "array")
    options = c.pick(["", ", empty_as_null=True", ", keep_nulls=False"])
    return Step(f"q = q.explode({name!r}{options})", c.ordered)


def unnest_step(c: Chance) -> Step:
    return Step(f"q = q.unnest({c.column('struct')!r}, separator='_{c.name()}_')", c.ordered)


def unpivot_step(c: Chance) -> Step:
    values = c.columns("number", 1, 3)
    index = [name for name in c.columns("flat", 1, 4) if name not in values]
    return Step(f"q = q.unpivot({values!r}, index={index or None!r})", ordered=False)


def union_step(c: Chance) -> Step:
    condition = predicate(c)
    text = c.pick(
        [
            f"pl.concat([q, q.filter({condition})])",
            "pl.concat([q, q])",
            f"pl.concat([q.filter({condition}), q.filter(~{condition}), q.head(0)])",
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


def nulls_step(c: Chance) -> Step:
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
        require_exact(c)
    if text == "interpolate()":
        numbers = f"select({c.columns('integer', 1, 2)!r}).cast(pl.Int32, strict=False)"
        text = f"{numbers}.interpolate().cast(pl.Float32)"
    return Step(f"q = q.{text}", c.ordered)


def strict_step(c: Chance) -> Step:
    """Something that fails for some rows, mostly."""
    number, text = c.column("number"), c.column("any")
    expr = c.pick(
        [
            f"pl.col({number!r}).cast(pl.Int8)",
            f"pl.col({number!r}).cast(pl.UInt64)",
            f"pl.col({text!r}).cast(pl.Int64)",
            f"pl.col({text!r}).cast(pl.Date)",
        ]
    )
    return Step(f"q = q.with_columns({expr}.alias({c.name()!r}))", c.ordered)


def cache_step(c: Chance) -> Step:
    return Step(f"q = q.{c.pick(['cache()', 'lazy()', 'set_sorted([])'])}", c.ordered)
