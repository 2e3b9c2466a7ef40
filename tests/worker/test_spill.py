from __future__ import annotations

from pathlib import Path

import polars as pl

from minispark.blocks.memory import Memory
from minispark.engines.local import LocalRunner
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings
from minispark.worker.spill import Spilling, spilling

GB = 1 << 30


def test_slots_share_the_smaller_of_limit_and_machine(tmp_path: Path) -> None:
    machine = Memory(8 * GB, GB)
    limited = spilling(tmp_path / "a", slots=2, memory_limit_bytes=4 * GB, memory=machine)
    free = spilling(tmp_path / "b", slots=2, memory_limit_bytes=None, memory=machine)
    assert (limited.memory_bytes, free.memory_bytes) == (GB, 2 * GB)
    unknown = spilling(tmp_path / "c", slots=2, memory_limit_bytes=None, memory=None)
    assert "POLARS_OOC_MEMORY_BUDGET_MB" not in unknown.environment()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_the_environment_is_in_megabytes(tmp_path: Path) -> None:
    assert Spilling(tmp_path, 3 << 20, 5 << 20).environment() == {
        "POLARS_OOC_SPILL_DIR": str(tmp_path),
        "POLARS_OOC_MEMORY_BUDGET_MB": "3",
        "POLARS_OOC_DISK_BUDGET_MB": "5",
    }


def test_what_a_process_left_is_removed(tmp_path: Path) -> None:
    for pid in ("17", "18"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "0.ipc").touch()
    Spilling(tmp_path, None, None).remove(17)
    assert [entry.name for entry in tmp_path.iterdir()] == ["18"]
    Spilling(tmp_path, None, None).remove(17)


def test_a_task_over_its_budget_spills_to_the_directory_of_its_engine(tmp_path: Path) -> None:
    rows, path = 1_500_000, tmp_path / "rows.parquet"
    keys = pl.select(k=pl.int_range(rows)).lazy()
    keys.with_columns(v=pl.col("k") * 2.5, w=pl.col("k") + 1).sink_parquet(path)
    query = pl.scan_parquet(path).group_by("k").agg(pl.col("v").median(), pl.col("w").mean())
    graph = plan_outputs(
        [PlanOutput("out", query.select(pl.len()))], settings=PlanSettings(parallelism=1)
    )
    with LocalRunner(1, memory_limit_bytes=128 << 20, temp_dir=tmp_path) as runner:
        outcome = runner.run(graph, name="spills")
        assert outcome.frame().item() == rows
        assert outcome.summary().metrics.bytes_spilled > 0
        (spill,) = tmp_path.glob("minispark-*/*/spill")
        assert [entry for entry in spill.rglob("*") if entry.is_file()] == []
    assert not spill.exists()
