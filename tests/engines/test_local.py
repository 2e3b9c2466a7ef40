import gc
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

from minispark.engines import embedded as driver
from minispark.engines.block_dirs import has_room
from minispark.engines.local import LocalRunner
from minispark.errors import JobFailedError, UsageError
from minispark.journal.rows import Row
from minispark.observe.projection import apply
from minispark.observe.record import JobRecord
from minispark.observe.views import JobView
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.leaves import Leaf
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    SinkSpec,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.settings import PlanSettings

SHARED = PlanSettings(parallelism=3, single_task_bytes=0)

# What a job costs and how it goes on is other with faults than without.
unharmed = pytest.mark.parametrize("runner", [LocalRunner], indirect=True)


def plan(frame: pl.LazyFrame, sink: SinkSpec | None = None) -> StageGraph:
    return plan_outputs([PlanOutput("result", frame, sink)], settings=SHARED)


def leaf(name: str, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    return Leaf(name, schema).lazy()


@pytest.fixture
def words(tmp_path: Path) -> pl.LazyFrame:
    for part in range(3):
        rows = [f"w{number % (5 + part)}" for number in range(1_000)]
        pl.DataFrame({"word": rows, "n": range(1_000)}).write_parquet(tmp_path / f"{part}.parquet")
    return pl.scan_parquet(tmp_path / "*.parquet")


@unharmed
def test_a_query_over_an_exchange_gives_what_polars_gives(
    runner: LocalRunner, words: pl.LazyFrame
) -> None:
    query = words.group_by("word").agg(pl.col("n").sum(), pl.len()).sort("word")
    graph = plan(query)
    assert len(graph.stages) > 1

    outcome = runner.run(graph, name="words")

    expected = query.collect(engine="streaming")
    assert_frame_equal(outcome.frame(), expected)
    assert outcome.frame().schema == expected.schema
    summary = outcome.summary()
    assert summary.metrics.tasks_done == sum(stage.partitions for stage in graph.stages)
    assert summary.metrics.retries == 0
    assert outcome.view.progress == 100


@unharmed
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_reader_that_raises_changes_no_result(
    runner: LocalRunner, words: pl.LazyFrame, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    chance, raised = Random(1), [0]

    def sometimes(record: JobRecord, row: Row) -> None:
        if chance.random() < share:
            raised[0] += 1
            raise KeyError("a reader raises")
        apply(record, row)

    query = words.group_by("word").agg(pl.col("n").sum(), pl.len()).sort("word")
    monkeypatch.setattr(driver, "apply", sometimes)
    frame = runner.run(plan(query), name="words").frame()
    assert_frame_equal(frame, query.collect(engine="streaming"))
    assert raised[0] > 2


def test_an_empty_result_keeps_its_dtypes(runner: LocalRunner, words: pl.LazyFrame) -> None:
    query = words.filter(pl.col("n") < 0).group_by("word").agg(pl.col("n").mean())
    frame = runner.run(plan(query), name="none").frame()
    assert frame.schema == query.collect_schema()
    assert frame.height == 0


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("v", ["x", None, "y"], dtype=pl.Categorical),
        pl.Series("v", ["x", None, "y"], dtype=pl.Enum(["y", "x"])),
        pl.Series("v", [1, None, 2], dtype=pl.Decimal(20, 3)),
        pl.Series("v", [1, None, 2], dtype=pl.Int128),
        pl.Series("v", [1, None, 2], dtype=pl.Duration("ms")),
        pl.Series("v", [1, None, 2], dtype=pl.Datetime("ns", "Europe/Berlin")),
        pl.Series("v", [{"a": [1]}, None, {"a": []}]),
        pl.Series("v", [b"\0", None, b""]),
        pl.Series("v", [None, None, None]),
    ],
    ids=lambda series: str(series.dtype)[:20],
)
def test_dtypes_survive(runner: LocalRunner, values: pl.Series) -> None:
    # Long enough to be mapped, where the rows take another way than short ones.
    frame = pl.concat([values.to_frame()] * 20_000)
    assert_frame_equal(runner.run(plan(frame.lazy()), name="dtypes").frame(), frame)


