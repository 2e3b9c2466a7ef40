"""Every dtype, under names that look like patterns, from a file through a cluster to a file."""

from __future__ import annotations

import datetime as dt
import decimal
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from minispark.client.local_cluster import LocalCluster
from minispark.errors import MinisparkError

pytestmark = pytest.mark.process

MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
COLUMNS: dict[str, pl.Series] = {
    "*": pl.Series([1, 2, None, 4], dtype=pl.Int64),
    "^.*$": pl.Series(["a", "b", "a", None]),
    "": pl.Series([2**100, -1, None, 0], dtype=pl.Int128),
    "wide\0": pl.Series([2**127, 1, None, 0], dtype=pl.UInt128),
    '"quoted"': pl.Series([b"\xff", b"", None, b"x" * 40]),
    "half": pl.Series([1.5, None, -0.0, 2.0], dtype=pl.Float16),
    "a.b": pl.Series([decimal.Decimal("1.25"), None, None, None], dtype=pl.Decimal(38, 2)),
    "date": pl.Series([MOMENT.date(), None, None, None]),
    "time": pl.Series([MOMENT.time(), None, None, None]),
    "zone": pl.Series([MOMENT] * 4, dtype=pl.Datetime("ns", "Europe/Madrid")),
    "took": pl.Series([dt.timedelta(microseconds=1), None, None, None]),
    "word": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
    "level": pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["c", "b", "a"])),
    "null": pl.Series([None] * 4, dtype=pl.Null),
    "list": pl.Series([[1, None], [], None, [3]], dtype=pl.List(pl.Int128)),
    "array": pl.Series([[1, 2], [3, None], None, None], dtype=pl.Array(pl.Int32, 2)),
    "struct": pl.Series([{"*": 1, "": b"x"}, None, None, {"*": None, "": None}]),
    "words": pl.Series([["a"], None, [], ["b", "a"]], dtype=pl.List(pl.Categorical)),
}


@pytest.fixture(scope="module")
def table(tables: Path) -> pl.DataFrame:
    """The columns, each row often, in many row groups of one file; blocks of it are mapped."""
    table = pl.DataFrame({str(place): column for place, column in enumerate(COLUMNS.values())})
    table = pl.concat([table] * 500)
    table.columns = list(COLUMNS)
    table.write_parquet(tables / "dtypes.parquet", row_group_size=250)
    return table


def run(cluster: LocalCluster, *nodes: dict[str, Any]) -> str:
    """Run a chain of nodes over the file and return the job's id."""
    read = {"id": "read", "op": "read_parquet", "path": "dtypes.parquet"}
    named = [read, *({"id": f"n{number}", **node} for number, node in enumerate(nodes))]
    edges = [[a["id"], b["id"]] for a, b in pairwise(named)]
    job = {"name": "dtypes", "dag": {"nodes": named, "edges": edges}, "parallelism": 3}
    job_id = cluster.client.submit_json(job)
    view = cluster.client.wait(job_id)
    assert view.status == "SUCCEEDED", view.error
    return job_id


def download(cluster: LocalCluster, job_id: str, form: str) -> bytes:
    with cluster.client.results(job_id, format=form) as response:
        return response.read()


@pytest.mark.parametrize("name", ["*", "^.*$", "", "wide\0", "words"])
def test_groups_by_each_column(cluster: LocalCluster, table: pl.DataFrame, name: str) -> None:
    keys = {"op": "reduce_by_key", "key": name, "fn": "count"}
    found = cluster.client.result_frame(run(cluster, keys))
    (place,) = (place for place, other in enumerate(table.columns) if other == name)
    expected = table.group_by(pl.nth(place)).agg(pl.len().cast(pl.Int64).alias("count"))
    assert found.schema == expected.schema
    assert sorted(map(repr, found.rows())) == sorted(map(repr, expected.rows()))


def test_rows_through_an_exchange_and_a_file(
    cluster: LocalCluster, tables: Path, table: pl.DataFrame
) -> None:
    write = {"op": "write_parquet", "path": "dtypes-written"}
    job_id = run(cluster, {"op": "repartition", "n": 4}, write)
    written = pl.read_parquet(sorted((tables / "dtypes-written").glob("part-*")))
    fetched = pl.read_parquet(io.BytesIO(download(cluster, job_id, "parquet")))
    assert_frame_equal(written, fetched)
    assert written.schema == table.schema
    assert sorted(map(repr, written.rows())) == sorted(map(repr, table.rows()))


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_results_as_files(cluster: LocalCluster, table: pl.DataFrame, form: str) -> None:
    job_id = run(cluster, {"op": "limit", "n": 1500})
    data = io.BytesIO(download(cluster, job_id, form))
    found = pl.read_ipc_stream(data) if form == "arrow" else pl.read_parquet(data)
    assert found.equals(table.head(1500))
    assert found.schema == table.schema
    for text in ("csv", "jsonl"):
        with pytest.raises(MinisparkError) as caught:
            download(cluster, job_id, text)
        assert caught.value.info.code == "MS-145"
