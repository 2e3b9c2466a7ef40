"""Plans cut in many ways give the rows of plain Polars."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars import col
from polars.exceptions import ComputeError, PolarsError
from polars.testing import assert_frame_equal
from tests.plan.queries import ORDERED, UNORDERED, write_files
from tests.runners.inline import run_inline

from minispark.errors import JobFailedError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

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
        actual = run_inline(graph, tmp_path, job=f"job-{len(label)}-0-0").results["out"]
        assert_frame_equal(actual, expected, check_row_order=name in ORDERED)


FLAGS: dict[str, tuple[pl.QueryOptFlags, Callable[[pl.LazyFrame], pl.LazyFrame]]] = {
    "no collapse of sorts": (
        pl.QueryOptFlags(sort_collapse=False),
        lambda left: (
            left.select((col("a") - 9).fill_null(1), "id").sort(pl.all()).sort(col("a").cum_prod())
        ),
    ),
    "no pushdown of columns": (
        pl.QueryOptFlags(projection_pushdown=False),
        lambda left: (
            left.group_by("a").agg(col("s").max()).with_columns(n=col("s").cast(int)).select("a")
        ),
    ),
    "none": (pl.QueryOptFlags.none(), lambda left: left.sort("b", "id").sort("a").select("id")),
}


@pytest.mark.parametrize("name", FLAGS)
def test_optimizer_flags_mean_what_they_mean_in_polars(
    name: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    flags, make = FLAGS[name]
    query = make(pl.scan_csv(files[0]))
    for optimizations in (flags, pl.QueryOptFlags()):
        expected = outcome(partial(_streamed, query, optimizations))
        for settings in SETTINGS.values():
            graph = plan_outputs(
                [PlanOutput("out", query)], settings=settings, optimizations=optimizations
            )
            got = outcome(partial(_inline, graph, tmp_path))
            assert got == expected


ENDS: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "head": lambda rows: rows.head(3),
    "head of nothing": lambda rows: rows.head(0),
    "slice": lambda rows: rows.slice(100, 5),
    "slice over the bad row": lambda rows: rows.slice(249, 5),
    "head over the bad row": lambda rows: rows.head(251),
    "head before the bad row": lambda rows: rows.head(250),
    "head over it, and a column less": lambda rows: rows.head(251).select("id"),
    "tail": lambda rows: rows.tail(3),
    "tail over the bad row": lambda rows: rows.tail(251),
    "sum of a head": lambda rows: rows.head(3).select(col("n").sum()),
    "all": lambda rows: rows,
}


@pytest.mark.parametrize("name", ENDS)
def test_a_row_that_polars_would_not_read_fails_nothing(name: str, tmp_path: Path) -> None:
    texts = ["7"] * 500
    texts[250] = "seven"
    path = tmp_path / "in.parquet"
    pl.DataFrame({"id": range(500), "s": texts}).write_parquet(path, row_group_size=50)
    query = ENDS[name](pl.scan_parquet(path).with_columns(n=col("s").cast(pl.Int64)))
    expected = outcome(lambda: query.collect(engine="streaming"))
    for settings in SETTINGS.values():
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        assert outcome(partial(_inline, graph, tmp_path)) == expected


def _streamed(query: pl.LazyFrame, optimizations: pl.QueryOptFlags) -> pl.DataFrame:
    return query.collect(engine="streaming", optimizations=optimizations)


def _inline(graph: StageGraph, directory: Path) -> pl.DataFrame:
    return run_inline(graph, directory).results["out"]


def outcome(run: Callable[[], pl.DataFrame]) -> object:
    """Return the rows, sorted if there is one column, or that it failed."""
    try:
        rows = run()
    except (PolarsError, JobFailedError):
        return "failed"
    return rows.rows() if rows.width > 1 else sorted(rows.rows())


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


def test_a_plan_that_takes_too_long_to_cut_runs_whole(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    query = pl.scan_csv(files[0]).group_by("a").agg(col("b").sum()).sort("a")
    settings = PlanSettings(single_task_bytes=0, parallelism=5, planning_s=-1)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    assert [stage.why for stage in graph.stages] == [
        "it could not be cut: planning took longer than -1 s"
    ]
    assert_frame_equal(run_inline(graph, tmp_path).results["out"], query.collect())


@pytest.mark.parametrize(
    "options",
    [{"try_parse_dates": True}, {"schema": {"d": pl.Date, "n": pl.Int64}}],
    ids=["inferred", "given"],
)
def test_dates_in_mixed_forms_become_null_where_polars_says_so(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    dates = [f"2024-01-0{n % 9 + 1}" for n in range(200)]
    dates += [f"0{n % 9 + 1}/02/2024" for n in range(200)]
    for number in range(2):
        rows = "".join(f"{date},{n}\n" for n, date in enumerate(dates))
        (tmp_path / f"{number}.csv").write_text(f"d,n\n{rows}")
        dates.reverse()
    query = pl.scan_csv(tmp_path / "*.csv", ignore_errors=True, **options)
    expected = query.collect()
    assert expected["d"].null_count() == 400
    for parallelism in (1, 2, 5, 7):
        settings = PlanSettings(single_task_bytes=0, parallelism=parallelism)
        graph = plan_outputs([PlanOutput("out", query)], settings=settings)
        run = run_inline(graph, tmp_path, job=f"job-{parallelism}-0-0")
        assert_frame_equal(run.results["out"], expected)


@pytest.mark.parametrize("rows", [2, 3, 40])
@pytest.mark.parametrize("first", ["6", "9"])
def test_a_sum_of_more_than_38_digits_fails(tmp_path: Path, rows: int, first: str) -> None:
    numbers = pl.Series([Decimal(f"{first}{'0' * 35}.25")] * rows, dtype=pl.Decimal(38, 2))
    group = pl.DataFrame({"g": [1] * rows, "n": numbers})
    group.write_parquet(tmp_path / "n.parquet", row_group_size=1)
    table = pl.scan_parquet(tmp_path / "n.parquet")
    for query in (table.group_by("g").agg(col("n").sum()), table.select(col("n").sum())):
        graph = plan_outputs([PlanOutput("out", query)], settings=SETTINGS["five, hash"])
        with pytest.raises(ComputeError, match="overflow in decimal addition"):
            run_inline(graph, tmp_path)


def test_a_sum_of_38_digits_passes(tmp_path: Path) -> None:
    numbers = pl.Series([Decimal("9" * 38), Decimal(0), Decimal(0)], dtype=pl.Decimal(38, 0))
    pl.DataFrame({"n": numbers}).write_parquet(tmp_path / "n.parquet", row_group_size=1)
    query = pl.scan_parquet(tmp_path / "n.parquet").select(col("n").sum())
    graph = plan_outputs([PlanOutput("out", query)], settings=SETTINGS["five, hash"])
    assert run_inline(graph, tmp_path).results["out"].item() == Decimal("9" * 38)


@pytest.mark.parametrize("method", ["mean", "sum", "min", "max"])
@pytest.mark.parametrize("dtype", [pl.Decimal(12, 2), pl.Boolean], ids=str)
def test_aggregates_are_taken_in_two_steps(
    files: tuple[Path, Path], method: str, dtype: pl.DataType
) -> None:
    rows = pl.scan_csv(files[0]).with_columns(col("b").cast(dtype))
    query = rows.group_by("a").agg(getattr(col("b"), method)())
    graph = plan_outputs([PlanOutput("out", query)], settings=SETTINGS["five, hash"])
    assert "partial group_by" in {stage.name for stage in graph.stages}
