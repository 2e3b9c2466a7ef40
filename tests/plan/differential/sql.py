"""SQL over the tables ``t`` and ``r``."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from tests.plan.differential.case import Case, bag, exact


def _sql(
    make: Callable[[Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]], Case], text: str
) -> Case:
    return make(lambda t, r: pl.SQLContext(t=t, r=r).execute(text))


_ORDERED = (
    "SELECT id, g FROM t WHERE g > 2",
    "SELECT id, u * 2 AS z FROM t WHERE s LIKE '%a%' OR b",
    "SELECT id FROM t ORDER BY u DESC, id LIMIT 7",
    "SELECT id FROM t ORDER BY g NULLS LAST, id",
    "SELECT id FROM t LIMIT 5 OFFSET 3",
    "SELECT COUNT(*) AS n, SUM(u) AS z, AVG(k) AS m FROM t",
    "SELECT MIN(day) AS a, MAX(s) AS b, COUNT(DISTINCT g) AS c FROM t",
    "SELECT g, SUM(u) AS z FROM t GROUP BY g ORDER BY g",
    "SELECT g, COUNT(*) AS n FROM t GROUP BY g HAVING COUNT(*) > 5 ORDER BY n, g",
    "SELECT id, SUM(u) OVER (PARTITION BY g) AS z FROM t",
    "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) AS n FROM t",
    "SELECT id, RANK() OVER (PARTITION BY s ORDER BY u) AS n FROM t",
    "SELECT CASE WHEN g > 2 THEN 'high' ELSE 'low' END AS z FROM t",
    "SELECT CAST(id AS DOUBLE) AS z, COALESCE(g, -1) AS y FROM t",
    "SELECT * FROM t WHERE u > (SELECT AVG(u) FROM t)",
    "SELECT id FROM t WHERE g IS NULL",
    "SELECT id, EXTRACT(MONTH FROM day) AS m FROM t",
    "SELECT SUM(u) AS z FROM (SELECT u FROM t WHERE g = 1) x",
    "WITH x AS (SELECT g, SUM(u) AS z FROM t GROUP BY g) SELECT MAX(z) AS m FROM x",
    "SELECT UPPER(s) AS z, LENGTH(s) AS n FROM t",
)
_UNORDERED = (
    "SELECT g, SUM(u) AS z, COUNT(*) AS n FROM t GROUP BY g",
    "SELECT g, s, AVG(u) AS z FROM t GROUP BY g, s",
    "SELECT DISTINCT g, s FROM t",
    "SELECT t.id, r.rid FROM t JOIN r ON t.g = r.g",
    "SELECT t.id, r.rid FROM t LEFT JOIN r ON t.g = r.g WHERE t.u > 10",
    "SELECT t.id, r.rid FROM t FULL JOIN r ON t.s = r.s",
    "SELECT t.s, SUM(r.w) AS z FROM t INNER JOIN r ON t.g = r.g GROUP BY t.s",
    "SELECT id FROM t WHERE g IN (SELECT g FROM r WHERE w > 70)",
    "SELECT id FROM t WHERE g NOT IN (SELECT g FROM r WHERE g > 4)",
    "SELECT g FROM t UNION ALL SELECT g FROM r",
    "SELECT g FROM t UNION SELECT g FROM r",
    "SELECT g FROM t INTERSECT SELECT g FROM r",
    "SELECT g FROM t EXCEPT SELECT g FROM r",
    "SELECT t.id FROM t SEMI JOIN r ON t.g = r.g",
    "SELECT t.id FROM t ANTI JOIN r ON t.g = r.g",
    "SELECT a.id FROM t a JOIN t b ON a.g = b.g AND a.s = b.s",
    "WITH x AS (SELECT g, MAX(u) AS m FROM t GROUP BY g) "
    "SELECT t.id FROM t JOIN x ON t.g = x.g AND t.u = x.m",
    "SELECT en, MEDIAN(u) AS m FROM t GROUP BY en",
    "SELECT STDDEV(u) AS d, en FROM t GROUP BY en",
    "SELECT id FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) = 1",
)

CASES: dict[str, Case] = {
    **{text: _sql(exact, text) for text in _ORDERED},
    **{text: _sql(bag, text) for text in _UNORDERED},
}
