"""SQL is split as a LazyFrame is, and gives the rows of plain Polars."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import ColumnNotFoundError, PolarsError, SQLInterfaceError
from polars.testing import assert_frame_equal
from tests.plan.repeats import in_any_order
from tests.plan.sql_queries import GATHERED, QUERIES, tables
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.polars_plan import Node, merge_equal, pack, parse, post_order
from minispark.plan.rules.sql import lower_sql
from minispark.settings import PlanSettings

SPLIT = PlanSettings(
    single_task_bytes=0, parallelism=2, broadcast_bytes=0, fallback="raise", large_bytes=0
)
GATHERING = PlanSettings(single_task_bytes=0, parallelism=2, broadcast_bytes=0)
ROWS = pl.LazyFrame({"k": [1, 2, 1], "v": [5, 6, 7]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sql")


@pytest.fixture(scope="module")
def frames(folder: Path) -> dict[str, pl.LazyFrame]:
    return tables(folder)


@pytest.mark.parametrize("name", QUERIES)
def test_rows_equal_plain_polars(
    name: str, frames: dict[str, pl.LazyFrame], folder: Path, tmp_path: Path
) -> None:
    text, ordered = QUERIES[name]
    query = pl.SQLContext(frames).execute(text.replace("$FOLDER", str(folder)))
    expected = query.collect(engine="in-memory")
    settings = GATHERING if name in GATHERED else SPLIT
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    assert not any("SQL" in stage.why for stage in graph.stages)
    actual = run_inline(graph, tmp_path).results["out"]
    if not ordered:
        actual, expected = in_any_order(actual), in_any_order(expected)
    assert_frame_equal(actual, expected)


def kinds(root: Node) -> list[str]:
    return [node.kind for node in post_order(root)]


@pytest.mark.polars_contract
def test_a_table_made_of_a_query_holds_the_plan_of_the_query() -> None:
    """What `lower_sql` needs of Polars, which does not promise it."""
    context = pl.SQLContext(rows=ROWS)
    context.execute("CREATE TABLE made AS SELECT k, SUM(v) FROM rows GROUP BY k HAVING k > 1")
    root = parse(context.execute("SELECT * FROM made"))
    ((name, plan),) = root.body["relations"]
    assert (root.kind, root.body["query"], name) == ("SQL", "SELECT * FROM made", "made")
    assert kinds(plan) == ["DataFrameScan", "GroupBy", "Select", "Select"]


def test_queries_of_queries_become_one_plan_over_the_same_tables() -> None:
    inner = ROWS.sql("SELECT k, v + 1 AS v FROM self")
    query = pl.SQLContext(a=inner, b=inner, c=ROWS).execute(
        "SELECT a.v FROM a JOIN b ON a.k = b.k JOIN c ON a.k = c.k"
    )
    (root,) = lower_sql([parse(query)])
    assert "SQL" not in kinds(root)
    one = merge_equal(post_order(root), lambda node: True)[root]
    assert kinds(one).count("DataFrameScan") == kinds(one).count("Select") - 1 == 1


def test_a_table_may_have_the_name_of_the_table_that_is_made() -> None:
    context = pl.SQLContext({"__minispark_query": ROWS, "__minispark_query_": ROWS})
    text = "SELECT a.k FROM __minispark_query a JOIN __minispark_query_ b ON a.k = b.k"
    assert "SQL" not in kinds(*lower_sql([parse(context.execute(text))]))


@pytest.mark.parametrize("name", ["exists with an inequality", "scalar subquery in having"])
def test_a_query_has_the_same_plan_each_time(name: str, frames: dict[str, pl.LazyFrame]) -> None:
    """Although Polars numbers its own columns in each process, and caches at random."""
    text, _ = QUERIES[name]
    first, again = (pl.SQLContext(frames).execute(text) for _ in range(2))
    assert len({pack(*lower_sql([parse(query)])) for query in (first, again)}) == 1


def test_columns_may_have_names_like_those_of_polars(
    frames: dict[str, pl.LazyFrame], tmp_path: Path
) -> None:
    rows = frames["orders"].select("id", _POLARS_TMP_SQL_0="shop", _POLARS_TMP_SQL_1="who")
    query = pl.SQLContext(t=rows).execute(
        "SELECT *, (SELECT MAX(id) FROM t) AS m FROM t WHERE id > (SELECT AVG(id) FROM t)"
    )
    graph = plan_outputs([PlanOutput("out", query)], settings=SPLIT)
    assert_frame_equal(run_inline(graph, tmp_path).results["out"], query.collect())


def test_a_head_of_a_sort_below_a_selection_is_a_top_k(frames: dict[str, pl.LazyFrame]) -> None:
    query = pl.SQLContext(frames).execute("SELECT who FROM orders ORDER BY id DESC LIMIT 3")
    graph = plan_outputs([PlanOutput("out", query)], settings=SPLIT)
    assert [stage.name for stage in graph.stages] == ["top-k", "result"]


REFUSED = {
    "SELECT w FROM self": ColumnNotFoundError,
    "SELECT * FROM other": SQLInterfaceError,
    "SELECT k FROM self LIMIT 2 STRICT": SQLInterfaceError,
    "SELECT SUM(k FROM self": SQLInterfaceError,
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_query_that_polars_refuses_is_refused_with_its_error(text: str) -> None:
    def query() -> pl.LazyFrame:
        return ROWS.sql(text)

    with pytest.raises(PolarsError) as plain:
        query().collect()
    with pytest.raises(REFUSED[text]) as ours:
        plan_outputs([PlanOutput("out", query())])
    assert type(ours.value) is type(plain.value)


def test_a_recursive_query_runs_whole_and_says_so(
    frames: dict[str, pl.LazyFrame], tmp_path: Path
) -> None:
    query = frames["shops"].sql(
        "WITH RECURSIVE n AS (SELECT MAX(shop) AS q FROM self UNION ALL"
        " SELECT q - 1 FROM n WHERE q > 0) SELECT q FROM n"
    )
    graph = plan_outputs([PlanOutput("out", query)], settings=GATHERING)
    assert any("WITH RECURSIVE" in stage.why for stage in graph.stages)
    assert_frame_equal(run_inline(graph, tmp_path).results["out"], query.collect())
