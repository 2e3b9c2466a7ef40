from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.task.bench import Bench, RowsOf, attempt, run_task

from minispark.blocks import port
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.meta import BlockUnavailable
from minispark.blocks.port import BlockFiles
from minispark.errors import ErrorInfo, FetchFailed, JobFailedError, TaskError
from minispark.plan import exchanges
from minispark.plan.counters import counted
from minispark.plan.exchanges import exchange_of
from minispark.plan.leaves import Leaf
from minispark.plan.stages import (
    Output,
    OutputKind,
    ScanFormat,
    ScanSpec,
    SinkSpec,
    Split,
)
from minispark.task import inputs
from minispark.task.failures import failure_of, first_line
from minispark.task.spec import InputGeneration, ScanTask, TaskFailure, TaskReport

FETCH = FetchSettings()
FILES = BlockFiles(Path(), FETCH)
SCHEMA = {"word": pl.String(), "n": pl.Int64()}
FIRST = pl.DataFrame({"word": ["a", "b", "a"], "n": [1, 2, 3]})
SECOND = pl.DataFrame({"word": ["b", None], "n": [4, 5]})
BOTH = pl.concat([FIRST, SECOND])
WORDS = Leaf("words", SCHEMA)


def test_blocks_in_a_block_out(bench: Bench, rows_of: RowsOf) -> None:
    plan = WORDS.lazy().with_columns(double=pl.col("n") * 2)
    spec = bench.task(plan, bench.leaf("words", FIRST, SECOND, stage=4))
    report = run_task(spec, fetch=FETCH)
    assert_frame_equal(rows_of(spec, report)[0], BOTH.with_columns(double=pl.col("n") * 2))
    assert report.key == spec.key
    assert report.inputs == (InputGeneration(4, 0),)
    assert (report.rows_in, report.block.rows) == (5, 5)
    assert (report.bytes_read, report.bytes_fetched, report.sink) == (0, 0, None)
    assert report.duration_s > 0


QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "filter": lambda rows: rows.filter(pl.col("n") > 2).select("word"),
    "group": lambda rows: rows.group_by("word").agg(pl.col("n").sum(), pl.len()),
    "length": lambda rows: rows.select(pl.len()),
    "head": lambda rows: rows.head(2),
    "twice": lambda rows: rows.join(rows.rename({"n": "m"}), on="word", nulls_equal=True),
    "sort": lambda rows: rows.sort("n", descending=True).select("n"),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("shape", ["two blocks", "with empty", "only empty", "none"])
def test_a_fragment_gives_what_plain_polars_gives(
    bench: Bench, rows_of: RowsOf, name: str, shape: str
) -> None:
    frames = {
        "two blocks": [FIRST, SECOND],
        "with empty": [FIRST.clear(), FIRST, FIRST.clear(), SECOND],
        "only empty": [FIRST.clear(), FIRST.clear()],
        "none": [],
    }[shape]
    query = QUERIES[name]
    spec = bench.task(query(WORDS.lazy()), bench.leaf("words", *frames))
    got = rows_of(spec, run_task(spec, fetch=FETCH))[0]
    expected = query(pl.concat([FIRST.clear(), *frames]).lazy()).collect()
    assert_frame_equal(got, expected, check_row_order=name in {"head", "sort"})


def test_columns_may_come_in_another_order_and_too_many(bench: Bench, rows_of: RowsOf) -> None:
    odd = SECOND.select("n", "word", extra=pl.lit(1))
    spec = bench.task(WORDS.lazy(), bench.leaf("words", FIRST.with_columns(extra=2), odd))
    assert_frame_equal(rows_of(spec, run_task(spec, fetch=FETCH))[0], BOTH)


def test_blocks_without_columns_keep_their_rows(bench: Bench) -> None:
    spec = bench.task(
        WORDS.lazy(), bench.leaf("words", pl.DataFrame(height=3), pl.DataFrame(height=4))
    )
    bindings = inputs.Bindings(spec, inputs.read_inputs(spec, port=FILES))
    for schema in (pl.Schema(), pl.Schema(SCHEMA)):
        assert bindings.leaves()["words"](schema).select(pl.len()).collect().item() == 7