def test_a_hand_made_graph_with_a_hash_exchange(runner: LocalRunner) -> None:
    schema = {"k": pl.Int64(), "v": pl.Int64()}
    source = pl.LazyFrame({"k": [1, 2, 3, 1, 2, 3], "v": [1, 2, 3, 4, 5, 6]}, schema=schema)
    above = leaf("rows", schema).group_by("k").agg(pl.col("v").sum())
    graph = StageGraph(
        stages=(
            Stage(
                0,
                "map",
                (Branch(source.serialize(), 1), Branch(source.serialize(), 1)),
                Output(OutputKind.HASH, 4, (pl.col("k").meta.serialize(),)),
                Label.DETERMINATE,
            ),
            Stage(
                1,
                "reduce",
                (
                    Branch(
                        above.serialize(),
                        4,
                        inputs=(StageInput("rows", 0, ReadMode.PARTITION),),
                    ),
                ),
                Output(OutputKind.SINGLE),
                Label.UNORDERED,
            ),
        ),
        results=(ResultSpec("sums", 1, ("k", "v")),),
    )
    frame = runner.run(graph, name="by hand").frame("sums").sort("k")
    assert frame.rows() == [(1, 10), (2, 14), (3, 18)]


def test_several_results_have_names(runner: LocalRunner) -> None:
    low, high = pl.LazyFrame({"a": [1]}), pl.LazyFrame({"b": [2]})
    outcome = runner.run(
        plan_outputs([PlanOutput("low", low), PlanOutput("high", high)]), name="two"
    )
    assert outcome.nodes == ("low", "high")
    assert outcome.frame("high").rows() == [(2,)]
    with pytest.raises(UsageError, match="single result"):
        outcome.frame()


