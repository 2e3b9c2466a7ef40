# ruff: noqa: E501 - a statement is one line
"""SQL texts with every clause and kind of function, over three tables.

Each has a name, the text, and whether it says in which order its rows come.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import polars as pl


def tables(folder: Path) -> dict[str, pl.LazyFrame]:
    """Write the tables to ``folder`` and scan them: orders, items and shops."""
    orders = pl.DataFrame(
        {
            "id": range(120),
            "shop": [n * 7 % 11 if n % 13 else None for n in range(120)],
            "who": [("ann", "bob", "Cid", "dora", None)[n * 3 % 5] for n in range(120)],
            "price": [Decimal(n * 37 % 900) / 100 for n in range(120)],
            "rate": [(0.5, -0.0, 0.0, 2.25, None)[n % 5] for n in range(120)],
            "day": [dt.date(2024, 1, 1) + dt.timedelta(days=n * 5 % 400) for n in range(120)],
            "at": [dt.datetime(2024, 2, 1, n % 24, n % 60) for n in range(120)],
            "tags": [["x", "y", "z"][: n % 4] for n in range(120)],
        },
        schema_overrides={"price": pl.Decimal(10, 2)},
    )
    items = pl.DataFrame(
        {
            "order_id": [n * 5 % 130 for n in range(200)],
            "sku": [f"s{n % 17:02}" for n in range(200)],
            "qty": [None if n % 19 == 0 else n % 7 for n in range(200)],
            "size": [{"w": n % 3, "h": n % 4} for n in range(200)],
        },
        schema_overrides={"qty": pl.Int32},
    )
    shops = pl.DataFrame(
        {
            "shop": [*range(9), 20],
            "city": [("Rome", "Oslo", "Lima")[n % 3] for n in range(10)],
            "parent": [None, *[n // 3 for n in range(1, 10)]],
        }
    )
    for name, frame in {"orders": orders, "items": items, "shops": shops}.items():
        frame.write_parquet(folder / f"{name}.parquet", row_group_size=25)
    shops.write_csv(folder / "shops.csv")
    return {
        name: pl.scan_parquet(folder / f"{name}.parquet") for name in ("orders", "items", "shops")
    }


QUERIES: dict[str, tuple[str, bool]] = {
    # Columns and expressions
    "all columns": ("SELECT * FROM orders", True),
    "from first": ("FROM orders", True),
    "names": ("SELECT id AS i, orders.who, price * 2 AS twice FROM orders", True),
    "where": ("SELECT id, who FROM orders WHERE shop > 3 AND who IS NOT NULL", True),
    "or, not, between": (
        "SELECT id FROM orders WHERE id BETWEEN 10 AND 20 OR NOT (shop <> 2)",
        True,
    ),
    "in a list": (
        "SELECT id FROM orders WHERE who IN ('ann', 'dora') AND shop NOT IN (1, 2)",
        True,
    ),
    "is distinct from": ("SELECT id FROM orders WHERE who IS DISTINCT FROM 'ann'", True),
    "is not distinct from": ("SELECT id FROM orders WHERE who IS NOT DISTINCT FROM NULL", True),
    "like": ("SELECT id FROM orders WHERE who LIKE '%o%' OR who ILIKE 'c%'", True),
    "regular expression": (
        "SELECT id FROM orders WHERE who ~ '^[ab]' AND REGEXP_LIKE(who, 'n')",
        True,
    ),
    "case": (
        "SELECT id, CASE WHEN shop > 5 THEN 'high' WHEN shop > 2 THEN 'low' ELSE who END AS c FROM orders",
        True,
    ),
    "case of a value": (
        "SELECT id, CASE who WHEN 'ann' THEN 1 WHEN 'bob' THEN 2 END AS c FROM orders",
        True,
    ),
    "coalesce, nullif, ifnull": (
        "SELECT COALESCE(shop, -1) AS a, NULLIF(shop, 3) AS b, IFNULL(who, '-') AS c FROM orders",
        True,
    ),
    "greatest, least": ("SELECT GREATEST(id, shop) AS g, LEAST(id, shop) AS l FROM orders", True),
    "if": ("SELECT id, IF(shop > 3, 'a', 'b') AS c FROM orders", True),
    "cast": (
        "SELECT CAST(id AS VARCHAR) AS a, id::double AS b, TRY_CAST(who AS INT) AS c, CAST(price AS DOUBLE) AS d FROM orders",
        True,
    ),
    "strings": (
        "SELECT UPPER(who) AS a, LENGTH(who) AS b, who || '!' AS c, LEFT(who, 2) AS d, REPLACE(who, 'a', 'x') AS e FROM orders",
        True,
    ),
    "more strings": (
        "SELECT SUBSTR(who, 2, 2) AS a, STRPOS(who, 'n') AS b, REVERSE(who) AS c, CONCAT_WS('-', who, id) AS d, INITCAP(who) AS e FROM orders",
        True,
    ),
    "trim": (
        "SELECT TRIM('a' FROM who) AS a, LTRIM(who, 'd') AS b, STARTS_WITH(who, 'b') AS c FROM orders",
        True,
    ),
    "dates": (
        "SELECT EXTRACT(year FROM day) AS y, DATE_PART('month', day) AS m, day + INTERVAL '3 days' AS d FROM orders",
        True,
    ),
    "date literals": (
        "SELECT id FROM orders WHERE day >= DATE '2024-06-01' AND day < '2024-12-31'::date",
        True,
    ),
    "times": (
        "SELECT STRFTIME(at, '%H:%M') AS t, EXTRACT(hour FROM at) AS h, at::date AS d FROM orders",
        True,
    ),
    "numbers": (
        "SELECT ABS(shop - 5) AS a, ROUND(rate, 1) AS b, CEIL(rate) AS c, FLOOR(rate) AS d, SQRT(id) AS e, POWER(id, 2) AS f FROM orders",
        True,
    ),
    "more numbers": (
        "SELECT MOD(id, 7) AS a, SIGN(rate) AS b, LN(id + 1) AS c, id // 3 AS d, id % 4 AS e, id & 6 AS f FROM orders",
        True,
    ),
    "arithmetic": (
        "SELECT id / 4 AS a, price * rate AS b, -shop AS c, 1 + 2 * 3 AS d FROM orders",
        True,
    ),
    "constants beside columns": (
        "SELECT id, 1 AS one, 'x' AS x, NULL AS n, TRUE AS t FROM orders",
        True,
    ),
    "constants only": ("SELECT 1 AS one, 'x' AS x", True),
    "constants of rows": ("SELECT 1 AS one FROM orders", True),
    "values": ("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(n, s)", True),
    "list functions": (
        "SELECT id, ARRAY_LENGTH(tags) AS n, ARRAY_CONTAINS(tags, 'y') AS y, tags[1] AS f FROM orders",
        True,
    ),
    "fields of a struct": ("SELECT size.w AS w, size.h * 2 AS h FROM items", True),
    "all fields of a struct": ("SELECT sku, size.* FROM items", True),
    "star exclude": ("SELECT * EXCLUDE (tags, at) FROM orders", True),
    "star rename": ("SELECT * RENAME (id AS number) FROM orders", True),
    "star replace": ("SELECT * REPLACE (id * 2 AS id) FROM orders", True),
    "star ilike": ("SELECT * ILIKE '%i%' FROM orders", True),
    "columns by pattern": ("SELECT COLUMNS('^(id|who)$') FROM orders", True),
    "comment": ("SELECT id -- the number\nFROM orders /* all */ WHERE id < 9 -- few", True),
    "semicolon": ("SELECT id FROM orders WHERE id < 9;", True),
    "brackets": ("(SELECT id FROM orders WHERE id < 9)", True),
    "quoted names": ('SELECT "id" AS "a b", id AS "ä"FROM "orders"', True),
    # Aggregates
    "aggregates": (
        "SELECT COUNT(*) AS n, COUNT(shop) AS c, SUM(price) AS s, MIN(day) AS d, MAX(who) AS w FROM orders",
        True,
    ),
    "averages": ("SELECT AVG(id) AS a, AVG(price) AS b, AVG(shop) AS c FROM orders", True),
    "aggregate of nothing": (
        "SELECT SUM(id) AS s, COUNT(*) AS n, AVG(id) AS a FROM orders WHERE id > 999",
        True,
    ),
    "sum of nulls": ("SELECT SUM(NULL::int) AS s, COUNT(NULL) AS c FROM orders", True),
    "expression of aggregates": ("SELECT SUM(id) / COUNT(*) + MAX(shop) AS x FROM orders", True),
    "aggregate with filter": (
        "SELECT SUM(id) FILTER (WHERE shop > 3) AS s, COUNT(*) FILTER (WHERE who = 'bob') AS n FROM orders",
        True,
    ),
    "count distinct": (
        "SELECT COUNT(DISTINCT who) AS n, COUNT(DISTINCT shop) AS m FROM orders",
        True,
    ),
    "spread": ("SELECT STDDEV(id) AS s, VARIANCE(shop) AS v FROM orders", True),
    "median": ("SELECT MEDIAN(id) AS m, QUANTILE_CONT(id, 0.3) AS q FROM orders", True),
    "aggregate and constant": ("SELECT SUM(id) AS s, 1 AS one FROM orders", True),
    "groups and constant": (
        "SELECT shop, SUM(id) AS s, 1 AS one, NULL AS n FROM orders GROUP BY shop",
        False,
    ),
    "group by": ("SELECT shop, COUNT(*) AS n, SUM(price) AS s FROM orders GROUP BY shop", False),
    "group by two": (
        "SELECT shop, who, AVG(id) AS a, MAX(at) AS m FROM orders GROUP BY shop, who",
        False,
    ),
    "group by all": ("SELECT who, shop, SUM(id) AS s FROM orders GROUP BY ALL", False),
    "group by position": ("SELECT who, SUM(id) AS s FROM orders GROUP BY 1", False),
    "group by an expression": (
        "SELECT EXTRACT(month FROM day) AS m, COUNT(*) AS n FROM orders GROUP BY EXTRACT(month FROM day)",
        False,
    ),
    "group by an alias": ("SELECT id % 5 AS r, COUNT(*) AS n FROM orders GROUP BY r", False),
    "group by a key that is not shown": ("SELECT SUM(id) AS s FROM orders GROUP BY who", False),
    "key in an expression": (
        "SELECT UPPER(who) AS u, COUNT(*) AS n FROM orders GROUP BY who",
        False,
    ),
    "having": (
        "SELECT shop, COUNT(*) AS n FROM orders GROUP BY shop HAVING COUNT(*) > 9 AND SUM(id) > 500",
        False,
    ),
    "having an alias": ("SELECT shop, COUNT(*) AS n FROM orders GROUP BY shop HAVING n > 9", False),
    "group by median": ("SELECT who, MEDIAN(price) AS m FROM orders GROUP BY who", False),
    "group by count distinct": (
        "SELECT shop, COUNT(DISTINCT who) AS n FROM orders GROUP BY shop",
        False,
    ),
    "group by spread": ("SELECT who, STDDEV(id) AS s FROM orders GROUP BY who", False),
    "group by with filter": (
        "SELECT who, SUM(id) FILTER (WHERE shop > 3) AS s FROM orders GROUP BY who",
        False,
    ),
    "group by sum of cases": (
        "SELECT who, SUM(CASE WHEN shop > 3 THEN 1 ELSE 0 END) AS high FROM orders GROUP BY who",
        False,
    ),
    "groups without aggregates": ("SELECT who, shop FROM orders GROUP BY who, shop", False),
    "array agg": ("SELECT who, ARRAY_AGG(id ORDER BY id) AS ids FROM orders GROUP BY who", False),
    "string agg": (
        "SELECT shop, STRING_AGG(who, ',' ORDER BY id) AS names FROM orders GROUP BY shop",
        False,
    ),
    "distinct": ("SELECT DISTINCT who, shop FROM orders", False),
    "distinct on": ("SELECT DISTINCT ON (who) who, id FROM orders ORDER BY who, id DESC", True),
    # Order and limits
    "order by": ("SELECT id, who FROM orders ORDER BY who, id", True),
    "order by desc": ("SELECT who, id FROM orders ORDER BY who DESC, id DESC", True),
    "nulls first": ("SELECT who, id FROM orders ORDER BY who ASC NULLS FIRST, id", True),
    "nulls last": ("SELECT who, id FROM orders ORDER BY who DESC NULLS LAST, id", True),
    "order by position": ("SELECT who, id FROM orders ORDER BY 1 DESC, 2", True),
    "order by a column not shown": ("SELECT who FROM orders ORDER BY id DESC", True),
    "order by an expression": ("SELECT id FROM orders ORDER BY id % 7, id", True),
    "order by an alias": ("SELECT id AS i, id % 3 AS r FROM orders ORDER BY r DESC, i", True),
    "order by all": ("SELECT shop, id FROM orders ORDER BY ALL", True),
    "order by an aggregate": (
        "SELECT who, SUM(id) AS s FROM orders GROUP BY who ORDER BY SUM(id) DESC",
        True,
    ),
    "limit": ("SELECT id FROM orders LIMIT 7", True),
    "limit and offset": ("SELECT id FROM orders ORDER BY id DESC LIMIT 7 OFFSET 30", True),
    "offset": ("SELECT id FROM orders ORDER BY id OFFSET 110", True),
    "top of groups": (
        "SELECT shop, COUNT(*) AS n FROM orders GROUP BY shop ORDER BY n DESC, shop LIMIT 3",
        True,
    ),
    "fetch first": ("SELECT id FROM orders ORDER BY id FETCH FIRST 4 ROWS ONLY", True),
    "limit 0": ("SELECT id, who FROM orders ORDER BY id LIMIT 0", True),
    # Joins
    "inner join": (
        "SELECT o.id, i.sku, i.qty FROM orders o JOIN items i ON o.id = i.order_id",
        False,
    ),
    "join using": ("SELECT id, city FROM orders JOIN shops USING (shop)", False),
    "natural join": ("SELECT id, city FROM orders NATURAL JOIN shops", False),
    "left join": ("SELECT o.id, s.city FROM orders o LEFT JOIN shops s ON o.shop = s.shop", False),
    "right join": (
        "SELECT o.id, s.city FROM orders o RIGHT JOIN shops s ON o.shop = s.shop",
        False,
    ),
    "full join": (
        "SELECT o.id, o.shop, s.shop AS other, s.city FROM orders o FULL JOIN shops s ON o.shop = s.shop",
        False,
    ),
    "cross join": ("SELECT o.id, s.city FROM orders o CROSS JOIN shops s", False),
    "tables in a list": ("SELECT o.id, s.city FROM orders o, shops s WHERE o.shop = s.shop", False),
    "semi join": ("SELECT id FROM orders o SEMI JOIN items i ON o.id = i.order_id", False),
    "anti join": ("SELECT id FROM orders o ANTI JOIN items i ON o.id = i.order_id", False),
    "three tables": (
        "SELECT s.city, i.sku, SUM(i.qty) AS q FROM orders o JOIN items i ON o.id = i.order_id JOIN shops s ON o.shop = s.shop GROUP BY s.city, i.sku",
        False,
    ),
    "self join": (
        "SELECT a.city AS city, b.city AS above FROM shops a JOIN shops b ON a.parent = b.shop",
        False,
    ),
    "star of a join": ("SELECT * FROM orders o JOIN shops s ON o.shop = s.shop", False),
    "star of one side": ("SELECT s.*, o.id FROM orders o JOIN shops s ON o.shop = s.shop", False),
    "join on two keys": (
        "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.shop = b.shop AND a.who = b.who WHERE a.id < b.id",
        False,
    ),
    "join on an expression": (
        "SELECT o.id, s.city FROM orders o JOIN shops s ON o.id % 9 = s.shop",
        False,
    ),
    "join and a condition": (
        "SELECT o.id, s.city FROM orders o JOIN shops s ON o.shop = s.shop AND s.city = 'Oslo'",
        False,
    ),
    "join on an inequality": (
        "SELECT o.id, s.shop FROM orders o JOIN shops s ON o.shop < s.shop",
        False,
    ),
    "join of a subquery": (
        "SELECT o.id, t.n FROM orders o JOIN (SELECT order_id, COUNT(*) AS n FROM items GROUP BY order_id) t ON o.id = t.order_id",
        False,
    ),
    # Subqueries
    "subquery in from": (
        "SELECT who, n FROM (SELECT who, COUNT(*) AS n FROM orders GROUP BY who) t WHERE n > 20",
        False,
    ),
    "in a subquery": (
        "SELECT id FROM orders WHERE id IN (SELECT order_id FROM items WHERE qty > 4)",
        False,
    ),
    "not in a subquery": (
        "SELECT id FROM orders WHERE id NOT IN (SELECT order_id FROM items)",
        False,
    ),
    "exists": (
        "SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.qty > 4)",
        False,
    ),
    "not exists": (
        "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id)",
        False,
    ),
    "scalar subquery": (
        "SELECT id FROM orders WHERE id > (SELECT AVG(order_id) FROM items)",
        False,
    ),
    "selected scalar subquery": ("SELECT id, (SELECT MAX(qty) FROM items) AS m FROM orders", False),
    "two scalar subqueries": (
        "SELECT id FROM orders WHERE id > (SELECT AVG(order_id) FROM items) AND shop < (SELECT MAX(shop) FROM shops)",
        True,
    ),
    "only a scalar subquery": ("SELECT (SELECT MAX(qty) FROM items) AS m FROM orders", True),
    "scalar subquery without rows": (
        "SELECT id, (SELECT MAX(qty) FROM items WHERE qty > 99) AS m FROM orders WHERE id > (SELECT COUNT(*) FROM items WHERE qty > 99)",
        True,
    ),
    "scalar subquery beside no rows": (
        "SELECT id, (SELECT MAX(qty) FROM items) AS m FROM orders WHERE id > 999",
        True,
    ),
    "scalar subquery in a case": (
        "SELECT id, CASE WHEN id > (SELECT AVG(order_id) FROM items) THEN 'high' ELSE 'low' END AS c FROM orders",
        True,
    ),
    "scalar subquery as a key": (
        "SELECT id > (SELECT AVG(order_id) FROM items) AS high, COUNT(*) AS n FROM orders GROUP BY 1",
        False,
    ),
    "scalar subquery in having": (
        "SELECT shop, SUM(id) AS s FROM orders GROUP BY shop HAVING SUM(id) > (SELECT AVG(order_id) * 9 FROM items)",
        False,
    ),
    "scalar subquery beside groups": (
        "SELECT who, SUM(id) > (SELECT MAX(order_id) FROM items) AS x, (SELECT MIN(city) FROM shops) AS y FROM orders GROUP BY who",
        False,
    ),
    "scalar subquery beside aggregates": (
        "SELECT MAX(id) > (SELECT AVG(order_id) FROM items) AS x, (SELECT 1) AS y FROM orders",
        True,
    ),
    "scalar subquery in a subquery": (
        "SELECT id FROM orders WHERE id > (SELECT AVG(order_id) FROM items WHERE qty > (SELECT MIN(shop) FROM shops))",
        True,
    ),
    "exists with an inequality": (
        "SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id AND i.qty <> o.shop)",
        False,
    ),
    "correlated subquery": (
        "SELECT id, (SELECT SUM(qty) FROM items i WHERE i.order_id = o.id) AS q FROM orders o",
        False,
    ),
    "correlated condition": (
        "SELECT id FROM orders o WHERE id > (SELECT AVG(p.id) FROM orders p WHERE p.shop = o.shop)",
        False,
    ),
    "with": (
        "WITH t AS (SELECT shop, SUM(id) AS s FROM orders GROUP BY shop) SELECT * FROM t WHERE s > 400",
        False,
    ),
    "with two": (
        "WITH a AS (SELECT * FROM orders WHERE id < 60), b AS (SELECT who, COUNT(*) AS n FROM a GROUP BY who) SELECT a.id, b.n FROM a JOIN b ON a.who = b.who",
        False,
    ),
    "with used twice": (
        "WITH t AS (SELECT shop, SUM(id) AS s FROM orders GROUP BY shop) SELECT a.shop, b.s FROM t a JOIN t b ON a.shop = b.shop",
        False,
    ),
    "with a total": (
        "WITH t AS (SELECT shop, SUM(id) AS s FROM orders GROUP BY shop) SELECT shop FROM t WHERE s = (SELECT MAX(s) FROM t)",
        False,
    ),
    # Sets
    "union all": ("SELECT shop FROM orders UNION ALL SELECT shop FROM shops", False),
    "union": ("SELECT shop FROM orders UNION SELECT shop FROM shops", False),
    "union of types": ("SELECT qty AS n FROM items UNION ALL SELECT rate FROM orders", False),
    "union by name": (
        "SELECT shop, id FROM orders UNION ALL BY NAME SELECT shop, city FROM shops",
        False,
    ),
    "intersect": ("SELECT shop FROM orders INTERSECT SELECT shop FROM shops", False),
    "except": ("SELECT shop FROM orders EXCEPT SELECT shop FROM shops", False),
    "intersect all": ("SELECT shop FROM orders INTERSECT ALL SELECT parent FROM shops", False),
    "except all": ("SELECT shop FROM orders EXCEPT ALL SELECT parent FROM shops", False),
    "three sets": ("SELECT shop FROM shops UNION SELECT qty FROM items EXCEPT SELECT 1", False),
    "order of a union": (
        "SELECT shop FROM orders UNION SELECT shop FROM shops ORDER BY shop LIMIT 5",
        True,
    ),
    # Windows
    "sum over": ("SELECT id, SUM(id) OVER (PARTITION BY who) AS s FROM orders", True),
    "count over": ("SELECT id, COUNT(*) OVER (PARTITION BY shop) AS n FROM orders", True),
    "over everything": ("SELECT id, SUM(id) OVER () AS s FROM orders", True),
    "share": ("SELECT id, id * 1.0 / SUM(id) OVER (PARTITION BY who) AS s FROM orders", True),
    "running sum": (
        "SELECT id, SUM(id) OVER (PARTITION BY who ORDER BY id) AS s FROM orders",
        True,
    ),
    "row number": (
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY who ORDER BY id DESC) AS r FROM orders",
        True,
    ),
    "rank": (
        "SELECT id, RANK() OVER (PARTITION BY who ORDER BY shop) AS r, DENSE_RANK() OVER (PARTITION BY who ORDER BY shop) AS d FROM orders",
        True,
    ),
    "rank of all": ("SELECT id, RANK() OVER (ORDER BY shop DESC) AS r FROM orders", True),
    "lag and lead": (
        "SELECT id, LAG(id) OVER (PARTITION BY who ORDER BY id) AS a, LEAD(id, 2) OVER (PARTITION BY who ORDER BY id) AS b FROM orders",
        True,
    ),
    "first and last value": (
        "SELECT id, FIRST_VALUE(id) OVER (PARTITION BY who ORDER BY day, id) AS a FROM orders",
        True,
    ),
    "qualify": (
        "SELECT id, who FROM orders QUALIFY ROW_NUMBER() OVER (PARTITION BY who ORDER BY id DESC) <= 2",
        False,
    ),
    "named window": (
        "SELECT id, SUM(id) OVER w AS s, MAX(id) OVER w AS m FROM orders WINDOW w AS (PARTITION BY who)",
        True,
    ),
    "window over groups": (
        "SELECT who, shop, SUM(id) AS s, RANK() OVER (PARTITION BY who ORDER BY SUM(id)) AS r FROM orders GROUP BY who, shop",
        False,
    ),
    # Lists and files
    "unnest": ("SELECT id, UNNEST(tags) AS tag FROM orders", True),
    "unnest, then group": (
        "SELECT tag, COUNT(*) AS n FROM (SELECT UNNEST(tags) AS tag FROM orders) t GROUP BY tag",
        False,
    ),
    "cross join unnest": ("SELECT id, tag FROM orders CROSS JOIN UNNEST(tags) AS t(tag)", False),
    "file in the text": (
        "SELECT city, COUNT(*) AS n FROM read_csv('$FOLDER/shops.csv') GROUP BY city",
        False,
    ),
    "parquet in the text": (
        "SELECT o.id, s.city FROM read_parquet('$FOLDER/orders.parquet') o JOIN shops s ON o.shop = s.shop",
        False,
    ),
}

GATHERED = frozenset({"sum of nulls", "median", "rank of all"})
"""Queries with an operator that is not split."""
