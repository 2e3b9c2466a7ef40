"""Every option of a scan: the rows of plain Polars, in several tasks or with a word why not."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars import col
from polars.exceptions import PolarsError
from polars.io.plugins import register_io_source
from polars.testing import assert_frame_equal
from tests.runners.inline import run_inline

from minispark.errors import UsageError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import render_stages
from minispark.plan.polars_plan import parse
from minispark.plan.rules.scan import survey
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

Scan = Callable[[], pl.LazyFrame]

FORCED = PlanSettings(parallelism=3, fallback="raise", large_bytes=0)
SCHEMA = {"a": pl.Int64, "b": pl.String, "c": pl.Float64}

_ROWS = pl.DataFrame(
    {
        "a": range(300),
        "b": [f"s{number % 7}" for number in range(300)],
        "c": [None if number % 9 == 0 else number / 4 for number in range(300)],
    }
)


def _casts() -> Any:
    return pl.ScanCastOptions(integer_cast="upcast", datetime_cast=["convert-timezone"])


SPLIT: dict[str, Scan] = {
    "parquet": lambda: pl.scan_parquet("p?.parquet"),
    "parquet n_rows": lambda: pl.scan_parquet("p?.parquet", n_rows=130),
    "parquet row_index": lambda: pl.scan_parquet(
        "p?.parquet", row_index_name="i", row_index_offset=7
    ),
    "parquet row_index of parts of files": lambda: pl.scan_parquet(
        "p0.parquet", row_index_name="i"
    ),
    "parquet row_index n_rows": lambda: pl.scan_parquet(
        "p?.parquet", row_index_name="i", n_rows=130
    ),
    "parquet paths": lambda: pl.scan_parquet("p?.parquet", include_file_paths="file"),
    "parquet absolute paths": lambda: pl.scan_parquet(
        Path("p0.parquet").resolve(), include_file_paths="file"
    ),
    "parquet extra_columns": lambda: pl.scan_parquet(
        ["p0.parquet", "more.parquet"], extra_columns="ignore"
    ),
    "parquet missing_columns": lambda: pl.scan_parquet(
        ["p0.parquet", "less.parquet"], missing_columns="insert"
    ),
    "parquet cast_options": lambda: pl.scan_parquet(
        ["p0.parquet", "small.parquet"], cast_options=_casts()
    ),
    "parquet schema": lambda: pl.scan_parquet("p0.parquet", schema=SCHEMA, low_memory=True),
    "parquet glob=False": lambda: pl.scan_parquet(["p0.parquet", "p1.parquet"], glob=False),
    "hive": lambda: pl.scan_parquet("h"),
    "hive by a pattern": lambda: pl.scan_parquet("h/**/*.parquet", hive_partitioning=True),
    "hive schema": lambda: pl.scan_parquet("h", hive_schema={"day": pl.String, "m": pl.Int8}),
    "hive off": lambda: pl.scan_parquet("h", hive_partitioning=False),
    "hive without dates": lambda: pl.scan_parquet("h", try_parse_hive_dates=False),
    "hive and all else": lambda: pl.scan_parquet("h", include_file_paths="f", row_index_name="i"),
    "hive filter": lambda: pl.scan_parquet("h").filter(col("m") == 1, col("a") > 20),
    "hive columns only": lambda: pl.scan_parquet("h").select("m"),
    "ipc": lambda: pl.scan_ipc("i?.arrow"),
    "ipc of one file": lambda: pl.scan_ipc("i0.arrow", glob=False),
    "ipc n_rows": lambda: pl.scan_ipc("i?.arrow", n_rows=150),
    "ipc row_index": lambda: pl.scan_ipc("i?.arrow", row_index_name="i", row_index_offset=3),
    "ipc paths": lambda: pl.scan_ipc("i?.arrow", include_file_paths="f"),
    "ipc hive": lambda: pl.scan_ipc("hi"),
    "ipc hive schema": lambda: pl.scan_ipc("hi", hive_schema={"m": pl.String}),
    "csv": lambda: pl.scan_csv("c?.csv"),
    "csv n_rows": lambda: pl.scan_csv("c?.csv", n_rows=130),
    "csv row_index": lambda: pl.scan_csv("c?.csv", row_index_name="i", row_index_offset=5),
    "csv row_index n_rows": lambda: pl.scan_csv("c?.csv", row_index_name="i", n_rows=130),
    "csv paths": lambda: pl.scan_csv("c?.csv", include_file_paths="f"),
    "csv paths of parts of files": lambda: pl.scan_csv("c0.csv", include_file_paths="f"),
    "csv skip_rows": lambda: pl.scan_csv(["s0.csv", "s1.csv"], skip_rows=3),
    "csv skip_lines": lambda: pl.scan_csv(["s0.csv", "s1.csv"], skip_lines=3),
    "csv skip_rows without header": lambda: pl.scan_csv(
        ["s0.csv", "s1.csv"], skip_rows=4, has_header=False
    ),
    "csv skip_rows_after_header": lambda: pl.scan_csv("c?.csv", skip_rows_after_header=2),
    "csv comment_prefix": lambda: pl.scan_csv(["k.csv", "c1.csv"], comment_prefix="#"),
    "csv comment_prefix of two": lambda: pl.scan_csv(["k.csv", "c1.csv"], comment_prefix="# "),
    "csv eol_char": lambda: pl.scan_csv(["e0.csv", "e1.csv"], eol_char="|"),
    "csv missing_columns": lambda: pl.scan_csv(
        ["c0.csv", "c1.csv"], missing_columns="insert", schema=SCHEMA | {"z": pl.Int8}
    ),
    "csv extra_columns": lambda: pl.scan_csv(
        ["c0.csv", "c1.csv"], extra_columns="ignore", schema={"a": pl.Int64, "c": pl.Float64}
    ),
    "csv with_column_names": lambda: pl.scan_csv(
        "c?.csv", with_column_names=lambda names: [name.upper() for name in names]
    ),
    "csv schema_overrides": lambda: pl.scan_csv("c?.csv", schema_overrides={"a": pl.Int16}),
    "csv compressed": lambda: pl.scan_csv(["g0.csv.gz", "g1.csv.gz"]),
    "ndjson": lambda: pl.scan_ndjson("j?.jsonl", schema=SCHEMA),
    "ndjson inferred": lambda: pl.scan_ndjson(
        "j?.jsonl", infer_schema_length=None, batch_size=10, low_memory=True
    ),
    "ndjson n_rows": lambda: pl.scan_ndjson("j?.jsonl", n_rows=130),
    "ndjson row_index": lambda: pl.scan_ndjson("j?.jsonl", row_index_name="i", row_index_offset=3),
    "ndjson paths": lambda: pl.scan_ndjson("j?.jsonl", include_file_paths="f"),
    "lines": lambda: pl.scan_lines("c?.csv", name="line"),
    "lines n_rows": lambda: pl.scan_lines("c?.csv", n_rows=130),
    "lines row_index": lambda: pl.scan_lines("c?.csv", row_index_name="i"),
    "lines paths": lambda: pl.scan_lines("c?.csv", include_file_paths="f"),
    "a frame": lambda: _ROWS.lazy(),
    "a frame in chunks": lambda: pl.concat([_ROWS, _ROWS], rechunk=False).lazy(),
}
WHOLE: dict[str, tuple[Scan, str]] = {
    "bytes": (lambda: pl.scan_parquet(Path("p0.parquet").read_bytes()), "bytes in memory"),
    "csv of one file": (lambda: pl.scan_csv("s0.csv", skip_rows=3), "under skip_rows"),
    "policies without a schema": (
        lambda: pl.scan_csv(["c0.csv", "c1.csv"], missing_columns="insert"),
        "missing_columns without a schema",
    ),
    "a Python source": (
        lambda: register_io_source(_python_source, schema={"a": pl.Int64}),
        "a Python source",
    ),
    "a column in folders and files": (lambda: pl.scan_parquet("both"), "names of their folders"),
}


def _python_source(
    with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
) -> Iterator[pl.DataFrame]:
    del with_columns, n_rows, batch_size
    frame = pl.DataFrame({"a": range(10)})
    yield frame if predicate is None else frame.filter(predicate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    for number in range(3):
        part = _ROWS[number * 100 : number * 100 + 100]
        part.write_parquet(root / f"p{number}.parquet", row_group_size=20)
        part.write_ipc(root / f"i{number}.arrow", record_batch_size=20)
        part.write_ndjson(root / f"j{number}.jsonl")
        text = part.write_csv()
        (root / f"c{number}.csv").write_text(text)
        (root / f"s{number}.csv").write_text("none\n" * 3 + text)
        (root / f"e{number}.csv").write_text(text.replace("\n", "|"))
        (root / f"g{number}.csv.gz").write_bytes(gzip.compress(text.encode()))
        for day in ("2024-01-01", "2024-01-02", "__HIVE_DEFAULT_PARTITION__"):
            folder = root / "h" / f"day={day}" / f"m={number}"
            folder.mkdir(parents=True)
            part.write_parquet(folder / "a%20b.parquet", row_group_size=20)
        folder = root / "hi" / f"m={number}"
        folder.mkdir(parents=True)
        part.write_ipc(folder / "x.arrow", record_batch_size=30)
    last = _ROWS[200:]
    (root / "k.csv").write_text("# it's\n" + last.write_csv())
    last.with_columns(z=1).write_parquet(root / "more.parquet")
    last.drop("c").write_parquet(root / "less.parquet")
    last.cast({"a": pl.Int16}).write_parquet(root / "small.parquet")
    (root / "both" / "a=1").mkdir(parents=True)
    last.write_parquet(root / "both" / "a=1" / "x.parquet")
    return root


def plan(query: pl.LazyFrame, settings: PlanSettings = FORCED) -> StageGraph:
    return plan_outputs([PlanOutput("out", query)], settings=settings)


def rows_of(graph: StageGraph, directory: Path, **kwargs: Any) -> pl.DataFrame:
    return run_inline(graph, directory, **kwargs).results["out"]


@pytest.mark.parametrize("name", SPLIT)
def test_a_source_that_is_split(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(folder)
    query = SPLIT[name]()
    graph, expected = plan(query), query.collect()
    assert max(stage.partitions for stage in graph.stages) == 3
    monkeypatch.chdir(tmp_path)  # A worker has another directory.
    assert_frame_equal(rows_of(graph, tmp_path), expected)


@pytest.mark.parametrize("name", ["hive and all else", "csv paths", "ipc hive", "csv skip_rows"])
def test_a_source_below_a_data_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Tasks read such files by their descriptors, whose names say nothing."""
    monkeypatch.chdir(folder)
    query = SPLIT[name]()
    graph = plan_outputs([PlanOutput("out", query)], settings=FORCED, data_root=folder)
    assert_frame_equal(rows_of(graph, tmp_path, data_root=folder), query.collect())


