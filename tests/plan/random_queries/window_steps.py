"""Steps that sort by keys of every kind, and compute windows in every place of a query."""

from __future__ import annotations

from tests.plan.random_queries.chance import LOOSE, Chance
from tests.plan.random_queries.columns import key
from tests.plan.random_queries.step import Step, require_exact

_OF_GROUPS = (
    "{a}.sum()",
    "{a}.max()",
    "{a}.count()",
    "{a}.n_unique()",
    "{a}.rank('dense', descending=True)",
    "{a}.rank('min')",
    "{a}.is_unique()",
    "({a} - {a}.min())",
    "({a} > {b}.max())",
    "{a}.filter({b} > 3).sum()",
    "{a}.sort(nulls_last=True).first()",
    "pl.len()",
    "pl.sum_horizontal({a}, {b}).max()",
    "pl.sum_horizontal(cs.integer() % 5).sum()",
    "pl.struct({a}, {b}).n_unique()",
    "pl.lit(2)",
)
_OF_ORDER = (
    "{a}.cum_sum()",
    "{a}.shift(1)",
    "{a}.diff(2)",
    "{a}.first()",
    "{a}.last()",
    "{o}.first()",
    "{o}.shift(-1)",
    "{a}.rank('ordinal')",
    "{a}.reverse()",
    "{a}.fill_null(strategy='forward')",
    "{a}.rolling_max(3)",
    "{a}.is_first_distinct()",
    "{a}.is_last_distinct()",
    "{a}.rle_id()",
    "{a}.sort_by({b}, maintain_order=True)",
    "{a}.gather([0])",
    "{a}.head(1)",
    "{a}.arg_max()",
    "{o}.drop_nulls().first()",
    "pl.int_range(pl.len())",
    "pl.coalesce(cs.integer()).last()",
    "pl.struct({o}, {a}).first()",
)


def sort_by_keys_step(c: Chance) -> Step:
    """Sort by columns of any kind and by expressions; rows with equal keys keep their order."""
    keys = [_sort_key(c) for _ in range(c.dice.randint(1, 3))]
    down = [c.chance(0.4) for _ in keys]
    last = [c.chance(0.4) for _ in keys]
    options = f"descending={down}, nulls_last={last}, maintain_order=True"
    return Step(f"q = q.sort({', '.join(keys)}, {options})", c.ordered)


def _sort_key(c: Chance) -> str:
    if c.chance(0.6):
        return f"pl.col({c.column('any')!r})"
    number, other = f"pl.col({c.column('number')!r})", f"pl.col({c.column('number')!r})"
    name = f"pl.col({c.column('any')!r})"
    return c.pick(
        [
            f"{number} % 3",
            f"-{number}",
            f"({number} > {other})",
            f"pl.max_horizontal({number}, {other})",
            "pl.sum_horizontal(cs.integer() % 4)",
            f"pl.struct({number}, {name})",
            f"pl.concat_list({number}, {other})",
            f"{name}.is_null()",
            f"{number}.alias({c.column('any')!r})",
            f"{number}.cast(pl.Decimal(20, 2), strict=False)",
            f"{number}.cast(pl.Int128, strict=False)",
            f"{number}.rank('dense')",
        ]
    )


def windows_step(c: Chance) -> Step:
    """Add or select windows, mostly with a key that they share."""
    shared = key(c, "any" if c.chance(0.2) else "flat")
    if c.chance(0.15):
        shared = c.pick(["pl.lit(1)", f"pl.col({c.column('any')!r}).is_null()"])
    parts = [_window(c, shared) for _ in range(c.dice.randint(1, 3))]
    if c.chance(0.3):
        parts.append(f"pl.lit(7).alias({c.name()!r})")
    if c.chance(0.2):
        suffix = c.name("_w")
        parts.append(f"cs.integer().max().over({shared}).name.suffix({suffix!r})")
    if c.chance(0.4):
        return Step(f"q = q.with_columns({', '.join(parts)})", c.ordered)
    names = [repr(name) for name in c.columns("any", 1, 3)] if c.chance(0.8) else []
    return Step(f"q = q.select({', '.join([*names, *parts])})", c.ordered)


def filter_on_windows_step(c: Chance) -> Step:
    """Keep rows by windows; often the filter reads the keys too."""
    by = key(c)
    number = f"pl.col({c.column('number')!r})"
    conditions = [
        f"{number}.rank('min').over({by}) < {c.dice.randint(2, 90)}",
        f"({number} == {number}.max().over({by})) | {by}.is_null()",
        f"pl.len().over({by}) > {c.dice.randint(1, 300)}",
        f"pl.any_horizontal(cs.integer().max().over({by}) > 3)",
    ]
    if c.ordered:
        conditions.append(f"pl.int_range(pl.len()).over({by}) < {c.dice.randint(1, 40)}")
    chosen = [c.pick(conditions) for _ in range(c.dice.randint(1, 2))]
    return Step(f"q = q.filter({', '.join(chosen)})", c.ordered)


def sorted_windows_step(c: Chance) -> Step:
    """Sort, compute windows, sort again: the order of one step is the input of the next."""
    require_exact(c)
    window = _window(c, key(c), ordered=True)
    first = f"q = q.sort(pl.all(), maintain_order=True).with_columns({window})"
    last = c.pick([".sort({k}, maintain_order=True)", ".tail(300)", ".slice(-900, 400)", ""])
    name = f"pl.col({c.column('flat')!r})"
    return Step(first + last.format(k=name), ordered=True)


def _window(c: Chance, shared: str, *, ordered: bool | None = None) -> str:
    ordered = c.ordered if ordered is None else ordered
    templates = _OF_GROUPS + _OF_ORDER if ordered else _OF_GROUPS
    inner = c.pick(templates).format(
        a=f"pl.col({c.column('number')!r})",
        b=f"pl.col({c.column('number')!r})",
        o=f"pl.col({c.column('any')!r})",
    )
    keys = [shared] if c.chance(0.85) else []
    keys += [key(c)] if not keys or c.chance(0.25) else []
    options = ""
    if ordered and c.chance(0.3):
        names = c.columns("ordered", 1, 2)
        options += f", order_by={names!r}, descending={c.chance(0.5)}"
    if c.chance(0.1):
        options += ", mapping_strategy='join'"
    text = f"{inner}.over({', '.join(keys)}{options})"
    if c.chance(0.2):
        text = f"({text}).is_null()"
    loose = "mean(" in text
    return f"({text}).alias({c.name(LOOSE if loose else 'w')!r})"
