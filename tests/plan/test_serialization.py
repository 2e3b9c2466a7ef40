"""Planning refuses queries that cannot go to another process, and no others."""

from __future__ import annotations

import copyreg
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from polars import col
from polars._plr import PyLazyFrame
from polars.io.cloud._utils import NoPickleOption
from polars.io.delta._dataset import DeltaDataset

from minispark.errors import UnsupportedError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.polars_plan import parse_bytes
from minispark.plan.serialization import fits_stream, serialized
from minispark.plan.stages import SinkSpec

pytestmark = pytest.mark.polars_contract

EMPTY = pl.Array(pl.Int8, 0)


def _objects(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(o=col("a").map_elements(lambda _: {1}, return_dtype=pl.Object))


def _locked(lock: threading.Lock) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda batch: batch if lock.locked() else batch.clone()


ROWS = pl.LazyFrame({"a": [1, 2]})
REFUSED = {
    "objects in the query": (pl.LazyFrame({"o": pl.Series([{1}], dtype=pl.Object)}), "Object"),
    "objects in the result": (_objects(ROWS), "Object"),
    "objects on the way": (
        _objects(ROWS).select(col("o").map_elements(len, return_dtype=pl.Int64)),
        "Object",
    ),
    "a lock": (ROWS.map_batches(_locked(threading.Lock())), "cannot pickle '_thread.lock' object"),
    "arrays without width in the query": (
        pl.LazyFrame({"e": pl.Series([[]], dtype=EMPTY)}),
        "zero sized arrays",
    ),
    "arrays without width in the result": (
        ROWS.with_columns(e=pl.lit(None, EMPTY)),
        "column 'e' has dtype",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_travel_is_refused(name: str) -> None:
    query, reason = REFUSED[name]
    with pytest.raises(UnsupportedError, match=reason) as caught:
        plan_outputs([PlanOutput("out", query)])
    assert "minispark.Engine()" in (caught.value.info.hint or "")


def test_a_file_with_what_cannot_travel_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"k": [1, 1], "e": pl.Series([[], None], dtype=EMPTY)})
    frame.write_parquet(tmp_path / "in.parquet")
    query = pl.scan_parquet(tmp_path / "in.parquet").group_by("k").agg(col("e").count())
    with pytest.raises(UnsupportedError, match="column 'e'"):
        plan_outputs([PlanOutput("out", query)])


def test_what_only_looks_like_it_is_not() -> None:
    queries = [
        pl.LazyFrame({"Object": [1], "object": ["Object"]}).group_by("Object").agg(pl.len()),
        pl.LazyFrame({"a": [1]}).with_columns(e=pl.lit(None, EMPTY)).select("a"),
        pl.LazyFrame({"a": [1]}).select(pl.lit("Object").alias("Object")),
    ]
    for query in queries:
        plan_outputs([PlanOutput("out", query)])


def test_a_file_takes_what_a_block_cannot(tmp_path: Path) -> None:
    query = ROWS.with_columns(e=pl.lit(None, EMPTY))
    plan_outputs([PlanOutput("out", query, SinkSpec("parquet", str(tmp_path / "out")))])


@pytest.mark.parametrize(
    ("dtype", "fits"),
    [
        (pl.Object(), False),
        (pl.List(pl.Struct({"x": EMPTY})), False),
        (pl.Map(pl.String, EMPTY), False),
        (pl.Map(pl.String, pl.Int128), True),
        (pl.Struct([]), True),
        (pl.Array(pl.Categorical, 2), True),
    ],
)
def test_dtypes(dtype: pl.DataType, fits: bool) -> None:
    assert fits_stream(dtype) is fits


class Table:
    """As much of a `deltalake.DeltaTable` as Polars asks when it pickles one and checks it."""

    table_uri = "/tables/t"

    def version(self) -> int:
        return 3

    def protocol(self) -> SimpleNamespace:
        return SimpleNamespace(min_reader_version=1, reader_features=None)


def delta_dataset(version: int | None) -> DeltaDataset:
    return DeltaDataset(
        table_=NoPickleOption(Table()),
        table_uri_=None,
        version=version,
        storage_options=None,
        credential_provider_builder=None,
        delta_table_options=None,
        use_pyarrow=False,
        pyarrow_options=None,
    )


@pytest.mark.parametrize(("version", "sent"), [(None, 3), (1, 1)])
def test_a_delta_table_is_sent_with_its_version(version: int | None, sent: int) -> None:
    dataset = delta_dataset(version)
    query = pl.LazyFrame._from_pyldf(PyLazyFrame.new_from_dataset_object(dataset))
    scan = parse_bytes(serialized(query)).body["scan_type"]["PythonDataset"]
    written = bytes(next(iter(scan.values()))["dataset_object"])
    unpickled = pickle.loads(written[written.index(pickle.PROTO) :])  # noqa: S301
    assert (unpickled.version, unpickled.table_uri()) == (sent, "/tables/t")
    assert dataset.version == version
    assert DeltaDataset not in copyreg.dispatch_table


def test_a_sink_that_a_function_adds_to_a_plan_too_deep_to_read_is_refused(tmp_path: Path) -> None:
    deep = sum([col("a")] * 1500, col("a"))
    rows = ROWS.select(deep)
    assert plan_outputs([PlanOutput("out", rows)]).stages[0].why.startswith("it could not be cut")
    sink = rows.pipe_with_schema(lambda made, _: made.sink_csv(tmp_path / "out", lazy=True))
    with pytest.raises(UnsupportedError, match="lazy sink"):
        plan_outputs([PlanOutput("out", sink)])
