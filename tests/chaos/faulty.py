"""The queries and the JSON operators of the suite, on an embedded engine of any kind."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal
from tests.plan.queries import ORDERED, UNORDERED
from tests.system.tables import scan
from tests.system.test_json_operators import OPERATORS, build_job

from minispark.engines.local import LocalRunner
from minispark.jobs import plan_job
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings

QUERIES = [*ORDERED, *UNORDERED]
NO_BROADCAST = PlanSettings(single_task_bytes=0, parallelism=5, broadcast_bytes=0)
BROADCAST = PlanSettings(single_task_bytes=0, parallelism=3)
FORMATS = {"csv": 5, "parquet": 3}


def check_query(runner: LocalRunner, name: str, files: tuple[Path, Path]) -> None:
    """Run a query of the plan's suite; its rows are those of plain Polars."""
    query = (ORDERED.get(name) or UNORDERED[name])(*(pl.scan_csv(file) for file in files))
    expected = query.collect(engine="in-memory")
    for settings in (NO_BROADCAST, BROADCAST):
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        found = runner.run(graph, name=name).frame()
        assert_frame_equal(found, expected, check_row_order=name in ORDERED)


def check_operator(runner: LocalRunner, name: str, tables: Path) -> None:
    """Run an operator of a JSON job; its rows are those of plain Polars."""
    steps, oracle, ordered = OPERATORS[name]
    for form, partitions in FORMATS.items():
        expected = oracle(*(scan(tables, table, form) for table in ("sales", "goods"))).collect()
        graph = plan_job(build_job(steps, form, partitions), data_root=tables)
        found = runner.run(graph, name=name).frame()
        assert_frame_equal(
            found, expected, check_row_order=ordered, check_dtypes=name[:10] != "word count"
        )
