"""How often a query reads its tables."""

from __future__ import annotations

import pytest

from minispark.plan.sqlreads import table_reads


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        ("SELECT a FROM t", {"t": 1}),
        ('SELECT t.a FROM "T" AS x', {"t": 1}),
        ("SELECT a FROM t, u JOIN t AS t2 ON t.a = t2.a, w", {"t": 2, "u": 1, "w": 1}),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u) GROUP BY t, u", {"t": 1, "u": 1}),
        ("SELECT a FROM t UNION ALL SELECT a FROM t ORDER BY t", {"t": 2}),
        ("WITH x AS (SELECT * FROM t) SELECT x.a, x FROM x", {"t": 1}),
        ("WITH x AS (SELECT * FROM t) SELECT * FROM x, x AS y", {"t": 2}),
        ("WITH x AS (SELECT 1 FROM t), y AS (SELECT 1 FROM x JOIN x) SELECT 1 FROM y, y", {"t": 4}),
        ("WITH x (a, b) AS (SELECT * FROM t) SELECT * FROM (x JOIN x AS y ON x.a = y.a)", {"t": 2}),
        ("SELECT * FROM (WITH x AS (SELECT * FROM t) SELECT * FROM x, x), u", {"t": 2, "u": 1}),
        ("WITH total AS (SELECT sum(a) AS total FROM t) SELECT total, total FROM total", {"t": 1}),
        ("SELECT 1", {}),
    ],
)
def test_reads_are_counted(query: str, reads: dict[str, int]) -> None:
    assert table_reads(query, max_chars=10_000) == reads


def test_a_chain_of_tables_that_doubles() -> None:
    steps = ["a0 AS (SELECT * FROM t)"]
    for step in range(1, 61):
        steps.append(f"a{step} AS (SELECT * FROM a{step - 1} UNION SELECT * FROM a{step - 1})")  # noqa: S608
    query = f"WITH {', '.join(steps)} SELECT * FROM a60"  # noqa: S608
    assert table_reads(query, max_chars=10_000) == {"t": 2**60}