@pytest.mark.parametrize("name", WHOLE)
def test_a_source_that_is_one_task_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(folder)
    scan, why = WHOLE[name]
    with pytest.raises(UsageError, match=why):
        plan(scan())
    graph = plan(scan(), PlanSettings(parallelism=3))
    assert why in render_stages(graph)
    assert_frame_equal(rows_of(graph, tmp_path), scan().collect())
    filtered = scan().filter(col("a") > 4).select("a")
    graph = plan(filtered, PlanSettings(parallelism=3))
    assert_frame_equal(rows_of(graph, tmp_path), filtered.collect())


def test_a_url_says_why() -> None:
    node = parse(pl.scan_csv("s3://bucket/a.csv"))
    assert survey([node]) == {node: "it reads a URL, not files that every worker sees"}


def test_files_whose_folder_passes_no_filter_are_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    scan = pl.scan_parquet("h", include_file_paths="f")
    query = scan.filter(col("m") == 1, col("a") > 120, col("f").str.contains("01-02"))
    graph = plan(query)
    (source,) = graph.stages[0].branches[0].scans
    assert {Path(split.path).parts[-3:-1] for task in source.tasks for split in task} == {
        ("day=2024-01-02", "m=1")
    }
    assert_frame_equal(rows_of(graph, tmp_path), query.collect())
    both = pl.concat([scan.filter(col("m") == 1), scan.filter(col("m") == 2)])
    assert_frame_equal(rows_of(plan(both), tmp_path), both.collect())


