# ruff: noqa: S608 - the statements are drawn from a seed
"""SQL of random queries: statements over the tables ``q``, ``r`` and ``d``."""

from __future__ import annotations

from collections.abc import Callable

from tests.plan.random_queries.chance import LOOSE, Chance, NothingToTakeError
from tests.plan.random_queries.step import Step


def sql_step(c: Chance) -> Step:
    """Return a statement over ``q``."""
    text, ordered = c.dice.choice(_KINDS)(c)
    return Step(f"q = pl.SQLContext(q=q, r=r, d=d).execute({text!r})", ordered)


def _q(name: str) -> str:
    return f'"{name}"'


def _condition(c: Chance, table: str = "") -> str:
    options = []
    if c.of("number"):
        name = table + _q(c.column("number"))
        options += [f"{name} > {c.dice.randint(-9, 30)}", f"{name} BETWEEN 0 AND 20"]
    if c.of("integer"):
        options.append(f"{table}{_q(c.column('integer'))} IN (0, 1, 3, 5)")
    if c.of("text"):
        name = table + _q(c.column("text"))
        options += [f"{name} LIKE '%b%'", f"{name} = 'a'", f"{name} <> 'b'"]
    name = table + _q(c.column("any"))
    options += [f"{name} IS NULL", f"{name} IS NOT NULL"]
    if c.chance(0.3):
        return f"({c.pick(options)} {c.pick(['AND', 'OR'])} {c.pick(options)})"
    return c.pick(options)


def _value(c: Chance) -> str:
    number = _q(c.column("number"))
    options = [
        f"{number} + 1",
        f"COALESCE({number}, 0)",
        f"CASE WHEN {_condition(c)} THEN {number} ELSE 0 END",
        f"CASE WHEN {_condition(c)} THEN 'yes' WHEN {_condition(c)} THEN 'no' END",
        f"ABS({number})",
        f"CAST({number} AS DOUBLE)",
        f"{number} IS NULL",
        f"NULLIF({number}, 1)",
        "1",
    ]
    if c.of("text"):
        text = _q(c.column("text"))
        options += [f"UPPER({text})", f"LENGTH({text})", f"{text} || '!'", f"LEFT({text}, 1)"]
    return f"{c.pick(options)} AS {_q(c.name())}"


def _total(c: Chance) -> str:
    number = _q(c.column("number"))
    text, loose = c.dice.choice(
        [
            (f"SUM({number})", False),
            (f"MIN({number})", False),
            (f"MAX({number})", False),
            (f"COUNT({number})", False),
            ("COUNT(*)", False),
            (f"AVG({number})", True),
            (f"COUNT(DISTINCT {_q(c.column('flat'))})", False),
            (f"SUM(CASE WHEN {_condition(c)} THEN 1 ELSE 0 END)", False),
            (f"MEDIAN({number})", True),
            (f"STDDEV({number})", True),
            (f"MAX({number}) - MIN({number})", False),
            (f"SUM({number}) FILTER (WHERE {_condition(c)})", False),
        ]
    )
    return f"{text} AS {_q(c.name(LOOSE if loose else 'n'))}"


def _select(c: Chance) -> tuple[str, bool]:
    parts = [_q(name) for name in c.columns("any", 1, 4)] + [_value(c)]
    parts = ["*"] if c.chance(0.15) else parts
    distinct = "DISTINCT " if c.chance(0.2) else ""
    return f"SELECT {distinct}{', '.join(parts)} FROM q WHERE {_condition(c)}", (
        c.ordered and not distinct
    )


def _group(c: Chance) -> tuple[str, bool]:
    keys = ", ".join(_q(name) for name in c.columns("flat", 1, 2))
    totals = ", ".join(_total(c) for _ in range(c.dice.randint(1, 3)))
    where = f" WHERE {_condition(c)}" if c.chance(0.4) else ""
    having = f" HAVING {c.pick(['COUNT(*) > 3', 'COUNT(*) > 60'])}" if c.chance(0.3) else ""
    by = c.pick([keys, keys, "ALL"])
    return f"SELECT {keys}, {totals} FROM q{where} GROUP BY {by}{having}", False


