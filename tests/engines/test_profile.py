"""A profile has the rows of the query, and what its nodes and stages did."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import minispark as ms
from minispark.plan.stages import StageGraph

ROWS = pl.LazyFrame({"key": [f"<k{n % 3}>" for n in range(60)], "n": range(60)})
QUERY = ROWS.filter(pl.col("n") >= 20).group_by("key").agg(pl.col("n").sum()).sort("key")


@pytest.fixture
def files(tmp_path: Path) -> pl.LazyFrame:
    for part in range(3):
        ROWS.slice(part * 20, 20).collect().write_parquet(tmp_path / f"{part}.parquet")
    return pl.scan_parquet(tmp_path / "*.parquet")


def test_the_rows_of_every_node_are_counted(jobs: list[StageGraph], files: pl.LazyFrame) -> None:
    query = (
        files.filter(pl.col("n") >= 20)
        .join(files.head(2), on="key", how="left")
        .group_by("key")
        .agg(pl.len())
    )
    profile = ms.Engine(parallelism=3, progress=False).profile(query)
    rows, table = profile
    assert_frame_equal(rows, query.collect(), check_row_order=False)
    nodes = table.filter(pl.col("kind") == "node").select("name", "rows_in", "rows_out")
    assert nodes.rows() == [
        ("1 scan_parquet *.parquet", 60, 60),
        ("2 filter n >= 20", 60, 40),
        ("3 head 2", 60, 2),
        ("4 left join on key", 42, 40),
        ("5 group_by key", 40, 3),
    ]
    assert len(jobs) == 1


def test_stages_have_tasks_times_and_bytes(jobs: list[StageGraph], files: pl.LazyFrame) -> None:
    query = files.group_by("key").agg(pl.col("n").sum())
    table = ms.Engine(parallelism=3, progress=False).profile(query, count=False).table
    assert table["kind"].to_list() == ["stage", "stage"]
    assert table["stage"].to_list() == ["0", "1"]
    assert table["tasks"].to_list() == [3, 3]
    assert table["rows_out"].to_list() == [9, 3]
    for name in ("attempts", "wall_s", "task_s", "cpu_s", "peak_memory_bytes", "bytes_written"):
        assert min(table[name]) > 0, name
    assert table["bytes_spilled"].to_list() == [0, 0]
    assert table["file_bytes"][0] > 0
    assert jobs[0].flow == {}


def test_a_query_that_would_run_in_this_process_has_a_profile_too(jobs: list[StageGraph]) -> None:
    engine = ms.Engine(progress=False)
    assert_frame_equal(QUERY.collect(engine=engine), QUERY.collect())
    assert jobs == []
    table = engine.profile(QUERY).table
    assert table.filter(pl.col("kind") == "node")["rows_out"].to_list() == [60, 40, 3, 3]
    assert table.filter(pl.col("kind") == "stage")["tasks"].to_list() == [1]


def test_a_profile_is_text_a_card_and_a_file(jobs: list[StageGraph], tmp_path: Path) -> None:
    query = ROWS.rename({"key": "<b>"}).filter(pl.col("<b>") != "<k1>")
    profile = ms.Engine(parallelism=3, progress=False).named("<daily>").profile(query)
    text = str(profile)
    assert "filter <b> != '…'" in text
    assert "profile(query, count=False)" in text
    assert "<k1>" not in text
    card = profile._repr_html_()
    assert "<b>&lt;daily&gt;</b>" in card
    assert "filter &lt;b&gt; != &#x27;…&#x27;" in card
    saved = profile.save(tmp_path / "report.html")
    page = saved.read_text(encoding="utf-8")
    assert profile.outcome.job_id in page
    assert "<daily>" not in page
    assert list(tmp_path.iterdir()) == [saved]
    assert len(jobs) == 1
