"""Ready-made jobs and plans on this machine."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import polars as pl
import pytest

from .conftest import Minispark

WORDCOUNT = {
    "name": "wordcount",
    "parallelism": 3,
    "dag": {
        "nodes": [
            {"id": "read", "op": "read_csv", "path": "text.csv", "partitions": 3},
            {"id": "flat", "op": "flat_map", "fn": "tokenize"},
            {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"},
        ],
        "edges": [["read", "flat"], ["flat", "agg"]],
    },
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.csv"
    path.write_text("text\n" + "to be or not to be\n" * 50)
    return path


def records(out: str) -> dict[str, int]:
    """Read the stage table back: records by stage."""
    found = re.findall(r"^ (\w+) +SUCCEEDED .*? ([\d,]+) $", out, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in found}


def test_words_are_counted_in_this_process(minispark: Minispark, text: Path) -> None:
    ran = minispark("run", "wordcount", text.name, "--top", "2")
    assert ran.returncode == 0, ran.stderr
    rows = re.findall(r"^ (\w+) +(\d+) $", ran.stdout, re.MULTILINE)
    assert rows == [("be", "100"), ("to", "100")]
    assert "4 rows in all" in ran.stdout
    assert records(ran.stdout) == {"read": 50, "flatmap": 300, "map": 300, "reduce": 4}
    assert "654 records" in ran.stdout
    assert "in this process" in ran.stderr


@pytest.mark.parametrize("name", ["text.csv.gz", "TEXT.CSV.GZ", "text.zst.csv"])
def test_compressed_tables_are_tables(minispark: Minispark, text: Path, name: str) -> None:
    path = text.with_name(name)
    path.write_bytes(gzip.compress(text.read_bytes()))
    ran = minispark("run", "wordcount", name)
    assert records(ran.stdout) == {"read": 50, "flatmap": 300, "map": 300, "reduce": 4}


def test_a_plain_text_file_is_read_line_by_line(minispark: Minispark, tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("to be, or\nnot, to be\n")
    ran = minispark("run", "wordcount", "poem.txt")
    assert records(ran.stdout)["read"] == 2
    assert records(ran.stdout)["flatmap"] == 6


def test_a_directory_is_read_by_the_ending_of_its_files(minispark: Minispark, text: Path) -> None:
    directory = text.parent / "in" / "deep"
    directory.mkdir(parents=True)
    (directory / text.name).write_bytes(text.read_bytes())
    (directory / "b.csv.gz").write_bytes(gzip.compress(b"text\nor not\n"))
    for hidden in ("_SUCCESS", ".text.csv.crc", "text.csv.crc"):
        (directory / hidden).write_text("to be")
    for paths in (["in"], ["in/**/*.csv*"], ["in/deep/text.csv", "in/deep/b.csv.gz"]):
        if paths == ["in/**/*.csv*"]:
            (directory / "text.csv.crc").unlink()
            (directory / ".text.csv.crc").unlink()
        ran = minispark("run", "wordcount", *paths)
        assert ran.returncode == 0, ran.stderr
        assert records(ran.stdout) == {"read": 51, "flatmap": 302, "map": 302, "reduce": 4}
        assert ran.stdout.startswith("words of the column 'text'\n")
    (directory / "b.parquet").write_bytes(b"PAR1")
    ran = minispark("run", "wordcount", "in")
    assert ran.returncode == 2
    assert "different endings: .csv (2), .parquet (1)" in ran.stderr
    assert "in/**/*.csv" in ran.stderr


def test_the_column_that_is_counted_is_chosen_or_given(
    minispark: Minispark, tmp_path: Path
) -> None:
    (tmp_path / "one.csv").write_text("id,title\n1,to be\n")
    ran = minispark("run", "wordcount", "one.csv")
    assert "words of the column 'title'" in ran.stdout
    (tmp_path / "two.csv").write_text("title,body,id\nto be,or,1\n")
    ran = minispark("run", "wordcount", "two.csv")
    assert ran.returncode == 2
    assert "two.csv has several text columns: 'title', 'body'" in ran.stderr
    assert "--column title" in ran.stderr
    ran = minispark("run", "wordcount", "two.csv", "--column", "body", "--json")
    found = json.loads(ran.stdout)
    assert (found["column"], found["rows"]) == ("body", [{"key": "or", "value": 1}])
    ran = minispark("run", "wordcount", "two.csv", "--column", "bdy")
    assert (ran.returncode, "did you mean 'body'?" in ran.stderr) == (2, True)
    ran = minispark("run", "wordcount", "two.csv", "--column", "id")
    assert (ran.returncode, "holds Int64, not texts" in ran.stderr) == (2, True)


def test_a_file_without_text_is_refused(minispark: Minispark, tmp_path: Path) -> None:
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04\x00\xff\x1b[31m")
    ran = minispark("run", "wordcount", "sheet.xlsx")
    assert ran.returncode == 2
    assert "a file that ends in .xlsx and holds no UTF-8 text" in ran.stderr
    assert "Endings of tables are: .csv, .tsv" in ran.stderr


def test_an_output_is_replaced_only_by_force(
    minispark: Minispark, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00007.csv").touch()
    words = ("run", "wordcount", text.name, "--output", "out")
    refused = minispark(*words).stderr
    assert ("MS-121" in refused, "--force" in refused) == (True, True)
    ran = minispark(*words, "--force")
    assert ran.returncode == 0, ran.stderr
    assert f"written to {tmp_path / 'out'}" in ran.stdout
    assert not (tmp_path / "out" / "part-00007.csv").exists()
    assert "does nothing without --output" in minispark(*words[:3], "--force").stderr
    assert "cannot be given together" in minispark(*words, "--top", "3").stderr


@pytest.mark.process
def test_a_number_of_partitions_is_honoured_and_parts_are_written(
    minispark: Minispark, text: Path, tmp_path: Path
) -> None:
    ran = minispark("run", "wordcount", text.name, "--parallelism", "2", "--output", "out")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "_SUCCESS").exists()
    counts = pl.read_csv(tmp_path / "out" / "part-*.csv")
    assert sorted(counts.rows()) == [("be", 100), ("not", 50), ("or", 50), ("to", 100)]
    assert re.search(r"^ read +SUCCEEDED .* 2 +50 $", ran.stdout, re.MULTILINE)


def test_tables_are_joined(minispark: Minispark, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("sku,qty\n1,5\n2,7\n3,9\n")
    (tmp_path / "catalog.csv").write_text("sku,name\n1,pen\n2,cup\n")
    ran = minispark("run", "join", "sales.csv", "catalog.csv", "--on", "sku")
    assert ran.returncode == 0, ran.stderr
    assert records(ran.stdout) == {"left": 3, "right": 2, "join": 2}
    ran = minispark("run", "join", "sales.csv", "catalog.csv", "--on", "sku", "--how", "anti")
    assert records(ran.stdout)["join"] == 1


def test_a_key_that_is_not_there_is_a_usage_error(minispark: Minispark, text: Path) -> None:
    ran = minispark("run", "join", text.name, text.name, "--on", "txet")
    assert ran.returncode == 2
    assert "txet" in ran.stderr
    assert "text" in ran.stderr


@pytest.mark.parametrize(
    ("engine", "code"), [("ray", "MS-401"), ("lokal", "MS-101"), ("http://127.0.0.1:9", "MS-501")]
)
def test_an_engine_that_is_not_there_is_said_so(
    minispark: Minispark, text: Path, engine: str, code: str
) -> None:
    ran = minispark("run", "wordcount", text.name, "--engine", engine)
    assert ran.returncode == (3 if code == "MS-501" else 2)
    assert f"error[{code}]" in ran.stderr


def test_a_missing_file_is_a_usage_error_that_names_it(minispark: Minispark) -> None:
    ran = minispark("run", "wordcount", "nothing.csv")
    assert ran.returncode == 2
    assert "nothing.csv" in ran.stderr


def test_a_plan_is_explained_without_running_it(
    minispark: Minispark, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(WORDCOUNT))
    said = minispark("explain", "job.json").stdout
    for word in ("Logical plan", "Physical plan", "shuffle by", "unordered", "result: agg"):
        assert word in said
    found = json.loads(minispark("explain", "job.json", "--json", "--parallelism", "5").stdout)
    assert [stage["tasks"] for stage in found["stages"]][-1] == 5
    assert "read" in {node for stage in found["stages"] for node in stage["nodes"]}


def test_a_mistyped_column_names_the_node_and_the_nearest_name(
    minispark: Minispark, text: Path, tmp_path: Path
) -> None:
    job = json.loads(json.dumps(WORDCOUNT).replace('"token"', '"tokn"'))
    (tmp_path / "job.json").write_text(json.dumps(job))
    ran = minispark("explain", "job.json")
    assert ran.returncode == 2
    assert "node agg" in ran.stderr
    assert "token" in ran.stderr


@pytest.mark.process
def test_the_demo_compares_three_engines(minispark: Minispark, tmp_path: Path) -> None:
    ran = minispark("demo", "--lines", "500", "--runs", "1")
    assert ran.returncode == 0, ran.stderr
    assert records(ran.stdout)["flatmap"] == 6_000
    for said in ("plain Polars", "embedded engine", "cluster", "over all operators", "same result"):
        assert said in ran.stdout
    assert "6,000 in all" in ran.stdout
    assert len((tmp_path / "data" / "benchmark_500.csv").read_text().splitlines()) == 501
