"""Every method of Polars' engine interface does what Polars' own engine does."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.io.partition import SinkedPathsCallbackArgs
from polars.testing import assert_frame_equal

import minispark as ms
from minispark.engines import polars_engine
from minispark.engines.local import LocalRunner
from minispark.errors import JobCancelledError, UnsupportedError, UsageError
from minispark.plan.stages import StageGraph

pytestmark = [
    pytest.mark.polars_contract,
    pytest.mark.filterwarnings("ignore::polars.exceptions.UnstableWarning"),
]

ROWS = pl.DataFrame({"key": [f"k{n % 3}" for n in range(60)], "n": range(60)})
TOTALS = ROWS.lazy().group_by("key").agg(pl.col("n").sum()).sort("key")
READERS: dict[str, Callable[[Any], pl.DataFrame]] = {
    "parquet": pl.read_parquet,
    "ipc": pl.read_ipc,
    "csv": pl.read_csv,
    "ndjson": pl.read_ndjson,
}


@pytest.fixture(params=[True, False], ids=["processes", "whole"])
def engine(request: pytest.FixtureRequest, jobs: list[StageGraph]) -> Iterator[ms.Engine]:
    """An engine that runs a query in processes, and one that runs it in this process."""
    yield ms.Engine(processes=request.param, parallelism=3, progress=False)
    assert bool(jobs) == request.param


def test_a_query_in_the_background(engine: ms.Engine) -> None:
    query = TOTALS.collect(engine=engine, background=True)
    assert_frame_equal(query.fetch_blocking(), TOTALS.collect())
    later = query.fetch()
    assert later is not None
    assert_frame_equal(later, TOTALS.collect())
    query.cancel()


def test_a_query_in_the_background_can_be_cancelled(jobs: list[StageGraph], tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go on"

    def wait(column: pl.Series) -> pl.Series:
        begun.touch()
        while not go_on.exists():
            threading.Event().wait(0.01)
        return column

    frame = ROWS.lazy().select(pl.col("n").map_batches(wait, return_dtype=pl.Int64))
    query = frame.collect(engine=ms.Engine(progress=False), background=True)
    _wait_until(begun.exists)
    assert query.fetch() is None
    query.cancel()
    with pytest.raises(JobCancelledError):
        query.fetch_blocking()
    go_on.touch()


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("the condition did not come true in 60 s")


def test_an_error_in_the_background_is_raised_where_it_is_fetched(engine: ms.Engine) -> None:
    frame = ROWS.lazy().select(pl.col("key").cast(pl.Int64))
    query = frame.collect(engine=engine, background=True)
    with pytest.raises(pl.exceptions.InvalidOperationError):
        query.fetch_blocking()


def test_several_queries_are_one_job(engine: ms.Engine, jobs: list[StageGraph]) -> None:
    queries = [TOTALS, TOTALS.select(pl.col("n").max()), ROWS.lazy().head(4)]
    found = pl.collect_all(queries, engine=engine)
    for frame, query in zip(found, queries, strict=True):
        assert_frame_equal(frame, query.collect())
    assert len(jobs) <= 1
    assert pl.collect_all([], engine=engine) == []


def test_what_several_queries_share_runs_once(jobs: list[StageGraph]) -> None:
    engine = ms.Engine(processes=True, parallelism=3, progress=False)
    pl.collect_all([TOTALS.filter(pl.col("n") > 9), TOTALS.select("n")], engine=engine)
    assert [stage.name for stage in jobs[0].stages].count("group_by") <= 1


def test_awaitable_queries(engine: ms.Engine) -> None:
    async def collect() -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        one = await TOTALS.collect_async(engine=engine)
        return one, await pl.collect_all_async([TOTALS, TOTALS.head(1)], engine=engine)

    one, both = asyncio.run(collect())
    expected = TOTALS.collect()
    assert_frame_equal(one, expected)
    assert_frame_equal(both[0], expected)
    assert_frame_equal(both[1], expected.head(1))


def test_a_query_that_ends_after_its_event_loop_is_left_alone(
    engine: ms.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    waiting, go_on = threading.Event(), threading.Event()
    collect = polars_engine.Engine._collect

    def late(*arguments: Any, **options: Any) -> list[pl.DataFrame]:
        frames = collect(*arguments, **options)
        waiting.set()
        assert go_on.wait(60)
        return frames

    async def begin() -> None:
        TOTALS.collect_async(engine=engine)

    monkeypatch.setattr(polars_engine.Engine, "_collect", late)
    asyncio.run(begin())
    assert waiting.wait(60)
    (query,) = [thread for thread in threading.enumerate() if thread.name == "minispark-query"]
    go_on.set()
    query.join(60)
    assert errors == []


def test_an_awaited_error_is_raised(engine: ms.Engine) -> None:
    async def collect() -> None:
        await ROWS.lazy().select(pl.col("key").cast(pl.Int64)).collect_async(engine=engine)

    with pytest.raises(pl.exceptions.InvalidOperationError):
        asyncio.run(collect())


def test_a_result_is_read_as_often_as_one_likes(engine: ms.Engine, jobs: list[StageGraph]) -> None:
    result = ROWS.lazy().sort("n", descending=True).execute(engine=engine)
    ran = len(jobs)
    assert result.n_rows_total == 60
    assert result.head is not None
    assert result.head["n"].to_list() == [59, 58, 57, 56, 55]
    for _ in range(2):
        assert result.lazy().filter(pl.col("n") < 3).collect()["n"].to_list() == [2, 1, 0]
    assert "59" in repr(result)
    assert len(jobs) == ran


def test_a_result_is_the_input_of_a_query(jobs: list[StageGraph]) -> None:
    engine = ms.Engine(processes=True, parallelism=3, progress=False)
    scan = pl.concat([ROWS.lazy(), ROWS.lazy()]).with_columns(n=pl.col("n") * 2)
    rows = scan.execute(engine=engine).lazy()
    totals = rows.group_by("key").agg(pl.col("n").sum()).sort("key")
    expected = scan.group_by("key").agg(pl.col("n").sum()).sort("key").collect()
    assert_frame_equal(totals.collect(engine=engine), expected)
    assert_frame_equal(totals.collect(), expected)
    assert jobs[1].stages[0].partitions == 3
    # Its bytes are those of the blocks: no plan holds the rows.
    assert all(len(branch.fragment) < 4_000 for branch in jobs[1].stages[0].branches)
    both = rows.join(rows, on="n").select(pl.len())
    assert both.collect(engine=engine).item() == 4 * ROWS.height


def test_the_blocks_of_a_result_stay_until_it_is_dropped(
    runner: LocalRunner, jobs: list[StageGraph]
) -> None:
    engine = ms.Engine(processes=True, parallelism=3, progress=False)
    before = _block_files(runner)
    rows = ROWS.lazy().execute(engine=engine).lazy()
    assert jobs
    assert _block_files(runner) - before
    del rows
    _wait_until(lambda: not _block_files(runner) - before)


def _block_files(runner: LocalRunner) -> set[Path]:
    stores = runner._block_dirs._stores.values()
    return {file for store in stores for file in store.directory.iterdir()}


def test_batches(engine: ms.Engine) -> None:
    frame = ROWS.lazy().sort("n")
    batches = list(frame.collect_batches(engine=engine, chunk_size=25))
    assert_frame_equal(pl.concat(batches), ROWS)
    seen: list[pl.DataFrame] = []
    frame.sink_batches(seen.append, engine=engine, chunk_size=25)
    assert_frame_equal(pl.concat(seen), ROWS)
    assert max(batch.height for batch in batches) <= 25


@pytest.mark.parametrize("kind", READERS)
def test_a_file(engine: ms.Engine, tmp_path: Path, kind: str) -> None:
    sink = getattr(TOTALS, f"sink_{kind}")
    target, buffer = tmp_path / "new" / f"out.{kind}", io.BytesIO()
    sink(target, engine=engine, mkdir=True)
    sink(target, engine=engine)
    sink(buffer, engine=engine)
    buffer.seek(0)
    for source in (target, buffer):
        assert_frame_equal(READERS[kind](source), TOTALS.collect())
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("kind", READERS)
def test_partitions(engine: ms.Engine, tmp_path: Path, kind: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    frame = ROWS.lazy()
    getattr(frame, f"sink_{kind}")(pl.PartitionBy(ours, key="key"), engine=engine)
    getattr(frame, f"sink_{kind}")(pl.PartitionBy(theirs, key="key"))
    assert _files(ours) == _files(theirs)


def _files(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_a_callback_is_given_relative_paths_as_they_are_written(
    engine: ms.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[list[str]] = []
    for chosen in (engine, "streaming"):
        seen.append([])
        ROWS.lazy().sink_parquet(
            pl.PartitionBy("parts", key="key"),
            engine=chosen,
            sinked_paths_callback=lambda args: seen[-1].extend(one.path for one in args.paths),
        )
    assert sorted(seen[0]) == sorted(seen[1])


def test_a_callback_is_given_the_final_paths(engine: ms.Engine, tmp_path: Path) -> None:
    seen: list[str] = []

    def note(args: SinkedPathsCallbackArgs) -> None:
        seen.extend(one.path for one in args.paths)

    one = tmp_path / "one.parquet"
    TOTALS.sink_parquet(one, engine=engine, sinked_paths_callback=note)
    parts = pl.PartitionBy(tmp_path / "parts", key="key")
    ROWS.lazy().sink_parquet(parts, engine=engine, sinked_paths_callback=note)
    assert seen[0] == str(one)
    assert sorted(seen[1:]) == [
        str(path) for path in sorted((tmp_path / "parts").rglob("*.parquet"))
    ]


@pytest.mark.parametrize("target", ["file", "partitions"])
def test_a_failed_query_leaves_what_was_there(
    engine: ms.Engine, tmp_path: Path, target: str
) -> None:
    place: Any = tmp_path / "out.csv"
    place.write_text("before")
    bad = ROWS.lazy().with_columns(pl.col("key").cast(pl.Int64))
    if target == "partitions":
        place = pl.PartitionBy(tmp_path, max_rows_per_file=7)
    with pytest.raises(pl.exceptions.InvalidOperationError):
        bad.sink_csv(place, engine=engine)
    assert _files(tmp_path) == {"out.csv": b"before"}


def test_a_link_and_a_device_are_written_through(engine: ms.Engine, tmp_path: Path) -> None:
    link, real = tmp_path / "link.csv", tmp_path / "real.csv"
    real.touch()
    link.symlink_to(real)
    TOTALS.sink_csv(link, engine=engine)
    assert link.is_symlink()
    assert_frame_equal(pl.read_csv(real), TOTALS.collect())
    TOTALS.sink_csv("/dev/null", engine=engine)
    assert not Path("/dev/null").is_file()


def test_a_private_file_stays_private(engine: ms.Engine, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.touch(mode=0o600)
    TOTALS.sink_csv(path, engine=engine)
    assert path.stat().st_mode & 0o777 == 0o600
    assert_frame_equal(pl.read_csv(path), TOTALS.collect())


def test_names_of_any_length(engine: ms.Engine, tmp_path: Path) -> None:
    path = tmp_path / f"{'long' * 62}.csv"
    TOTALS.sink_csv(path, engine=engine)
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_no_file(engine: ms.Engine, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        TOTALS.sink_csv(f"{tmp_path}/out/", engine=engine)


def test_a_missing_directory_is_named_as_polars_names_it(engine: ms.Engine, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no/out\.csv"):
        TOTALS.sink_csv(tmp_path / "no" / "out.csv", engine=engine)


def test_a_lazy_sink_runs_in_this_process_or_not_at_all(
    jobs: list[StageGraph], tmp_path: Path
) -> None:
    sink = TOTALS.sink_csv(tmp_path / "out.csv", lazy=True)
    pl.collect_all([sink], engine=ms.Engine(processes=True, progress=False))
    assert jobs == []
    assert_frame_equal(pl.read_csv(tmp_path / "out.csv"), TOTALS.collect())
    with pytest.raises(UnsupportedError, match="lazy sink"):
        sink.collect(engine=ms.Engine("http://127.0.0.1:1", token="t" * 24))


def test_a_sink_that_a_function_adds_writes_to_the_buffer_of_the_user(
    jobs: list[StageGraph],
) -> None:
    buffer = io.BytesIO()
    sink = TOTALS.pipe_with_schema(lambda rows, _: rows.sink_parquet(buffer, lazy=True))
    sink.collect(engine=ms.Engine(processes=True, progress=False))
    assert jobs == []
    buffer.seek(0)
    assert_frame_equal(pl.read_parquet(buffer), TOTALS.collect())
    with pytest.raises(UnsupportedError, match="lazy sink"):
        sink.collect(engine=ms.Engine("http://127.0.0.1:1", token="t" * 24))


def test_a_function_that_gives_no_columns_adds_no_sink(jobs: list[StageGraph]) -> None:
    none = ROWS.lazy().pipe_with_schema(lambda rows, _: rows.select())
    assert none.collect(engine=ms.Engine(processes=True, progress=False)).columns == []
    assert len(jobs) == 1


def test_a_query_whose_columns_polars_cannot_name_runs_in_this_process_or_not_at_all(
    jobs: list[StageGraph],
) -> None:
    rows = ROWS.lazy().select(pl.col("n")._row_encode())
    found = rows.collect(engine=ms.Engine(processes=True, progress=False))
    assert jobs == []
    assert str(found) == str(rows.collect())
    with pytest.raises(UnsupportedError, match="not known: Polars stopped"):
        rows.collect(engine=ms.Engine("http://127.0.0.1:1", token="t" * 24))


def test_a_callback_after_optimization_sees_and_changes_the_whole_plan() -> None:
    def answer(plan: Any) -> None:
        plan.set_udf(lambda *_: pl.DataFrame({"n": [7]}))

    found = (
        ROWS.lazy()
        .select("n")
        .collect(  # type: ignore[call-overload]
            engine=ms.Engine(processes=True), post_opt_callback=answer
        )
    )
    assert found["n"].to_list() == [7]


def test_a_callback_after_optimization_is_refused_on_a_cluster() -> None:
    with pytest.raises(UnsupportedError, match="callback"):
        ms.Engine("http://127.0.0.1:1", token="t" * 24).collect(
            TOTALS, optimizations=pl.QueryOptFlags(), post_opt_callback=lambda *_: None
        )


@pytest.fixture
def gathered(tmp_path: Path) -> pl.LazyFrame:
    """A query over several files with an operator that is not split."""
    for number in range(3):
        ROWS.write_parquet(tmp_path / f"{number}.parquet")
    return pl.scan_parquet(tmp_path / "*.parquet").with_columns(pl.col("n").reverse())


def test_a_large_gather_can_be_refused(gathered: pl.LazyFrame) -> None:
    engine = ms.Engine(parallelism=3, fallback="raise", large_bytes=1)
    with pytest.raises(UsageError, match=r"gathers [\d,]+ bytes: a column needs all rows"):
        gathered.collect(engine=engine)
    assert engine.explain(gathered).graph.stages


def test_a_large_gather_can_warn(gathered: pl.LazyFrame) -> None:
    engine = ms.Engine(parallelism=3, fallback="warn", large_bytes=1)
    with pytest.warns(pl.exceptions.PerformanceWarning, match="gathers"):
        gathered.collect(engine=engine)


def test_what_is_split_or_small_is_not_refused(gathered: pl.LazyFrame, tmp_path: Path) -> None:
    assert gathered.collect(engine=ms.Engine(parallelism=3, fallback="raise")).height == 180
    split = pl.scan_parquet(tmp_path / "*.parquet").group_by("key").agg(pl.col("n").sum())
    engine = ms.Engine(parallelism=3, fallback="raise", large_bytes=1)
    assert split.collect(engine=engine)["n"].sum() == 3 * ROWS["n"].sum()
