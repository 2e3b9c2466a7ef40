"""Steps that need all rows, most of them in order: windows, sorts, slices."""

from __future__ import annotations

from tests.plan.random_queries.chance import Chance, NothingToTakeError
from tests.plan.random_queries.columns import elementwise, positional, predicate, whole
from tests.plan.random_queries.step import Step, put_in_order, require_exact, require_order


def only_step(c: Chance) -> Step:
    """Select one expression that changes the number of rows."""
    require_order(c)
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


def with_whole_step(c: Chance) -> Step:
    parts = ", ".join(whole(c) for _ in range(c.dice.randint(1, 3)))
    method = c.pick(["with_columns", "with_columns", "select"])
    return Step(f"q = q.{method}({parts})", c.ordered)


def with_positions_step(c: Chance) -> Step:
    require_order(c)
    parts = ", ".join(positional(c) for _ in range(c.dice.randint(1, 3)))
    method = c.pick(["with_columns", "with_columns", "select"])
    return Step(f"q = q.{method}({parts})", ordered=True)


def filter_on_whole_step(c: Chance) -> Step:
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


def exploding_window_step(c: Chance) -> Step:
    require_order(c)
    require_exact(c)
    group = c.column("flat")
    text = c.pick(["pl.all().head(2)", "pl.all().reverse()", "pl.all().tail(1)"])
    window = f"{text}.over({group!r}, mapping_strategy='explode')"
    return Step(f"q = q.select({window})", ordered=False)


def sort_step(c: Chance) -> Step:
    names = c.columns("flat", 1, 3)
    down = [c.chance(0.4) for _ in names]
    last = [c.chance(0.4) for _ in names]
    options = f"descending={down}, nulls_last={last}, maintain_order={c.ordered}"
    return Step(f"q = q.sort({names!r}, {options})", c.ordered)


def sort_by_expression_step(c: Chance) -> Step:
    return Step(f"q = q.sort({elementwise(c)}, maintain_order=True)", c.ordered)


def top_step(c: Chance) -> Step:
    require_exact(c)
    method = c.pick(["top_k", "bottom_k"])
    return Step(f"q = q.{method}({c.dice.randint(1, 40)}, by=pl.all())", ordered=False)


def slice_step(c: Chance) -> Step:
    require_order(c)
    count = c.dice.choice([0, 1, 7, 50, 900, 2500])
    offset = c.dice.choice([0, 3, 400, 1500, -20, -1200])
    text = c.pick(
        [f"head({count})", f"tail({count})", f"slice({offset}, {count})", f"slice({offset})",
         f"limit({count})", "reverse()", "gather_every(5, 1)", "shift(2)"]
    )  # fmt: skip
    return Step(f"q = q.{text}", ordered=True)


def sorted_head_step(c: Chance) -> Step:
    require_order(c)
    first, second = sort_step(c), slice_step(c)
    return Step(first.text + second.text.removeprefix("q = q"), ordered=True)


def row_index_step(c: Chance) -> Step:
    require_order(c)
    return Step(f"q = q.with_row_index({c.name('row')!r}, offset=5)", ordered=True)


def beside_step(c: Chance) -> Step:
    require_order(c)
    other = c.pick(["r", "d", "e.head(5)", "q", "r.select(pl.col('v').sum())"])
    prefix = c.name("z")
    return Step(
        f"q = pl.concat([q, {other}.select(pl.all().name.prefix({prefix + '_'!r}))], "
        "how='horizontal')",
        ordered=True,
    )


def merge_step(c: Chance) -> Step:
    names = c.columns("ordered", 1, 2)
    if {str(c.schema[name]) for name in names} & {"Null"}:
        raise NothingToTakeError
    ordered = c.ordered
    options = ", maintain_order=True" if ordered else ""
    left, right = (
        f"{side}.sort({names!r}{options})" for side in ("q", f"q.filter({predicate(c)})")
    )
    return Step(f"q = {left}.merge_sorted({right}, {names!r}{options})", ordered)


def order_step(c: Chance) -> Step:
    return put_in_order(c)
