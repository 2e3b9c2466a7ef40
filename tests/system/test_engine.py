"""Any Polars query through `minispark.Engine` on a cluster gives what plain Polars gives."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.plan.queries import ORDERED, UNORDERED, write_files

import minispark as ms
from minispark.client.local_cluster import LocalCluster

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def files(tables: Path) -> tuple[Path, Path]:
    folder = tables / "engine"
    folder.mkdir()
    return write_files(folder)


def test_a_file_outside_the_data_root_is_not_read(cluster: LocalCluster, tmp_path: Path) -> None:
    path = tmp_path / "outside.csv"
    path.write_text("a\n1\n")
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
    with pytest.raises(ms.JobFailedError, match="outside the data root"):
        pl.scan_csv(path).collect(engine=engine)


@pytest.mark.parametrize("name", [*ORDERED, *UNORDERED])
def test_rows_equal_plain_polars(
    cluster: LocalCluster, files: tuple[Path, Path], name: str
) -> None:
    query = (ORDERED.get(name) or UNORDERED[name])(*(pl.scan_csv(file) for file in files))
    expected = query.collect(engine="in-memory")
    for parallelism in (None, 5):
        engine = ms.Engine(
            cluster.url, token=cluster.token, progress=False, parallelism=parallelism
        )
        assert_frame_equal(query.collect(engine=engine), expected, check_row_order=name in ORDERED)


def test_blocks_travel_over_http_between_workers_that_may_not_map(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    left, right = (pl.scan_csv(file) for file in files)
    query = left.join(right, on="a", how="full").group_by("s").agg(pl.len(), pl.col("b").sum())
    with LocalCluster(
        workers=2, threads=1, directory=tmp_path / "apart", worker_options=["--no-map-blocks"]
    ) as apart:
        engine = ms.Engine(apart.url, token=apart.token, progress=False, parallelism=4)
        found = query.collect(engine=engine)
        (job,) = apart.client.jobs()
        figures = apart.client.metrics(job.job_id)
        rows = left.execute(engine=engine).lazy()
        assert_frame_equal(rows.collect(engine=engine), left.collect(engine="in-memory"))
    assert_frame_equal(found, query.collect(engine="in-memory"), check_row_order=False)
    assert figures.bytes_fetched > 0


def test_results_stay_on_the_cluster_until_they_are_read(
    cluster: LocalCluster, files: tuple[Path, Path], tmp_path: Path
) -> None:
    left, _ = (pl.scan_csv(file) for file in files)
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=3)
    result = left.execute(engine=engine)
    expected = left.collect(engine="in-memory")
    assert_frame_equal(result.lazy().collect(engine="streaming"), expected)
    some = result.lazy().filter(pl.col("a").is_not_null()).select("a", pl.col("b")).head(3)
    assert_frame_equal(
        some.collect(engine="streaming"),
        expected.filter(pl.col("a").is_not_null()).select("a", "b").head(3),
    )
    assert result.n_rows_total == expected.height
    again = result.lazy().group_by("a").agg(pl.len(), pl.col("b").sum())
    assert_frame_equal(again.collect(engine=engine), again.collect(), check_row_order=False)
    assert engine.explain(again).graph.stages[0].partitions > 1
    assert_frame_equal(result.lazy().collect(engine=engine), expected)
    with pytest.raises(ms.UnsupportedError, match="rows of a result"):
        result.lazy().collect(engine=ms.Engine("http://127.0.0.1:1", progress=False))
    left.sink_parquet(tmp_path / "rows.parquet", engine=engine)
    assert_frame_equal(pl.read_parquet(tmp_path / "rows.parquet"), expected)
    empty = left.filter(pl.lit(value=False))
    assert_frame_equal(
        empty.execute(engine=engine).lazy().collect(engine="streaming"), expected.clear()
    )


def test_a_profile_has_the_rows_of_each_node(
    cluster: LocalCluster, files: tuple[Path, Path], tmp_path: Path
) -> None:
    left, _ = (pl.scan_csv(file) for file in files)
    query = left.filter(pl.col("a") > 3).group_by("a").agg(pl.col("b").sum())
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=3)
    rows, table = (profile := engine.profile(query))
    assert_frame_equal(rows, query.collect(), check_row_order=False)
    filtered, groups = left.filter(pl.col("a") > 3).collect().height, query.collect().height
    nodes = table.filter(pl.col("kind") == "node")["rows_out"].to_list()
    assert nodes == [left.collect().height, filtered, groups]
    assert min(table.filter(pl.col("kind") == "stage")["attempts"]) >= 1
    assert profile.outcome.job_id in profile.save(tmp_path / "report.html").read_text()


def test_several_queries_and_a_cancelled_one(
    cluster: LocalCluster, files: tuple[Path, Path]
) -> None:
    left, right = (pl.scan_csv(file) for file in files)
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
    found = pl.collect_all([left, right.head(1)], engine=engine)
    assert_frame_equal(found[0], left.collect(engine="in-memory"))
    assert found[1].height == 1
    sleepy = left.select(pl.col("a").map_batches(_sleep, return_dtype=pl.Int64))
    query = sleepy.collect(engine=engine, background=True)
    query.cancel()
    with pytest.raises(ms.JobCancelledError):
        query.fetch_blocking()


def _sleep(column: pl.Series) -> pl.Series:
    threading.Event().wait(60)
    return column