def test_a_dtype_that_polars_plans_wrong_is_written_and_read(bench: Bench, rows_of: RowsOf) -> None:
    truths = FIRST.with_columns(t=pl.col("n") > 1)
    planned = Output(OutputKind.SINGLE, columns=(("word", "String"), ("t", "Float64")))
    leaf = Leaf("truths", truths.schema).lazy()
    halves = leaf.group_by("word").agg(pl.col("t").quantile(0.5))
    spec = bench.task(halves, bench.leaf("truths", truths), output=planned)
    (given,) = rows_of(spec, run_task(spec, fetch=FETCH))
    assert given.schema == {"word": pl.String, "t": pl.Boolean}
    schema = {"word": pl.String(), "t": pl.Float64()}
    reader = bench.task(
        Leaf("halves", schema).lazy().filter(pl.col("t").is_null()),
        bench.leaf("halves", given),
        output=planned,
    )
    assert_frame_equal(rows_of(reader, run_task(reader, fetch=FETCH))[0], given)


def test_many_small_blocks_are_put_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = bench.leaf("words", *[FIRST] * 20)
    few = inputs.read_inputs(bench.task(WORDS.lazy(), wanted), port=FILES)
    assert few.frames["words"].n_chunks() == 1
    monkeypatch.setattr(inputs, "_FEW_ROWS", 1)
    many = inputs.read_inputs(bench.task(WORDS.lazy(), wanted), port=FILES)
    assert many.frames["words"].n_chunks() == 20
    assert_frame_equal(few.frames["words"], many.frames["words"])


def test_a_lost_row_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.task(WORDS.lazy(), bench.leaf("words", FIRST, SECOND))
    monkeypatch.setattr("minispark.task.inputs.pl.concat", lambda frames, **_: frames[0])
    with pytest.raises(AssertionError, match="3 rows where 5 were promised"):
        run_task(spec, fetch=FETCH)


PLANNED = (("word", "String"), ("n", "Int64"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (WORDS.lazy().select("n", "word"), "the columns ['n', 'word'], not ['word', 'n']"),
        (WORDS.lazy().select("word"), "the columns ['word'], not ['word', 'n']"),
        (WORDS.lazy().with_columns(pl.col("n").cast(pl.Int32)), "column 'n' as Int32, not Int64"),
    ],
)
@pytest.mark.parametrize("kind", OutputKind)
def test_rows_that_are_not_what_the_stage_promises_are_written_nowhere(
    bench: Bench, tmp_path: Path, kind: OutputKind, query: pl.LazyFrame, said: str
) -> None:
    sink = SinkSpec("csv", str(tmp_path / "out")) if kind is OutputKind.SINK else None
    keys = (pl.col("word").meta.serialize(),) if kind is OutputKind.HASH else ()
    output = Output(kind, 2 if keys else 1, keys, sink, columns=PLANNED)
    inputs = bench.leaf("words", FIRST)
    before = sorted(tmp_path.rglob("*"))
    outcome = attempt(bench.task(query, inputs, output=output), fetch=FETCH)
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, TaskError)
    assert outcome.failure.error.code == "MS-219"
    assert outcome.failure.error.message == f"stage 9 gave {said}; nothing was written"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("partitions", [3, 20])
def test_a_split_that_loses_rows_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    output = Output(OutputKind.HASH, partitions, (pl.col("word").meta.serialize(),))
    spec = bench.task(WORDS.lazy(), bench.leaf("words", FIRST), output=output)
    monkeypatch.setattr(exchanges, "_parts", lambda frame, place, count: [frame.head(1)] * 2)
    with pytest.raises(JobFailedError, match="the split of 3 rows by key has 2 rows"):
        run_task(spec, fetch=FETCH)


