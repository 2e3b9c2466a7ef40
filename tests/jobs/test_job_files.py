"""Readers and writers of JSON jobs: which files, in which order, what formats hold."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.jobs.job_kit import SALES, Collect, Node, Write, chain, refused, step
from tests.runners.inline import run_inline

from minispark.jobs import compile_job, parse_job, plan_job


def test_readers(root: Path, collect: Collect) -> None:
    (root / "a.txt").write_text("one two\n\nthree")
    found = collect(chain(step("read_text", path="a.txt")))
    assert found.to_dict(as_series=False) == {"text": ["one two", "", "three"]}
    pl.DataFrame(SALES).write_parquet(root / "a.parquet")
    assert collect(chain(step("read_parquet", path="a.parquet"))).to_dicts() == SALES
    (root / "a.csv").write_text("1;x\n-;y\n")
    schema = {"n": "Int16", "t": "String"}
    options = {"separator": ";", "has_header": False, "schema": schema, "null_values": "-"}
    found = collect(chain(step("read_csv", path="a.csv", **options)))
    assert found.schema == {"n": pl.Int16, "t": pl.String}
    assert found.rows() == [(1, "x"), (None, "y")]


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("a.csv", "read_csv"),
        ("a.b.ndjson", "read_jsonl"),
        ("a.parquet", "read_parquet"),
        ("a.txt", "read_text"),
        ("a.log", "read_text"),
        ("a", "read_text"),
    ],
)
def test_a_reader_without_a_format_takes_it_from_the_ending(
    root: Path, collect: Collect, name: str, op: str
) -> None:
    directory, rows = root / "in", pl.DataFrame({"text": ["to be", "or not"]})
    directory.mkdir()
    (directory / "_SUCCESS").write_text("")
    match op:
        case "read_csv":
            rows.write_csv(directory / name)
        case "read_jsonl":
            rows.write_ndjson(directory / name)
        case "read_parquet":
            rows.write_parquet(directory / name)
        case _:
            (directory / name).write_text("to be\nor not\n")
    for path in ("in", f"in/{name}", "in/a*", [f"in/{name}"]):
        assert_frame_equal(collect(chain(step("read", path=path))), rows)


def test_a_reader_without_a_format_reads_tabs_and_refuses_what_is_no_text(
    root: Path, collect: Collect
) -> None:
    (root / "a.tsv").write_text("a\tb\n1\tx, y\n")
    assert collect(chain(step("read", path="a.tsv"))).rows() == [(1, "x, y")]
    (root / "sheet.xlsx").write_bytes(b"PK\x03\x04\x00\xff")
    info = refused(chain(step("read", path="sheet.xlsx")), root)
    assert (info.field, info.code) == ("path", "MS-168")
    assert "a file that ends in .xlsx and holds no UTF-8 text" in info.message
    assert ".csv, .tsv" in (info.hint or "")
    pl.DataFrame(SALES).write_ipc(root / "a.arrow")
    assert "Arrow" in refused(chain(step("read", path="a.arrow")), root).message
    info = refused(chain(step("read", path=["a.tsv", "sheet.xlsx"])), root)
    assert "different endings: .tsv (1), .xlsx (1)" in info.message


def test_a_reader_of_the_wrong_format_is_told_the_ending(root: Path) -> None:
    pl.DataFrame(SALES).write_parquet(root / "a.parquet")
    info = refused(chain(step("read_jsonl", path="a.parquet")), root)
    assert (info.hint or "").startswith("the file ends in .parquet")


def test_files_from_directories_globs_and_lists_come_in_order(root: Path, collect: Collect) -> None:
    for name in ("d/b", "d/a", "e/c"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / f"{name}.csv").write_text(f"text\n{name}\n")
    for path, expected in (
        ("d", ["d/a", "d/b"]),
        ("*/*.csv", ["d/a", "d/b", "e/c"]),
        (["e/c.csv", "d/a.csv"], ["e/c", "d/a"]),
        (str(root / "d" / "*.csv"), ["d/a", "d/b"]),
    ):
        found = collect(chain(step("read_csv", path=path)))
        assert found["text"].to_list() == expected


def test_partitions_of_a_reader_are_honoured(root: Path) -> None:
    (root / "a.txt").write_text("some words\n" * 1_000)
    job = chain({"id": "r", "op": "read_text", "path": "a.txt", "partitions": 7}, parallelism=2)
    (stage,) = plan_job(job, data_root=root).stages
    assert stage.partitions == 7


def test_writers_become_sinks(sales: Node, root: Path) -> None:
    job = chain(sales, step("write_jsonl", path="out/x", overwrite=True))
    (output,) = compile_job(parse_job(job), data_root=root).outputs
    assert output.sink is not None
    assert (output.sink.format, output.sink.path, output.sink.overwrite) == ("jsonl", "out/x", True)
    assert output.name == "out"
    assert_frame_equal(output.frame.collect(), pl.DataFrame(SALES))
    (output,) = compile_job(
        parse_job(chain({**sales, "path": str(root / "sales.jsonl")}, step("write_csv", path="o")))
    ).outputs
    assert output.sink is not None
    assert output.sink.path.endswith("/o")


def test_csv_cannot_hold_lists(write: Write, root: Path) -> None:
    lists = write("lists", [{"a": [1, 2]}])
    info = refused(chain(lists, step("write_csv", path="o")), root)
    assert (info.field, info.hint) == ("op", "use write_jsonl or write_parquet")
    compile_job(parse_job(chain(lists, step("write_parquet", path="o"))), data_root=root)


@pytest.mark.parametrize(
    ("dtype", "op", "hint"),
    [
        (pl.Binary(), "write_csv", "use write_parquet"),
        (pl.Binary(), "write_jsonl", "use write_parquet"),
        (pl.List(pl.Binary), "write_jsonl", "use write_parquet"),
        (pl.Duration(), "write_csv", "use write_jsonl or write_parquet"),
    ],
)
def test_what_a_format_cannot_hold_is_said_before_it_runs(
    root: Path, dtype: pl.DataType, op: str, hint: str
) -> None:
    pl.DataFrame(schema={"a": pl.Int64, "b": dtype}).write_parquet(root / "in.parquet")
    read = {"id": "in", "op": "read_parquet", "path": "in.parquet"}
    info = refused(chain(read, step(op, path="o")), root)
    assert (info.field, info.hint) == ("op", hint)
    assert "cannot hold the column 'b'" in info.message


def test_unknown_dtypes_are_refused_with_the_nearest(root: Path) -> None:
    (root / "a.csv").write_text("a\n1\n")
    for name, meant in (("int64", "Int64"), ("Strng", "String"), ("double", "Float64")):
        info = refused(chain(step("read_csv", path="a.csv", schema={"a": name})), root)
        assert (info.field, info.code) == ("schema", "MS-161")
        assert info.hint == f"did you mean '{meant}'?"
    info = refused(chain(step("read_csv", path="a.csv", schema={"a": "__class__"})), root)
    assert "dtypes are" in (info.hint or "")


def test_files_that_cannot_be_understood_are_named(root: Path) -> None:
    (root / "empty.csv").write_text("")
    (root / "bad.parquet").write_text("this is no parquet")
    (root / "bad.jsonl").write_text("{")
    for op, name in (
        ("read_csv", "empty.csv"),
        ("read_parquet", "bad.parquet"),
        ("read_jsonl", "bad.jsonl"),
    ):
        info = refused(chain(step(op, path=name)), root)
        assert (info.node, info.field, info.code) == ("out", "path", "MS-168")
        assert name in info.message
        assert name in (info.file or "")


def test_what_a_query_selects_away_is_in_no_file(root: Path, tmp_path: Path) -> None:
    rows = pl.select(k=pl.int_range(60_000)).with_columns(
        g=pl.col("k") % 3, ls=pl.concat_list("k", pl.col("k") + 1)
    )
    rows.write_parquet(root / "rows.parquet", row_group_size=10_000, compression="uncompressed")
    assert (root / "rows.parquet").stat().st_size > 256 * 1024
    query = "SELECT k, g FROM (SELECT k, g, UNNEST(ls) AS e FROM unnested)"
    for partitions in (1, 3):
        job = chain(
            {"id": "unnested", "op": "read_parquet", "path": "rows.parquet"},
            {"id": "q", "op": "sql", "query": query},
            {"id": "w", "op": "write_parquet", "path": f"out{partitions}"},
            parallelism=partitions,
        )
        run_inline(plan_job(job, data_root=root), tmp_path, data_root=root)
        written = pl.concat(
            pl.read_parquet(file)
            for file in (root / f"out{partitions}").rglob("part-*")
            if file.is_file()
        )
        assert_frame_equal(
            written.sort("k"), rows.explode("ls").select("k", "g").sort("k"), check_row_order=True
        )


def test_json_lines_with_a_schema_or_more_rows_to_infer_from(root: Path, collect: Collect) -> None:
    (root / "a.jsonl").write_text('{"a":1}\n' * 150 + '{"a":1.5,"b":"x"}\n')
    found = collect(chain(step("read_jsonl", path="a.jsonl", infer_rows=1_000)))
    assert found.schema == {"a": pl.Float64, "b": pl.String}
    found = collect(chain(step("read_jsonl", path="a.jsonl", schema={"a": "Float32"})))
    assert found.schema == {"a": pl.Float32}
    assert found["a"].sum() == 151.5
    both = step("read_jsonl", path="a.jsonl", schema={"a": "Float32"}, infer_rows=9)
    assert refused(chain(both), root).field == "infer_rows"


def test_what_is_written_of_no_rows_is_read_again_with_a_schema(
    root: Path, collect: Collect
) -> None:
    (root / "out").mkdir()
    (root / "out" / "part-00000.jsonl").write_text("")
    for path in ("out", "out/*.jsonl"):
        info = refused(chain(step("read_jsonl", path=path)), root)
        assert (info.code, info.hint) == ("MS-110", "give the columns in schema")
        assert "empty files only" in info.message
        found = collect(chain(step("read_jsonl", path=path, schema={"a": "Int64"})))
        assert found.schema == {"a": pl.Int64}
        assert found.height == 0
    for path in ("none", "none/*.jsonl", "*.none"):
        info = refused(chain(step("read_jsonl", path=path, schema={"a": "Int64"})), root)
        assert "matches no file" in info.message


def test_differing_headers_are_quoted(root: Path) -> None:
    for name, header in (("a", "a,b"), ("b", "a, b")):
        (root / f"{name}.csv").write_text(f"{header}\n1,2\n")
    info = refused(chain(step("read_csv", path="*.csv")), root)
    assert "its columns are 'a', ' b', those of 'a.csv' 'a', 'b'" in info.message
    assert (info.file or "").endswith("b.csv")


@pytest.mark.parametrize(
    "node",
    [
        {"op": "aggregate", "by": "", "aggs": {"n": "sum(b)"}},
        {"op": "reduce_by_key", "key": "", "fn": "sum", "value": "b"},
        {"op": "distinct", "subset": ""},
    ],
    ids=lambda node: node["op"],
)
def test_a_column_may_have_no_name(root: Path, collect: Collect, node: Node) -> None:
    (root / "a.csv").write_text(",b\n1,2\n3,4\n1,2\n")
    found = collect(chain(step("read_csv", path="a.csv", id="r"), step(**node)), ordered=False)
    assert sorted(found[""].to_list()) == [1, 3]
