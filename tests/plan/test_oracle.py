"""Whatever the planner cuts, the rows are those of plain Polars."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.plan.queries import ORDERED, UNORDERED, write_files

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings
from minispark.testing import run_inline

SETTINGS = {
    "by bytes": PlanSettings(
        single_task_bytes=0, split_bytes=4096, reduce_bytes=4096, broadcast_bytes=0
    ),
    "five, broadcast": PlanSettings(single_task_bytes=0, parallelism=5),
    "five, hash": PlanSettings(single_task_bytes=0, parallelism=5, broadcast_bytes=0),
    "one": PlanSettings(single_task_bytes=0, parallelism=1),
    "default": PlanSettings(),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_files(tmp_path_factory.mktemp("oracle"))


@pytest.mark.parametrize("name", [*ORDERED, *UNORDERED])
def test_rows_equal_plain_polars(name: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    left, right = (pl.scan_csv(file) for file in files)
    query = (ORDERED.get(name) or UNORDERED[name])(left, right)
    expected = query.collect(engine="in-memory")
    for label, settings in SETTINGS.items():
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        assert not any("could not be cut" in stage.why for stage in graph.stages)
        found = run_inline(graph, tmp_path, job=f"job-{len(label)}-0-0").results["out"]
        assert_frame_equal(found, expected, check_row_order=name in ORDERED)


def test_the_size_of_a_scan_that_is_not_split_counts(files: tuple[Path, Path]) -> None:
    left = pl.scan_csv(files[0])
    right = pl.scan_csv(files[1], row_index_name="number")
    query = left.join(right, on="a")
    names = {}
    for limit in (0, 1 << 20):
        settings = PlanSettings(single_task_bytes=0, parallelism=3, broadcast_bytes=limit)
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        names[limit] = {stage.name for stage in graph.stages}
    assert "broadcast" in names[1 << 20]
    assert "broadcast" not in names[0]