def test_a_large_frame_is_cut_by_its_size() -> None:
    frame = pl.LazyFrame({"a": range(400_000)})
    settings = PlanSettings(split_bytes=1 << 20)
    small = frame.head(9).collect().lazy()
    partitions = [plan(each, settings).stages[0].partitions for each in (frame, small)]
    assert partitions == [4, 1]


def test_an_ipc_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "a.arrow")
    pl.DataFrame({"a": ["x"]}).write_ipc(tmp_path / "b.arrow")
    query = pl.scan_ipc(tmp_path / "*.arrow")
    with pytest.raises(pl.exceptions.SchemaError):
        query.collect()
    with pytest.raises(pl.exceptions.SchemaError, match=r"b\.arrow"):
        rows_of(plan(query), tmp_path)


NO_FILES: dict[str, Scan] = {
    "ipc": lambda: pl.scan_ipc("none/*.arrow"),
    "parquet": lambda: pl.scan_parquet("none/*.parquet"),
    "csv": lambda: pl.scan_csv("none/*.csv"),
    "ndjson": lambda: pl.scan_ndjson("none/*.ndjson"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_a_pattern_without_files_is_named_as_the_user_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolarsError) as expected:
        NO_FILES[name]().collect(engine="streaming")
    with pytest.raises(type(expected.value)) as caught:
        plan_outputs([PlanOutput("out", NO_FILES[name]())])
    assert f"none/*.{'arrow' if name == 'ipc' else name}" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("scan", [pl.scan_ipc, pl.scan_parquet, pl.scan_csv, pl.scan_ndjson])
def test_the_error_of_a_missing_file_begins_as_that_of_polars(
    scan: Callable[[str], pl.LazyFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^No such file .*\(os error 2\): none\n"):
        plan_outputs([PlanOutput("out", scan("none"))])
