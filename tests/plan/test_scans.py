"""What `scan_source` understands, and that it finds the files that Polars reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.runners.inline import run_inline

from minispark.errors import UsageError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.polars_plan import parse
from minispark.plan.scan_options import WholeScanError
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.stages import ScanFormat


def source_of(frame: pl.LazyFrame) -> ScanSource | None:
    try:
        return scan_source(parse(frame).body)
    except WholeScanError:
        return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "a.txt").write_text("a\n")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    return tmp_path


def csv_options(**kwargs: Any) -> dict[str, Any] | None:
    source = source_of(pl.scan_csv("a.csv", **kwargs))
    return None if source is None else dict(source.spec.options)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, {}),
        ({"separator": ";"}, {"separator": ";"}),
        ({"quote_char": "'"}, {"quote_char": "'"}),
        ({"quote_char": None}, {"quote_char": None}),
        ({"null_values": "x"}, {"null_values": "x"}),
        ({"null_values": ["x", "y"]}, {"null_values": ["x", "y"]}),
        ({"null_values": {"a": "x"}}, {"null_values": {"a": "x"}}),
        ({"empty_string_is_null": False}, {"empty_string_is_null": False}),
        ({"truncate_ragged_lines": True}, {"truncate_ragged_lines": True}),
        ({"decimal_comma": True, "separator": ";"}, {"decimal_comma": True, "separator": ";"}),
        ({"try_parse_dates": True}, {"try_parse_dates": True}),
        ({"ignore_errors": True}, {"ignore_errors": True}),
        ({"encoding": "utf8-lossy"}, {"encoding": "utf8-lossy"}),
        ({"infer_schema": False}, {}),
        ({"infer_schema_length": None, "low_memory": True, "infer_schema_files": 3}, {}),
        ({"schema_overrides": {"a": pl.Int8}}, {}),
        ({"new_columns": ["x", "y"]}, {"new_columns": ["x", "y"]}),
        ({"has_header": False}, {"has_header": False, "infer_schema_length": 100}),
        ({"raise_if_empty": False}, {"raise_if_empty": False}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_csv_options_that_are_known(arguments: dict[str, Any], options: dict[str, Any]) -> None:
    assert csv_options(**arguments) == {"raise_if_empty": True, **options}


@pytest.mark.usefixtures("folder")
def test_with_a_schema_of_the_user_polars_checks_more() -> None:
    schema = {"a": pl.Int64, "b": pl.String}
    assert csv_options(schema=schema) == {"raise_if_empty": True}
    options = csv_options(schema=schema, has_header=False)
    assert options == {"has_header": False, "raise_if_empty": False, "check_width": True}


@pytest.mark.parametrize(
    "arguments",
    [
        {"row_index_name": "i"},
        {"n_rows": 3},
        {"separator": "1"},
    ],
)
@pytest.mark.usefixtures("folder")
def test_csv_scans_that_run_whole(arguments: dict[str, Any]) -> None:
    assert csv_options(**arguments) is None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "scan",
    [
        lambda: pl.scan_csv(b"a\n1\n"),
        lambda: pl.scan_csv("s3://bucket/a.csv"),
        lambda: pl.scan_ndjson("a.jsonl", n_rows=1),
        lambda: pl.scan_ndjson("a.jsonl", row_index_name="i"),
        lambda: pl.scan_parquet("a.parquet", n_rows=1),
    ],
)
def test_other_scans_that_run_whole(scan: Callable[[], pl.LazyFrame]) -> None:
    assert source_of(scan()) is None


@pytest.mark.usefixtures("folder")
def test_a_key_that_polars_adds_makes_a_scan_run_whole() -> None:
    body = dict(parse(pl.scan_csv("a.csv")).body)
    body["unified_scan_args"] = {**body["unified_scan_args"], "every_other_row": True}
    with pytest.raises(WholeScanError):
        scan_source(body)


@pytest.mark.usefixtures("folder")
def test_other_formats() -> None:
    jsonl = source_of(pl.scan_ndjson("a.jsonl", ignore_errors=True, schema={"a": pl.Int8}))
    assert jsonl is not None
    assert (jsonl.spec.format, dict(jsonl.spec.options)) == (
        ScanFormat.JSONL,
        {"ignore_errors": True},
    )
    text = source_of(pl.scan_lines("a.txt", name="text"))
    assert text is not None
    assert (text.spec.format, dict(text.spec.options)) == (ScanFormat.TEXT, {"name": "text"})
    parquet = source_of(pl.scan_parquet("a.parquet", parallel="columns", use_statistics=False))
    assert parquet is not None
    assert dict(parquet.spec.options) == {"parallel": "columns", "use_statistics": False}


_TREE = [
    "b.csv", "a.csv", "B.csv", "a10.csv", "a2.csv", ".hidden.csv", "_under.csv", "[x].csv",
    "sp ace.csv", "sub/c.csv", "sub/.h.csv", "sub/deep/d.csv", "Z/z.csv", ".dir/r.csv",
]  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "options"),
    [
        ("a.csv", {}),
        ("*.csv", {}),
        ("a?.csv", {}),
        ("[ab].csv", {}),
        ("**/*.csv", {}),
        ("*/*.csv", {}),
        ("sub", {}),
        ("sub/", {}),
        (".", {}),
        ("./sub/../a*.csv", {}),
        (["b.csv", "a.csv", "b.csv"], {}),
        (["B*.csv", "sub", "Z", "a*.csv"], {}),
        ("[x].csv", {"glob": False}),
        ("sub", {"glob": False}),
    ],
)
def test_files_are_those_polars_reads_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: str | list[str], options: dict[str, Any]
) -> None:
    for name in _TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a\n{name}\n")
    monkeypatch.chdir(tmp_path)
    frame = pl.scan_csv(paths, **options)
    source = source_of(frame)
    assert source is not None
    assert [Path(file.path).read_text().splitlines()[1] for file in source.files] == (
        frame.collect()["a"].to_list()
    )
    assert all(Path(file.path).is_absolute() for file in source.files)
    assert source.bytes == sum(file.size for file in source.files)


@pytest.mark.usefixtures("folder")
def test_no_file_is_an_error_that_names_the_path() -> None:
    with pytest.raises(UsageError, match=r"no input file matches .*none\.csv") as caught:
        source_of(pl.scan_csv("none.csv"))
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.info.file is not None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("path", ["none*.csv", "empty"])
def test_what_holds_no_file_is_left_to_polars(folder: Path, path: str) -> None:
    (folder / "empty").mkdir()
    assert source_of(pl.scan_csv(path)) is None
    assert source_of(pl.scan_csv(path, schema={"a": pl.Int64})) is None


def test_a_pipe_is_refused_before_it_is_opened(folder: Path) -> None:
    # Polars gives no rows of it; opening it would wait for a process that writes to it.
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(UsageError, match=r"pipe\.txt is not a regular file"):
        source_of(pl.scan_lines(folder / "pipe.txt"))


@pytest.mark.usefixtures("folder")
def test_a_folder_of_several_kinds_is_refused_as_by_polars() -> None:
    with pytest.raises(UsageError, match="different file extensions"):
        source_of(pl.scan_csv("."))


def test_the_names_of_folders_are_columns_only_where_polars_reads_them(tmp_path: Path) -> None:
    (tmp_path / "k=1").mkdir()
    file = tmp_path / "k=1" / "a.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(file)
    columns = [
        scan_source(parse(scan).body).columns
        for scan in (
            pl.scan_parquet(tmp_path),
            pl.scan_parquet(tmp_path, hive_partitioning=False),
            pl.scan_parquet(file),
            pl.scan_parquet(tmp_path / "k=*" / "*.parquet"),
        )
    ]
    assert columns == [({"k": "1"},), (), (), ()]
    assert pl.scan_parquet(tmp_path / "k=*" / "*.parquet").collect_schema().names() == ["a"]


def test_hidden_parquet_files(tmp_path: Path) -> None:
    for name in ("a", "_b", ".c"):
        pl.DataFrame({"a": [name]}).write_parquet(tmp_path / f"{name}.parquet")
    source = source_of(pl.scan_parquet(tmp_path, hidden_file_prefix=["_", "."]))
    assert source is not None
    assert [Path(file.path).name for file in source.files] == ["a.parquet"]


URLS = [
    "file:{folder}/x.csv",
    "file://{folder}/x.csv",
    "file://{folder}/a%20b/y.csv",
    "file://{folder}/a b/y.csv",
    "file://{folder}/p%20q.csv",
    "file:{folder}/*.csv",
    "file://{folder}/**/*.csv",
    "file://{folder}/",
    "file://{folder}",
    "file://{folder}/none.csv",
    "file:{folder}/none*.csv",
    "file://localhost{folder}/x.csv",
    "FILE:{folder}/x.csv",
    "p%20q.csv",
]


@pytest.mark.parametrize("url", URLS)
def test_urls_of_local_files_are_read_as_polars_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    for number, name in enumerate(("x.csv", "a b/y.csv", "p%20q.csv", "p q.csv")):
        (tmp_path / name).write_text(f"a\n{number}\n")
    query = pl.scan_csv(url.format(folder=tmp_path))
    try:
        expected = query.collect()["a"].to_list()
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = type(error)
        with pytest.raises(kind) as caught:
            plan_outputs([PlanOutput("r", query)])
        assert str(caught.value).split("\n")[0] == str(error).split("\n")[0]
        return
    source = source_of(query)
    assert source is not None, "it can be cut"
    read = [pl.read_csv(file.path, glob=False)["a"].item() for file in source.files]
    assert read == expected
    assert all(Path(file.path).is_absolute() for file in source.files)


@pytest.mark.parametrize(
    "scan",
    [
        lambda: pl.scan_ipc("a.arrow"),
        lambda: pl.scan_ipc("*.arrow"),
        lambda: pl.scan_csv("a.csv", row_index_name="n"),
        lambda: pl.scan_csv(["a.csv", "a.csv"], extra_columns="ignore"),
        lambda: pl.scan_parquet("h", hive_partitioning=True),
    ],
)
def test_a_scan_that_is_not_split_is_read_from_any_directory(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    scan: Callable[[], pl.LazyFrame],
) -> None:
    pl.DataFrame({"a": [1]}).write_ipc("a.arrow")
    pl.DataFrame({"a": [1]}).lazy().sink_parquet("h/k=3/a.parquet", mkdir=True)
    expected, graph = scan().collect(), plan_outputs([PlanOutput("out", scan())])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert run_inline(graph, elsewhere).results["out"].equals(expected)
