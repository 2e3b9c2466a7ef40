"""What a query needs of Parquet files decides how many tasks read them and what is broadcast."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars import col

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.markers import cached
from minispark.plan.stages import StageGraph
from minispark.settings import MIB, PlanSettings

_ROWS = 100_000
_GROUP = 2_000


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of which a column of text is nearly everything."""
    path = tmp_path_factory.mktemp("needed") / "wide.parquet"
    key = pl.int_range(_ROWS, eager=True)
    text = key.hash(seed=1).cast(pl.String) + key.hash(seed=2).cast(pl.String)
    flag = key.cast(pl.Int8, wrap_numerical=True)
    frame = pl.DataFrame({"key": key, "flag": flag, "text": text, "more.text": text.reverse()})
    frame.write_parquet(path, row_group_size=_GROUP, compression="uncompressed")
    return path


@pytest.fixture(scope="module")
def other(wide: Path) -> Path:
    return Path(shutil.copy(wide, wide.with_name("other.parquet")))


_LIMITS = PlanSettings(
    single_task_bytes=0, split_bytes=MIB // 2, reduce_bytes=MIB, broadcast_bytes=2 * MIB
)


def planned(query: pl.LazyFrame, settings: PlanSettings = _LIMITS) -> StageGraph:
    return plan_outputs([PlanOutput("rows", query)], settings=settings)


def tasks(query: pl.LazyFrame) -> int:
    return planned(query).stages[0].partitions


def test_tasks_are_as_many_as_needed_columns_are_large(wide: Path) -> None:
    rows = pl.scan_parquet(wide)
    whole = tasks(rows)
    assert whole >= 8
    assert tasks(rows.select(col("flag").sum())) == 1
    assert tasks(rows.filter(col("flag") > 0).select("key")) <= 3
    half = tasks(rows.select("more.text"))
    assert whole / 3 < half < whole * 2 / 3
    # A scan that is read twice needs what both readers need.
    both = rows.join(rows.select("key", "text"), on="key").select("flag", "text")
    assert half <= tasks(both) < whole


def test_a_cached_node_is_cut_alike_whatever_later_nodes_need(wide: Path) -> None:
    rows = cached(pl.scan_parquet(wide), "rows")
    assert tasks(rows.select("flag")) == tasks(rows)


def exchanges(query: pl.LazyFrame, copied_bytes: int = 0) -> list[str]:
    graph = planned(query, replace(_LIMITS, copied_bytes=copied_bytes))
    return [stage.name for stage in graph.stages]


def test_a_side_is_broadcast_by_the_columns_that_are_needed(wide: Path, other: Path) -> None:
    large = pl.scan_parquet(wide)
    small = pl.scan_parquet(other).select("key", "flag")
    assert other.stat().st_size > 4 * _LIMITS.broadcast_bytes
    assert "broadcast" in exchanges(large.join(small, on="key"), copied_bytes=2 * MIB)
    both = large.join(pl.scan_parquet(other), on="key")
    assert "broadcast" not in exchanges(both, copied_bytes=2 * MIB)


def test_copies_for_many_tasks_are_weighed_against_an_exchange(wide: Path, other: Path) -> None:
    large = pl.scan_parquet(wide)
    small = pl.scan_parquet(other).select("key", "flag")
    assert "broadcast" not in exchanges(large.join(small, on="key"))
    few = small.filter(col("flag") == 1, col("flag") > col("key"), col("key") != 7)
    assert "broadcast" in exchanges(large.join(few, on="key"))
    # The filter of one side is that of the other too, if it is about the key.
    assert "broadcast" in exchanges(large.filter(col("flag") > 9).join(few, on="key"))