def test_a_column_that_was_not_sent_cannot_be_read(bench: Bench) -> None:
    spec = bench.task(WORDS.lazy(), bench.leaf("words", FIRST.select("word")))
    outcome = attempt(spec, fetch=FETCH)
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, TaskError)
    assert "column 'n' is read, which" in outcome.failure.error.message


@pytest.mark.parametrize("partitions", [1, 3, 20])
def test_rows_go_where_their_key_says(bench: Bench, rows_of: RowsOf, partitions: int) -> None:
    output = Output(OutputKind.HASH, partitions, (pl.col("word").meta.serialize(),))
    spec = bench.task(WORDS.lazy(), bench.leaf("words", FIRST, SECOND), output=output)
    report = run_task(spec, fetch=FETCH)
    assert report.block.rows == 5
    parts = [part for part in rows_of(spec, report) if part.height]
    assert_frame_equal(pl.concat(parts), BOTH, check_row_order=False)
    places = [set(part["word"]) for part in parts]
    assert sum(map(len, places)) == 3


def test_a_reader_takes_only_its_partition(bench: Bench, rows_of: RowsOf) -> None:
    output = Output(OutputKind.HASH, 4, (pl.col("word").meta.serialize(),))
    first = bench.task(WORDS.lazy(), bench.leaf("words", FIRST, SECOND), output=output)
    parts = exchange_of(output).split(BOTH)
    run_task(first, fetch=FETCH)
    for number, part in enumerate(parts):
        blocks = (bench.block(*parts, partition=number),)
        wanted = replace(bench.leaf("words"), blocks=blocks)
        spec = bench.task(WORDS.lazy(), wanted, attempt=number + 1)
        assert_frame_equal(rows_of(spec, run_task(spec, fetch=FETCH))[0], part)


def test_nodes_are_counted_anew_for_each_task(bench: Bench) -> None:
    plan = counted(counted(WORDS.lazy(), "read").filter(pl.col("n") > 3), "big")
    spec = bench.task(plan, bench.leaf("words", FIRST, SECOND))
    for number in range(2):
        again = replace(spec, key=spec.key._replace(attempt=number))
        assert run_task(again, fetch=FETCH).nodes == {"read": 5, "big": 2}


def scan_of(path: Path, form: ScanFormat = ScanFormat.CSV) -> ScanTask:
    found = path.stat()
    split = Split(str(path), 0, found.st_size, found.st_size, found.st_mtime_ns)
    return ScanTask("words", ScanSpec(form), (split,))