def test_a_sink_is_published_with_the_job(
    runner: LocalRunner, words: pl.LazyFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    query = words.filter(pl.col("n") < 500)
    outcome = runner.run(plan(query, SinkSpec("csv", str(out))), name="write")
    assert outcome.sinks == {"result": str(out)}
    assert (out / "_SUCCESS").exists()
    written = pl.read_csv(str(out / "*.csv"), schema=query.collect_schema())
    assert_frame_equal(written, query.collect(engine="streaming"))
    with pytest.raises(UsageError, match="were written to"):
        outcome.frame("result")


# Listing the directory leaves its handle to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_sink_that_holds_something_is_refused_before_anything_runs(
    runner: LocalRunner, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        runner.run(plan(pl.LazyFrame({"a": [1]}), SinkSpec("csv", str(tmp_path))), name="no")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_job_leaves_nothing_at_the_sink(runner: LocalRunner, tmp_path: Path) -> None:
    out = tmp_path / "out"
    query = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(JobFailedError, match="conversion"):
        runner.run(plan(query, SinkSpec("csv", str(out))), name="bad")
    assert not out.exists() or list(out.iterdir()) == []


def test_a_users_exception_ends_the_job_with_its_traceback(runner: LocalRunner) -> None:
    def broken(frame: pl.DataFrame) -> pl.DataFrame:
        raise ValueError("no good")

    query = pl.LazyFrame({"a": [1]}).map_batches(broken, schema={"a": pl.Int64})
    with pytest.raises(JobFailedError, match="no good") as caught:
        runner.run(plan(query), name="broken")
    assert "in broken" in (caught.value.info.detail or "")


@unharmed
def test_progress_is_called_in_the_callers_thread_and_only_grows(
    runner: LocalRunner, words: pl.LazyFrame
) -> None:
    seen = []
    runner.run(
        plan(words.group_by("word").len()),
        name="progress",
        progress=lambda view: seen.append((threading.current_thread(), view)),
    )
    assert {thread for thread, _ in seen} == {threading.current_thread()}
    progress = [view.progress for _, view in seen]
    assert progress == sorted(progress)
    assert seen[-1][1].status == "SUCCEEDED"


def test_a_running_task_is_in_the_view(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def hold(batch: pl.DataFrame) -> pl.DataFrame:
        import time

        while not gate.exists():
            time.sleep(0.01)
        return batch

    def opened(view: JobView) -> None:
        # Without progress of the running task the gate stays closed.
        if view.tasks_running:
            gate.touch()

    query = pl.LazyFrame({"a": [1]}).map_batches(hold, schema={"a": pl.Int64})
    with LocalRunner(1, task_timeout_s=60) as runner:
        outcome = runner.run(plan(query), name="held", progress=opened)
    assert (outcome.view.status, outcome.view.tasks_running) == ("SUCCEEDED", 0)


def test_jobs_of_several_threads_run_side_by_side(runner: LocalRunner) -> None:
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        query = pl.LazyFrame({"a": [number]}).select(pl.col("a") * 2)
        results[number] = runner.run(plan(query), name=str(number)).frame()["a"].to_list()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {number: [number * 2] for number in range(8)}


def sleeping(seconds: float, mark: Path) -> pl.LazyFrame:
    def nap(frame: pl.DataFrame) -> pl.DataFrame:
        mark.touch()
        time.sleep(seconds)
        return frame

    return pl.LazyFrame({"a": [1]}).map_batches(nap, schema={"a": pl.Int64})


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_an_interrupt_cancels_the_job(
    runner: LocalRunner, tmp_path: Path, words: pl.LazyFrame
) -> None:
    mark = tmp_path / "running"

    def interrupt_once_running(view: JobView) -> None:
        wait_for(mark.exists, "the task never started")
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(
            plan(pl.concat([pl.LazyFrame({"a": [0]}), sleeping(60, mark)])),
            name="interrupted",
            progress=interrupt_once_running,
        )
    assert time.monotonic() - started < 30
    assert runner.run(plan(words.select(pl.len())), name="after").frame().item() == 3_000


@unharmed
def test_a_killed_executor_costs_an_attempt_and_not_the_job(
    runner: LocalRunner, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"

    def die_once(frame: pl.DataFrame) -> pl.DataFrame:
        if not mark.exists():
            mark.touch()
            os._exit(9)
        return frame

    query = pl.LazyFrame({"a": [1]}).map_batches(die_once, schema={"a": pl.Int64})
    outcome = runner.run(plan(query), name="killed")
    assert outcome.frame().rows() == [(1,)]
    assert outcome.summary().metrics.retries == 1


def test_nothing_is_left_behind(words: pl.LazyFrame) -> None:
    before = set(psutil.Process().children(recursive=True))
    own = LocalRunner(1)
    frame = own.run(plan(words.group_by("word").len()), name="once").frame()
    blocks = [store.directory for store in own._block_dirs._stores.values()]
    assert blocks
    assert [path for directory in blocks for path in directory.iterdir()] == []
    processes = set(psutil.Process().children(recursive=True)) - before
    assert processes
    own.close()
    own.close()
    assert not any(directory.exists() for directory in blocks)
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    assert frame["len"].sum() == 3_000  # still mapped


def test_a_closed_runner_starts_again(words: pl.LazyFrame) -> None:
    with LocalRunner(1) as own:
        own.run(plan(words.select(pl.len())), name="first")
        own.close()
        assert own.run(plan(words.select(pl.len())), name="second").frame().item() == 3_000


def test_memory_is_used_only_where_there_is_plenty(tmp_path: Path) -> None:
    assert has_room(tmp_path, 0)
    assert not has_room(tmp_path, 1 << 60)
    assert not has_room(tmp_path / "missing", 0)


def test_the_error_of_a_job_is_printed_only_by_the_caller(
    tmp_path: Path, words: pl.LazyFrame, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with LocalRunner(1) as own:
        with pytest.raises(UsageError, match="is not empty"):
            own.run(plan(words, SinkSpec("csv", str(tmp_path / "out"))), name="refused")
        gc.collect()
        assert own.run(plan(words.select(pl.len())), name="next").frame().item() == 3_000
    assert caplog.messages == []


@pytest.mark.parametrize("failing", [True, False])
def test_an_output_directory_that_becomes_a_link_ends_only_its_job(
    tmp_path: Path, failing: bool
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()

    def exchange(batch: pl.DataFrame) -> pl.DataFrame:
        (root / "out").symlink_to(outside)
        if failing:
            msg = "this job fails"
            raise ValueError(msg)
        return batch

    frame = pl.LazyFrame({"a": [1]}).map_batches(exchange, schema={"a": pl.Int64})
    with LocalRunner(1, data_root=root) as runner:
        with pytest.raises(JobFailedError, match="this job fails" if failing else "data root"):
            runner.run(plan(frame, SinkSpec("csv", "out")), name="link")
        assert list(outside.iterdir()) == []
        assert runner.run(plan(pl.LazyFrame({"a": [1]})), name="next").frame().rows() == [(1,)]