def _reduce(c: Chance) -> tuple[str, bool]:
    totals = ", ".join(_total(c) for _ in range(c.dice.randint(1, 3)))
    where = f" WHERE {_condition(c)}" if c.chance(0.4) else ""
    return f"SELECT {totals} FROM q{where}", True


def _join(c: Chance) -> tuple[str, bool]:
    how = c.pick(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"])
    name, other, other_columns = "g", "d", ["z"]
    if "k" in c.schema and c.chance(0.6):
        name, other, other_columns = "k", "r", ["rid", "v"]
    if name not in c.schema:
        raise NothingToTakeError
    own_columns = ", ".join(f"q.{_q(column)}" for column in c.columns("any", 1, 3))
    filters = how in ("SEMI JOIN", "ANTI JOIN")
    columns = own_columns if filters else f"{own_columns}, {', '.join(other_columns)}"
    if set(other_columns) & set(c.schema):
        raise NothingToTakeError
    on = f"USING ({name})" if c.chance(0.3) else f"ON q.{name} = {other}.{name}"
    where = f" WHERE {_condition(c, 'q.')}" if c.chance(0.3) else ""
    return f"SELECT {columns} FROM q {how} {other} {on}{where}", False


def _common_table(c: Chance) -> tuple[str, bool]:
    group, number = c.column("flat"), c.column("number")
    size, total = c.name(), c.name()
    with_text = (
        f"WITH totals AS (SELECT {_q(group)}, COUNT(*) AS {size}, SUM({_q(number)}) AS {total} "
        f"FROM q GROUP BY {_q(group)})"
    )
    rest = c.pick(
        [
            f"SELECT * FROM totals WHERE {size} > 5",
            f"SELECT q.*, {size} FROM q JOIN totals ON q.{_q(group)} = totals.{_q(group)}",
            f"SELECT MAX({total}) AS {c.name()}, COUNT(*) AS {c.name()} FROM totals",
            f"SELECT q.* FROM q WHERE {_q(group)} IN (SELECT {_q(group)} FROM totals "
            f"WHERE {size} > 9)",
        ]
    )
    return f"{with_text} {rest}", False


def _window(c: Chance) -> tuple[str, bool]:
    part, number = _q(c.column("flat")), _q(c.column("number"))
    order = ", ".join(_q(name) for name in c.of("ordered"))
    text, loose = c.dice.choice(
        [
            (f"SUM({number}) OVER (PARTITION BY {part})", False),
            (f"COUNT(*) OVER (PARTITION BY {part})", False),
            (f"AVG({number}) OVER (PARTITION BY {part})", True),
            (f"MAX({number}) OVER ()", False),
            (f"RANK() OVER (PARTITION BY {part} ORDER BY {number})", False),
            (f"DENSE_RANK() OVER (ORDER BY {number} DESC)", False),
            (f"SUM({number}) OVER (PARTITION BY {part} ORDER BY {order})", False),
            (f"ROW_NUMBER() OVER (PARTITION BY {part} ORDER BY {order})", False),
            (f"LAG({number}) OVER (PARTITION BY {part} ORDER BY {order})", False),
            (f"LEAD({number}, 2) OVER (PARTITION BY {part} ORDER BY {order})", False),
            (f"FIRST_VALUE({number}) OVER (PARTITION BY {part} ORDER BY {order})", False),
        ]
    )
    name = c.name(LOOSE if loose else "w")
    if loose or c.chance(0.5):
        columns = ", ".join(_q(column) for column in c.columns("any", 1, 3))
        return f"SELECT {columns}, {text} AS {name} FROM q", c.ordered
    return f"SELECT *, {text} AS {name} FROM q QUALIFY {name} {c.pick(['<= 2', '> 1', '= 1'])}", (
        c.ordered
    )


def _subquery(c: Chance) -> tuple[str, bool]:
    columns = ", ".join(_q(name) for name in c.columns("any", 1, 3))
    number, group = _q(c.column("number")), _q(c.column("flat"))
    value = c.pick(["SELECT AVG(z) FROM d", "SELECT MAX(v) FROM r WHERE rid < 0", "SELECT 7"])
    no = c.pick(["", "NOT "])
    texts = {
        f"SELECT {columns} FROM q WHERE {number} > ({value})": c.ordered,
        f"SELECT {columns}, ({value}) AS {c.name()} FROM q": c.ordered,
        f"SELECT {group}, COUNT(*) AS {c.name()} FROM q GROUP BY {group} "
        f"HAVING COUNT(*) > ({value})": False,
        f"SELECT {columns} FROM q WHERE {number} {no}IN (SELECT z FROM d)": False,
    }
    if "k" in c.schema and not {"v", "rid"} & c.schema.keys():
        exists = f"SELECT {columns} FROM q WHERE {no}EXISTS (SELECT 1 FROM r WHERE r.k = q.k"
        texts |= {
            f"{exists})": False,
            f"{exists} AND r.v > q.{number})": False,
            f"SELECT {columns}, (SELECT MAX(v) FROM r WHERE r.k = q.k) AS {c.name()} FROM q": False,
        }
    return c.dice.choice(list(texts.items()))


def _sets(c: Chance) -> tuple[str, bool]:
    names = c.columns("flat", 1, 3)
    columns = ", ".join(map(_q, names))
    words = ["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]
    word = c.pick([*words, "UNION BY NAME", "UNION ALL BY NAME"])
    left = f"SELECT {columns} FROM q WHERE {_condition(c)}"
    right = f"SELECT {columns} FROM q WHERE {_condition(c)}"
    return f"{left} {word} {right}", False


def _unnest(c: Chance) -> tuple[str, bool]:
    name = c.column("list")
    columns = ", ".join(_q(column) for column in c.columns("flat", 1, 2))
    element = c.name()
    text = f"SELECT {columns}, UNNEST({_q(name)}) AS {element} FROM q"
    if c.chance(0.5):
        return f"SELECT {columns}, COUNT(*) AS {c.name()} FROM ({text}) GROUP BY {columns}", False
    if c.chance(0.5):
        return f"SELECT {columns} FROM ({text}) AS s", c.ordered
    return text, c.ordered


def _limit(c: Chance) -> tuple[str, bool]:
    columns = c.columns("ordered", 1, 3)
    listed = ", ".join(map(_q, columns))
    order = ", ".join(
        f"{_q(name)} {c.pick(['ASC', 'DESC', 'DESC NULLS LAST', 'ASC NULLS FIRST'])}"
        for name in columns
    )
    offset = f" OFFSET {c.dice.choice([1, 30])}" if c.chance(0.4) else ""
    text = f"SELECT {listed} FROM q ORDER BY {order} LIMIT {c.dice.choice([0, 5, 80])}{offset}"
    return text, True


def _star(c: Chance) -> tuple[str, bool]:
    name = c.column("any")
    text = c.pick(
        [
            f"SELECT * EXCLUDE ({_q(name)}) FROM q",
            f"SELECT * RENAME ({_q(name)} AS {c.name()}) FROM q",
            f"SELECT * REPLACE (1 AS {_q(name)}) FROM q",
            "SELECT q.* FROM q WHERE EXISTS (SELECT 1 FROM d WHERE d.z > 0)",
            "FROM q",
        ]
    )
    return text, c.ordered


Kind = Callable[[Chance], tuple[str, bool]]
_KINDS: tuple[Kind, ...] = (
    _select,
    _group,
    _group,
    _reduce,
    _join,
    _join,
    _common_table,
    _subquery,
    _window,
    _window,
    _sets,
    _unnest,
    _limit,
    _star,
)