def test_splits_of_files_are_read(bench: Bench, rows_of: RowsOf, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    FIRST.write_csv(path)
    spec = bench.task(WORDS.lazy().filter(pl.col("n") > 1), scans=[scan_of(path)])
    report = run_task(spec, fetch=FETCH)
    assert_frame_equal(rows_of(spec, report)[0], FIRST.filter(pl.col("n") > 1))
    assert report.bytes_read == path.stat().st_size


def test_the_bytes_of_a_parquet_file_are_counted_once() -> None:
    scans = [
        ScanTask("a", ScanSpec(form), (Split("f", start, end, 500, 0),))
        for form, start, end in (
            (ScanFormat.PARQUET, 0, 10),
            (ScanFormat.PARQUET, 10, 20),
            (ScanFormat.QUOTES, 0, 100),
            (ScanFormat.TEXT, 20, 100),
        )
    ]
    assert inputs.bytes_read(scans) == 580


def test_a_changed_input_file_cannot_pass(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    FIRST.write_csv(path)
    spec = bench.task(WORDS.lazy(), scans=[scan_of(path)])
    BOTH.write_csv(path)
    outcome = attempt(spec, fetch=FETCH)
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, TaskError)
    assert not outcome.failure.transient
    assert outcome.failure.error.file == str(path)


def test_a_bad_record_of_a_file_is_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("word,n\na,1\nb,two\nc,3\n")
    failure = failed(attempt(bench.task(WORDS.lazy(), scans=[scan_of(path)]), fetch=FETCH))
    assert not failure.transient
    error = failure.error
    assert (error.file, error.row, error.field) == (str(path), 2, "n")
    assert "'two'" in error.message


def test_what_the_fragment_cannot_do_is_not_blamed_on_the_file(
    bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "words.csv"
    FIRST.write_csv(path)
    plan = WORDS.lazy().select(pl.col("word").cast(pl.Int32))
    failure = failed(attempt(bench.task(plan, scans=[scan_of(path)]), fetch=FETCH))
    assert failure.error.code == "MS-211"
    assert failure.error.file is None


def test_a_sink_leaves_a_staged_file_and_no_rows(bench: Bench, tmp_path: Path) -> None:
    output = Output(OutputKind.SINK, sink=SinkSpec("jsonl", "out"))
    wanted = bench.leaf("words", FIRST, SECOND)
    spec = bench.task(WORDS.lazy(), wanted, output=output, partition=3, data_root=tmp_path)
    report = run_task(spec, fetch=FETCH)
    assert report.block.rows == report.block.bytes == 0
    assert report.sink is not None
    assert (report.sink.final, report.sink.rows) == ("part-00003.jsonl", 5)
    assert_frame_equal(pl.read_ndjson(tmp_path / "out" / report.sink.staged), BOTH)
    nothing = bench.task(
        WORDS.lazy(), bench.leaf("words"), output=output, partition=4, data_root=tmp_path
    )
    assert run_task(nothing, fetch=FETCH).sink is None


def failed(outcome: TaskReport | TaskFailure) -> TaskError:
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, TaskError)
    return outcome.failure


def test_a_lost_block_names_the_task_that_made_it(bench: Bench) -> None:
    wanted = bench.leaf("words", FIRST, SECOND, stage=7)
    bench.store.delete([wanted.blocks[1].key])
    outcome = attempt(bench.task(WORDS.lazy(), wanted), fetch=FETCH)
    assert isinstance(outcome, TaskFailure)
    failure = outcome.failure
    assert isinstance(failure, FetchFailed)
    lost = wanted.blocks[1].key
    assert (failure.stage, failure.generation, failure.partition, failure.attempt) == (
        lost.stage,
        lost.generation,
        lost.partition,
        lost.attempt,
    )
    assert failure.job == lost.job
    assert outcome.inputs == (InputGeneration(7, 0),)


def fails(batch: pl.DataFrame) -> pl.DataFrame:
    return batch.with_columns(n=divide(batch.height, 0))


def divide(a: int, b: int) -> pl.Expr:
    return pl.lit(a // b)


def leaves(batch: pl.DataFrame) -> pl.DataFrame:
    raise SystemExit(3)


def test_a_users_exception_comes_with_the_users_frames_only(bench: Bench) -> None:
    plan = WORDS.lazy().map_batches(fails, schema=SCHEMA)
    failure = failed(attempt(bench.task(plan, bench.leaf("words", FIRST)), fetch=FETCH))
    assert failure.error.message.startswith("ZeroDivisionError: integer division or modulo")
    detail = failure.error.detail
    assert detail is not None
    assert "in fails" in detail
    assert "in divide" in detail
    assert "polars" not in detail
    assert "minispark" not in detail.replace(str(Path(__file__).parent), "")
    assert detail.splitlines()[-1] == failure.error.message
    assert not failure.transient


def test_a_function_that_leaves_ends_the_task_only(bench: Bench) -> None:
    plan = WORDS.lazy().map_batches(leaves, schema=SCHEMA)
    failure = failed(attempt(bench.task(plan, bench.leaf("words", FIRST)), fetch=FETCH))
    assert failure.error.message == "SystemExit: 3"


def test_bad_data_is_one_sentence(bench: Bench) -> None:
    plan = WORDS.lazy().select(pl.col("word").cast(pl.Int32))
    failure = failed(attempt(bench.task(plan, bench.leaf("words", FIRST)), fetch=FETCH))
    assert "\n" not in failure.error.message
    assert "conversion from `str` to `i32` failed" in failure.error.message
    assert failure.error.detail is None


def test_a_fragment_that_is_none_is_an_error(bench: Bench) -> None:
    spec = replace(bench.task(WORDS.lazy()), fragment=b"nonsense")
    assert "\n" not in failed(attempt(spec, fetch=FETCH)).error.message


def test_a_full_disk_may_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.arrow")

    monkeypatch.setattr(port, "write_block", full)
    failure = failed(attempt(bench.task(WORDS.lazy(), bench.leaf("words", FIRST)), fetch=FETCH))
    assert failure.transient
    assert failure.error.message == "No space left on device: /data/x.arrow"
    assert failure.error.hint == "free some space"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_sink_on_a_full_disk_may_pass(
    bench: Bench, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "minispark.task.sinks.WRITERS",
        {
            "csv": lambda frame, _: frame.write_csv("/dev/full"),
            "jsonl": lambda frame, _: frame.write_ndjson("/dev/full"),
            "parquet": lambda frame, _: frame.write_parquet("/dev/full"),
        },
    )
    output = Output(OutputKind.SINK, sink=SinkSpec(form, "out"))
    wanted = bench.leaf("words", pl.concat([FIRST] * 5000))
    root = bench.store.directory
    spec = bench.task(WORDS.lazy(), wanted, output=output, data_root=root)
    failure = failed(attempt(spec, fetch=FETCH))
    assert failure.transient
    assert failure.error.message == "No space left on device"


def test_a_file_that_is_not_there_is_named(bench: Bench) -> None:
    plan = pl.scan_parquet("/nowhere/at/all.parquet", schema=SCHEMA)
    failure = failed(attempt(bench.task(plan), fetch=FETCH))
    assert failure.transient
    assert failure.error.file is not None
    assert "/nowhere/at/all.parquet" in failure.error.file
    assert failure.error.message == f"No such file or directory: {failure.error.file}"


def test_an_interrupt_is_not_swallowed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(port, "write_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attempt(bench.task(WORDS.lazy(), bench.leaf("words", FIRST)), fetch=FETCH)


def test_a_panic_of_polars_is_a_failure_not_the_end(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    # Polars 2.1 panics on arrays of width 0 that come from Arrow; should it learn to, take another.
    import pyarrow as pa

    with pytest.raises(BaseException) as caught:
        pl.from_arrow(pa.table({"a": pa.array([[], []], pa.list_(pa.int8(), 0))}).slice(1))
    assert not isinstance(caught.value, Exception)
    failure = failure_of(caught.value)
    assert isinstance(failure, TaskError)
    assert failure.error.code == "MS-215"
    assert failure.error.message.startswith("Polars stopped with an internal error: ")
    capfd.readouterr()


def test_errors_of_ours_keep_what_they_say() -> None:
    error = JobFailedError("a clear sentence", code="MS-230", file="a.csv", row=3)
    assert failure_of(error) == TaskError(
        ErrorInfo("MS-230", "a clear sentence", file="a.csv", row=3)
    )
    assert failure_of(MemoryError()) == TaskError(
        ErrorInfo(
            "MS-213",
            "the task ran out of memory",
            exception="MemoryError",
            exception_message="",
        ),
        transient=True,
    )


def test_sentences_are_short() -> None:
    assert first_line(ValueError("")) == ""
    assert first_line(ValueError("one\ntwo")) == "one"
    assert len(first_line(ValueError("x" * 10_000))) < 310


def test_failures_and_lost_blocks_travel_between_processes(bench: Bench) -> None:
    key = bench.leaf("words", FIRST).blocks[0].key
    back = pickle.loads(pickle.dumps(BlockUnavailable(key, "gone")))  # noqa: S301
    assert (back.key, back.reason, str(back)) == (key, "gone", f"block {key.block_id}: gone")
