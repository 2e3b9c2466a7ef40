"""``minispark sql``, and plans as pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from minispark.cli import terminal
from minispark.cli.options import Format
from minispark.cli.outputs import output_format
from minispark.cli.queries import stream_rows
from minispark.client import LocalCluster
from minispark.errors import UsageError

from .conftest import Minispark

QUERY = "select k, sum(v) as s, count(*) as n from t group by k order by k"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = pl.DataFrame({"k": ["ä", "b", None] * 10, "v": range(30)})
    path = tmp_path / "t.csv"
    rows.write_csv(path)
    return path


def expected(table: Path) -> pl.DataFrame:
    frame: pl.DataFrame = pl.SQLContext(t=pl.scan_csv(table), eager=True).execute(QUERY)
    return frame


def rows_of(text: str) -> pl.DataFrame:
    return pl.DataFrame(json.loads(text))


def test_rows_are_those_of_polars(minispark: Minispark, table: Path) -> None:
    ran = minispark("sql", QUERY, "--table", str(table), "--json")
    assert ran.returncode == 0, ran.stderr
    assert_frame_equal(rows_of(ran.stdout), expected(table))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow", "csv.gz", "tsv"])
def test_tables_are_known_by_their_ending(
    minispark: Minispark, table: Path, tmp_path: Path, ending: str
) -> None:
    rows, path = pl.read_csv(table), tmp_path / f"other.{ending}"
    match ending:
        case "csv":
            rows.write_csv(path)
        case "csv.gz":
            rows.write_csv(path, compression="gzip")
        case "tsv":
            rows.write_csv(path, separator="\t")
        case "jsonl":
            rows.write_ndjson(path)
        case "parquet":
            rows.write_parquet(path)
        case _:
            rows.write_ipc(path)
    ran = minispark("sql", QUERY, "--table", f"t={path}", "--json")
    assert ran.returncode == 0, ran.stderr
    assert_frame_equal(rows_of(ran.stdout), expected(table))


def test_a_table_is_a_directory_or_several_paths(
    minispark: Minispark, table: Path, tmp_path: Path
) -> None:
    rows, parts = pl.read_csv(table), tmp_path / "parts"
    parts.mkdir()
    (parts / "_SUCCESS").touch()
    (parts / ".a.parquet.crc").write_text("sum")
    rows.head(10).write_parquet(parts / "a.parquet")
    rows.slice(10).write_parquet(parts / "b.pq")
    for tables in (["t=parts"], ["t=parts/a.parquet", "t=parts/b.pq"], ["t=parts/[ab].*"]):
        options = [word for path in tables for word in ("--table", path)]
        ran = minispark("sql", QUERY, *options, "--json")
        assert ran.returncode == 0, ran.stderr
        assert_frame_equal(rows_of(ran.stdout), expected(table))
    rows.write_csv(parts / "c.csv")
    ran = minispark("sql", QUERY, "--table", "t=parts")
    assert (ran.returncode, "different endings" in ran.stderr) == (2, True)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_rows_are_saved(minispark: Minispark, table: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "out" / f"rows.{ending}"
    ran = minispark("sql", QUERY, "--table", str(table), "--output", str(path))
    assert ran.returncode == 0, ran.stderr
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "csv": pl.read_csv,
        "jsonl": pl.read_ndjson,
        "parquet": pl.read_parquet,
        "arrow": pl.read_ipc,
    }
    assert_frame_equal(readers[ending](path), expected(table), check_dtypes=ending == "parquet")
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_a_file_is_replaced_only_by_force_and_by_a_known_ending(
    minispark: Minispark, table: Path, tmp_path: Path
) -> None:
    words = ("sql", QUERY, "--table", str(table), "--output")
    for name, code, said in (
        ("rows.xlsx", 2, "the format of rows.xlsx is not known from the ending .xlsx"),
        ("rows.csv.gz", 2, ".csv, .jsonl, .ndjson, .parquet, .arrow, .ipc, .feather"),
        ("rows", 2, "without an ending"),
        (tmp_path.name + "/..", 2, "without an ending"),
    ):
        ran = minispark(*words, str(tmp_path / name))
        assert (ran.returncode, said in ran.stderr) == (code, True), ran.stderr
    path = tmp_path / "rows.xlsx"
    assert minispark(*words, str(path), "--format", "csv").returncode == 0
    before = path.read_bytes()
    ran = minispark(*words, str(path), "--format", "jsonl")
    assert (ran.returncode, "exists already" in ran.stderr) == (2, True)
    assert path.read_bytes() == before
    ran = minispark(*words, str(path), "--format", "jsonl", "--force", "--json")
    assert json.loads(ran.stdout) == {"output": str(path), "format": "jsonl", "rows": 3}
    assert path.read_text().startswith("{")
    (tmp_path / "d.csv").mkdir()
    assert "is a directory" in minispark(*words, str(tmp_path / "d.csv"), "--force").stderr


def test_rows_are_streamed_to_a_pipe_and_not_to_a_terminal(
    table: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = expected(table)
    readers: dict[Format, Callable[[bytes], pl.DataFrame]] = {
        "csv": pl.read_csv,
        "jsonl": pl.read_ndjson,
        "parquet": pl.read_parquet,
        "arrow": pl.read_ipc_stream,
    }
    for format_, reader in readers.items():
        assert output_format(None, format_) == format_
        stream_rows(rows, format_)
        assert_frame_equal(reader(capfdbinary.readouterr().out), rows, check_dtypes=False)
    monkeypatch.setattr(terminal.output, "_force_terminal", True)
    for format_ in readers:
        if format_ in ("csv", "jsonl"):
            assert output_format(None, format_) == format_
            continue
        with pytest.raises(UsageError, match="standard output is a terminal"):
            output_format(None, format_)


def test_a_table_is_shown_and_says_what_is_left_out(minispark: Minispark, table: Path) -> None:
    ran = minispark("sql", "select v from t order by v", "--table", str(table), "--top", "2")
    assert ran.stdout.split() == ["v", "─", "0", "1"]
    assert "30 rows in all" in ran.stderr


def test_the_plan_is_shown_and_nothing_runs(minispark: Minispark, table: Path) -> None:
    ran = minispark("sql", QUERY, "--table", str(table), "--explain")
    assert ran.returncode == 0, ran.stderr
    assert "Physical plan" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("select kk from t", "--table", "{t}"), "Did you mean"),
        (("select k from u", "--table", "{t}"), "Tables are: t."),
        (("select k from t", "--table", "nowhere.csv"), "nowhere.csv matches no file"),
        (("select k from t", "--table", "{t}", "--table", "t={t}"), "two tables are named 't'"),
        (("select k from t", "--table", "t=t.bin"), "and holds no UTF-8 text"),
        (("select 1", "--engine", "there"), "there is no engine 'there'"),
        (("delete from t", "--table", "{t}"), "only a query is allowed, not 'delete'"),
        (("explain select k from t", "--table", "{t}"), "Add --explain"),
    ],
)
def test_what_is_wrong_is_said(
    minispark: Minispark, table: Path, arguments: tuple[str, ...], said: str
) -> None:
    table.with_name("t.bin").write_bytes(b"\0")
    ran = minispark("sql", *(part.replace("{t}", str(table)) for part in arguments))
    assert ran.returncode == 2
    assert said in ran.stderr


@pytest.mark.process
def test_a_cluster_gives_the_same(
    minispark: Minispark,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_cluster: LocalCluster,
) -> None:
    monkeypatch.setenv("MINISPARK_TOKEN", small_cluster.token)
    ran = minispark("sql", QUERY, "--table", str(table), "--json", "--engine", small_cluster.url)
    assert ran.returncode == 0, ran.stderr
    assert_frame_equal(rows_of(ran.stdout), expected(table))
    assert small_cluster.client.jobs()[0].name == QUERY, "people see the query as its name"
    assert small_cluster.client.source(small_cluster.client.jobs()[0].job_id) == QUERY


def test_a_plan_is_a_mermaid_chart(minispark: Minispark, table: Path, tmp_path: Path) -> None:
    nodes = [
        {"id": "read", "op": "read_csv", "path": str(table), "partitions": 2},
        {"id": "sum", "op": "reduce_by_key", "key": "k", "value": "v", "fn": "sum"},
    ]
    job = {"name": "j", "parallelism": 2, "dag": {"nodes": nodes, "edges": [["read", "sum"]]}}
    (tmp_path / "j.json").write_text(json.dumps(job))
    lines = minispark("explain", str(tmp_path / "j.json"), "--mermaid").stdout.splitlines()
    assert lines[0] == "flowchart TD"
    assert [line.partition("[")[2] for line in lines if "1 file" in line] == [
        '("quote characters of CSV: 1 file")]',
        '("csv: 1 file")]',
    ]
    assert [line.strip() for line in lines if "-->|" in line] == [
        's0 -->|"broadcast to 2"| s1',
        's1 -->|"shuffle by k → 2"| s2',
    ]
    assert lines[-1].strip() == 's2 --> r2(["sum"])'
