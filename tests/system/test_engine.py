"""Any Polars query through `minispark.Engine` on a cluster gives what plain Polars gives."""

from __future__ import annotations

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
    assert_frame_equal(found, query.collect(engine="in-memory"), check_row_order=False)
    assert figures.bytes_fetched > 0
