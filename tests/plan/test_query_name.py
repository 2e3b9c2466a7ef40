"""The names of queries in lists of jobs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.query_name import query_name, sql_name
from minispark.settings import PlanSettings


def name_of(frame: pl.LazyFrame) -> str:
    settings = PlanSettings(parallelism=2, single_task_bytes=0)
    return query_name(plan_outputs([PlanOutput("result", frame)], settings=settings))


@pytest.fixture
def sales(tmp_path: Path) -> pl.LazyFrame:
    for number in range(3):
        pl.DataFrame({"sku": [1, 2], "qty": [3, 4]}).write_csv(tmp_path / f"sales-{number}.csv")
    pl.DataFrame({"sku": [1]}).write_parquet(tmp_path / "goods.parquet")
    return pl.scan_csv(tmp_path / "sales-*.csv")


def test_a_query_is_called_after_the_first_file_that_it_reads(
    sales: pl.LazyFrame, tmp_path: Path
) -> None:
    goods = pl.scan_parquet(tmp_path / "goods.parquet")
    assert name_of(goods.select("sku")) == "goods.parquet"
    assert name_of(sales.group_by("sku").len()) == "sales-0.csv and 2 more"
    assert name_of(pl.concat([goods, goods])) == "goods.parquet"
    whole = pl.SQLContext(sales=sales).execute("select sum(qty) from sales")
    assert name_of(whole) == "sales-0.csv and 2 more"


def test_a_query_without_files_is_called_after_its_columns() -> None:
    frame = pl.LazyFrame({"word": ["a"], "n\n": [1]})
    assert name_of(frame) == r"query for word, n\n"
    assert len(name_of(pl.LazyFrame({f"column {n}": [n] for n in range(50)}))) < 90


def test_sql_is_its_own_name_without_the_texts_in_it() -> None:
    text = "select  k,\n sum(v)\nfrom t where name = 'it''s private' group by k"
    assert sql_name(text) == "select k, sum(v) from t where name = '...' group by k"
    assert sql_name(f"select {'x' * 500}").endswith("...")
    assert len(sql_name(f"select {'x' * 500}")) < 90
