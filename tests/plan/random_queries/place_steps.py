"""Steps of expressions that depend on the places of rows, nested in each other."""

from __future__ import annotations

from tests.plan.random_queries.chance import LOOSE, Chance
from tests.plan.random_queries.columns import predicate
from tests.plan.random_queries.step import Step, require_exact, require_order

_OF_ANY = (
    "{o}.shift({n})",
    "{o}.shift({n}, fill_value=pl.lit(None))",
    "{o}.forward_fill()",
    "{o}.backward_fill({k})",
    "{o}.fill_null(strategy='backward')",
    "{o}.cum_count(reverse=True)",
    "{o}.is_first_distinct()",
    "{o}.is_last_distinct()",
    "{o}.is_duplicated()",
    "{o}.rle_id()",
    "{o}.first().alias('o')",
    "{o}.is_null().cum_sum()",
    "pl.int_range(pl.len())",
    "pl.struct({o}.shift(1).alias('o'), {a}.max().alias('a'))",
    "pl.when({p}).then({o}.shift({n})).otherwise({o})",
)
_OF_ORDERED = (
    "{c}.cum_max()",
    "{c}.cum_min(reverse=True)",
    "({c} == {c}.max())",
    "{c}.eq_missing({c}.shift(1))",
)
_OF_NUMBERS = (
    "({a} - {a}.min()).cum_sum()",
    "({a}.cum_sum().diff({n}))",
    "{a}.cum_sum(reverse=True)",
    "{a}.diff({n}).abs().max()",
    "({a} > {a}.mean()).cum_sum()",
    "({a}.shift({n}) - {b}.max())",
    "{a}.filter({p}).max() - {a}",
    "{a}.filter({a} < {a}.max()).max()",
    "{a}.rolling_min({k})",
    "{a}.rolling_max({k}, center=True, min_samples=1)",
    "{a}.rolling_median({k})",
    "{a}.fill_null(strategy='min').shift(1)",
    "{a}.sum().over({g}) - {a}.min()",
    "{a}.shift(1).max().over({g})",
    "{a}.clip({a}.min(), {b}.shift(1))",
    "{a}.is_between({a}.min(), {a}.max(), closed='none')",
    "({a} % 3).cum_prod()",
    "{a}.peak_min()",
    "{a}.reverse()",
    "{a}.top_k(3).min() + {a}",
)
_OF_SPANS = (
    "{t}.diff()",
    "{t}.cum_max()",
    "({t} - {t}.min())",
    "{t}.shift(1, fill_value={t}.max())",
)


def places_step(c: Chance) -> Step:
    """Add or select expressions of places."""
    require_order(c)
    parts = [_expression(c) for _ in range(c.dice.randint(1, 3))]
    if c.chance(0.5):
        return Step(f"q = q.with_columns({', '.join(parts)})", ordered=True)
    names = [repr(name) for name in c.columns("any", 1, 3)]
    return Step(f"q = q.select({', '.join([*names, *parts])})", ordered=True)


def filter_on_places_step(c: Chance) -> Step:
    """Keep rows by expressions of places."""
    require_order(c)
    number, other = f"pl.col({c.column('number')!r})", f"pl.col({c.column('any')!r})"
    condition = c.pick(
        [
            f"{number} - {number}.shift(1) > {number}.min()",
            f"{other}.is_null().cum_sum() % 3 == 1",
            "pl.int_range(pl.len()) % 4 != 2",
            f"{number}.cum_max() == {number}",
            f"{other}.is_first_distinct() | ({number} == {number}.max())",
        ]
    )
    return Step(f"q = q.filter({condition})", ordered=True)


def reduced_places_step(c: Chance) -> Step:
    """Select the same rows, by number, of several columns; or the largest values."""
    require_order(c)
    require_exact(c)
    names = c.columns("any", 1, 3)
    start, count = c.dice.choice([0, 3, -40, 700]), c.dice.choice([0, 5, 900])
    number = f"pl.col({c.column('number')!r})"
    text = c.pick(
        [
            f"select(pl.col({names!r}).gather_every(3, 2))",
            f"select(pl.col({names!r}).reverse())",
            f"select(pl.col({names!r}).slice({start}, {count}))",
            f"select({number}.top_k(4).sort(), m={number}.bottom_k(4).sort())",
            f"select({number}.top_k(4).sum() - {number}.bottom_k(2).max())",
            "with_row_index('row', 7)",
            "sum()",
            "max()",
        ]
    )
    return Step(f"q = q.{text}", ordered=True)


def _expression(c: Chance) -> str:
    groups: list[tuple[str, tuple[str, ...]]] = [("any", _OF_ANY)] * 2 + [("ordered", _OF_ORDERED)]
    groups += [("number", _OF_NUMBERS)] * 3 if c.of("number") else []
    groups += [("temporal", _OF_SPANS)] if c.of("temporal") else []
    _, templates = c.dice.choice(groups)
    names = {"a": "number", "b": "number", "c": "ordered", "g": "flat", "o": "any", "t": "temporal"}
    columns = {
        letter: f"pl.col({c.column(kind if c.of(kind) else 'any')!r})"
        for letter, kind in names.items()
    }
    text = c.pick(templates).format(
        **columns, n=c.dice.choice([1, 2, -1, 60]), k=c.dice.randint(1, 6), p=predicate(c)
    )
    loose = "mean(" in text or "median(" in text
    return f"({text}).alias({c.name(LOOSE if loose and '> ' not in text else 'w')!r})"
