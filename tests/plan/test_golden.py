"""Plans as approved text: a change of a rule shows up as a difference here.

``MINISPARK_TEST_REGENERATE=1 pytest tests/plan/test_golden.py`` writes them again; read the
difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.counters import counted
from minispark.plan.explain import render_stages
from minispark.plan.markers import cached, partitioned
from minispark.settings import PlanSettings

GOLDEN = Path(__file__).parent.parent / "golden" / "plans"
Query = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]

PLANS: dict[str, Query] = {
    "word_count": lambda sales, goods: counted(
        counted(counted(sales, "read").select(col("note").str.split(" ")).explode("note"), "words")
        .group_by("note")
        .len(),
        "count",
    ),
    "join_broadcast": lambda sales, goods: (
        sales.join(goods, on="sku").group_by("kind").agg((col("qty") * col("price")).sum())
    ),
    "join_full_hashes_both_sides": lambda sales, goods: sales.join(goods, on="sku", how="full"),
    "right_join_never_broadcasts_its_right_side": lambda sales, goods: sales.join(
        goods, on="sku", how="right"
    ),
    "filter_above_a_join": lambda sales, goods: sales.join(goods, on="sku", how="full").filter(
        col("qty") > 2
    ),
    "sql_is_split": lambda sales, goods: pl.SQLContext(sales=sales, goods=goods).execute(
        "select kind, sum(qty) from sales join goods using (sku) where qty > 1 group by kind"
    ),
    "sql_that_runs_whole": lambda sales, goods: pl.SQLContext(sales=sales).execute(
        "with recursive n as (select max(qty) as q from sales"
        " union all select q - 1 from n where q > 0) select * from n"
    ),
    "head_of_groups_is_made_determinate": lambda sales, goods: sales.group_by("sku").len().head(3),
    "sort_by_ranges": lambda sales, goods: sales.sort("sku", "qty", descending=[True, False]),
    "top_k": lambda sales, goods: sales.sort("qty", descending=True).head(3),
    "distinct": lambda sales, goods: sales.select("sku").unique(),
    "window_by_key": lambda sales, goods: sales.with_columns(col("qty").sum().over("sku")),
    "median_by_key": lambda sales, goods: sales.group_by("sku").agg(col("qty").median()),
    "shared_groups": lambda sales, goods: (groups := sales.group_by("sku").len()).join(
        groups.select("sku", (col("len") * 2).alias("twice")), on="sku"
    ),
    "union": lambda sales, goods: pl.concat([sales.select("sku"), goods.select("sku")]),
    "repartition": lambda sales, goods: partitioned(sales.filter(col("qty") > 1), 2),
    "partitions_of_a_read": lambda sales, goods: partitioned(counted(sales, "read"), 2),
    "cached": lambda sales, goods: (
        (kept := cached(counted(sales.filter(col("qty") > 1), "c"), "c"))
        .group_by("sku")
        .len()
        .join(kept.select("sku", "qty"), on="sku")
    ),
    "cached_and_indeterminate": lambda sales, goods: cached(
        sales.select(pl.all().sample(3)), "c"
    ).select("sku"),
    "sample_is_indeterminate": lambda sales, goods: sales.select(pl.all().sample(3)).unique(),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    folder = tmp_path_factory.mktemp("golden")
    pl.DataFrame({"sku": [1, 2], "qty": [3, 4], "note": ["a b", "c"]}).write_parquet(
        folder / "sales.parquet"
    )
    pl.DataFrame({"sku": [1], "kind": ["x"], "price": [0.5]}).write_parquet(
        folder / "goods.parquet"
    )
    return pl.scan_parquet(folder / "sales.parquet"), pl.scan_parquet(folder / "goods.parquet")


def _without_sizes(text: str) -> str:
    """Leave out how many bytes Parquet takes, which depends on the version of Polars, and keys."""
    text = re.sub(r"as [0-9a-f]{32}", "as (key)", text)
    lines = (line.split(", ") for line in text.splitlines())
    return "\n".join(
        ", ".join(part for part in parts if not part.endswith("bytes of input files"))
        for parts in lines
    )


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_the_approved_one(name: str, tables: tuple[pl.LazyFrame, pl.LazyFrame]) -> None:
    query = PLANS[name](*tables)
    settings = PlanSettings(parallelism=3, single_task_bytes=0)
    text = _without_sizes(
        render_stages(plan_outputs([PlanOutput("out", query)], settings=settings))
    )
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("MINISPARK_TEST_REGENERATE"):
        path.write_text(text + "\n")
    assert path.read_text() == text + "\n", f"{path.name} differs; see this file's first lines"
