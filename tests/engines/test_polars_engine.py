import re
import threading
from collections.abc import Callable
from pathlib import Path

import polars
import polars as pl
import pytest
from polars.exceptions import PanicException
from polars.testing import assert_frame_equal
from tests.engines.failing import FAILING, check_same_failure

import minispark as ms
from minispark.engines import progress
from minispark.engines.base import JobOutcome, JobSummary
from minispark.engines.local import LocalRunner
from minispark.engines.whole import fits_whole
from minispark.errors import JobFailedError, MinisparkError
from minispark.observe.views import JobView, StageProgress
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import JobStatus

pytestmark = pytest.mark.polars_contract

TOKEN = "t" * 24


@pytest.fixture
def sales(tmp_path: Path) -> pl.LazyFrame:
    for part in range(3):
        pl.DataFrame(
            {"sku": [f"s{n % 7}" for n in range(500)], "qty": range(500), "part": [part] * 500}
        ).write_parquet(tmp_path / f"{part}.parquet")
    return pl.scan_parquet(tmp_path / "*.parquet")


QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "aggregate": lambda f: f.group_by("sku").agg(pl.col("qty").sum(), pl.len()).sort("sku"),
    "sort": lambda f: f.sort("qty", "part", descending=True).head(10),
    "join": lambda f: f.join(
        f.group_by("sku").agg(pl.col("qty").max().alias("most")), on="sku"
    ).sort("part", "qty", "sku"),
    "window": lambda f: f.with_columns(pl.col("qty").sum().over("sku")).sort("part", "sku"),
    "head": lambda f: f.head(3),
    "unique": lambda f: f.select("sku").unique().sort("sku"),
    "empty": lambda f: f.filter(pl.col("qty") < 0),
    "sql": lambda f: f.sql("SELECT sku, COUNT(*) AS n FROM self GROUP BY sku ORDER BY sku"),
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("processes", [True, False])
def test_it_gives_what_polars_gives(
    jobs: list[StageGraph], sales: pl.LazyFrame, query: str, processes: bool
) -> None:
    frame = QUERIES[query](sales)
    engine = ms.Engine(processes=processes, parallelism=3, progress=False)
    result = frame.collect(engine=engine)
    expected = frame.collect(engine="in-memory")
    assert_frame_equal(result, expected, check_row_order=query != "window")
    assert result.schema == expected.schema
    assert len(jobs) == int(processes)


def test_optimizations_do_not_change_the_answer(
    jobs: list[StageGraph], sales: pl.LazyFrame
) -> None:
    frame = QUERIES["aggregate"](sales)
    expected = frame.collect(engine="in-memory")
    for engine in (ms.Engine(processes=True, progress=False), ms.Engine()):
        for flags in (pl.QueryOptFlags.none(), pl.QueryOptFlags._eager()):
            assert_frame_equal(frame.collect(engine=engine, optimizations=flags), expected)


def test_python_functions_run_in_processes(jobs: list[StageGraph], sales: pl.LazyFrame) -> None:
    frame = sales.select(pl.col("qty").map_batches(lambda s: s * 2, return_dtype=pl.Int64).sum())
    assert frame.collect(engine=ms.Engine(processes=True, progress=False)).item() == 3 * 499 * 500
    assert len(jobs) == 1


def test_only_a_small_plan_runs_in_this_process(sales: pl.LazyFrame) -> None:
    graph = plan_outputs([PlanOutput("result", sales)])
    assert graph.input_bytes > 0
    assert fits_whole(graph, limit_bytes=graph.input_bytes + 1)
    assert not fits_whole(graph, limit_bytes=graph.input_bytes)


def test_it_can_be_the_engine_of_everything(jobs: list[StageGraph], sales: pl.LazyFrame) -> None:
    engine = ms.Engine(processes=True, parallelism=2, progress=False)
    with pl.Config():
        pl.Config.set_engine_affinity(engine)
        found = QUERIES["aggregate"](sales).collect()
        total = pl.SQLContext(sales=sales).execute("SELECT SUM(qty) AS q FROM sales").collect()
        eager = found.filter(pl.col("qty") > 0).gather_every(2)
    assert_frame_equal(found, QUERIES["aggregate"](sales).collect(engine="in-memory"))
    assert total.item() == 3 * 499 * 500 // 2
    assert eager.height == 4
    assert len(jobs) >= 2


def test_explain_shows_the_stages_of_sql(sales: pl.LazyFrame) -> None:
    engine = ms.Engine(processes=True, parallelism=2, progress=False)
    text = str(engine.explain(QUERIES["sql"](sales)))
    assert "(partial group_by): 2 tasks" in text
    assert "whole:" not in text


def test_a_failing_query_says_why(jobs: list[StageGraph]) -> None:
    frame = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(JobFailedError, match="conversion"):
        frame.collect(engine=ms.Engine(processes=True, progress=False))


def test_every_part_of_the_interface_is_answered() -> None:
    interface = polars.lazyframe.engine.Engine
    public = {name for name in vars(interface) if not name.startswith("_")}
    assert public <= vars(ms.Engine).keys()


def test_a_repr_runs_nothing(jobs: list[StageGraph]) -> None:
    assert repr(ms.Engine()) == "minispark.Engine()"
    assert "embedded" in ms.Engine()._repr_html_()
    assert repr(ms.Engine("http://h:1")) == "minispark.Engine('http://h:1')"
    assert repr(ms.Engine("127.0.0.1:1")) == "minispark.Engine('http://127.0.0.1:1')"
    assert "http://127.0.0.1:1" in ms.Engine("http://127.0.0.1:1", token=TOKEN)._repr_html_()
    assert jobs == []


@pytest.mark.parametrize("runner", [LocalRunner], indirect=True)
def test_the_summary_reads_well(
    jobs: list[StageGraph], sales: pl.LazyFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ms.Engine(processes=True, parallelism=3, progress=True)
    QUERIES["aggregate"](sales).collect(engine=engine)
    said = capsys.readouterr().err
    assert re.fullmatch(r"\d+ rows, 3 stages, \d+\.\d s, 2 workers\n", said), said


def test_the_line_follows_the_job_on_a_terminal(
    jobs: list[StageGraph],
    sales: pl.LazyFrame,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    QUERIES["aggregate"](sales).collect(
        engine=ms.Engine(processes=True, parallelism=3, progress=True)
    )
    said = capsys.readouterr().err
    assert "tasks" in said
    assert "3 stages" in said.splitlines()[-1]


def test_the_line_says_how_far_a_job_is() -> None:
    view = JobView(
        job_id="j",
        name="words",
        status=JobStatus.RUNNING,
        progress=40,
        submitted_at=0,
        stages=[
            StageProgress(id="stage-0", name="map", status="RUNNING", tasks=4, tasks_done=1),
            StageProgress(id="stage-1", name="reduce", status="PENDING", tasks=1, tasks_done=0),
        ],
    )
    assert progress.progress_note(view) == "1/5 tasks"
    known = {"left_s": 41.0, "left_sure": "at least", "bytes_read": 2 * 10**9}
    view = view.model_copy(update={**known, "input_bytes": 8 * 10**9})
    assert progress.progress_note(view) == "1/5 tasks, 2 GB of 8 GB, at least 40 s left"


def test_it_is_silent_off_a_terminal(
    jobs: list[StageGraph], sales: pl.LazyFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    QUERIES["aggregate"](sales).collect(engine=ms.Engine(processes=True))
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999"), (9_999, "9999"), (12_000_000, "12.0 M"), (65_400, "65.4 k")],
)
def test_numbers_are_short(number: int, text: str) -> None:
    assert progress._short(number) == text


def test_the_summary_names_retries(runner: LocalRunner) -> None:
    outcome = runner.run(plan_outputs([PlanOutput("a", pl.LazyFrame({"a": [1]}))]), name="x")
    summary = outcome.summary()
    metrics = summary.metrics.model_copy(
        update={"retries": 1, "input_records": 12_000_000, "stages": 2, "total_time_s": 0.8}
    )
    retried = JobOutcome(
        outcome.job_id,
        outcome.view,
        nodes=(),
        sinks={},
        read=outcome.read,
        scan=outcome.scan,
        summary=lambda: JobSummary(metrics, (), 2),
        report=outcome.report,
    )
    assert progress.summary_line(retried) == "12.0 M rows, 2 stages, 0.8 s, 2 workers, 1 retry"


@pytest.mark.process
@pytest.mark.parametrize("name", FAILING)
def test_an_error_is_also_what_polars_raises(tmp_path: Path, name: str) -> None:
    engine = ms.Engine(processes=True, progress=False)
    error = check_same_failure(name, tmp_path, engine, MinisparkError)
    if isinstance(error, JobFailedError):
        assert error.info.stage is not None
        assert error.job_id is not None
        assert error.job_id in str(error)
    if name == "csv":
        assert f"file {tmp_path / 'bad.csv'}, row 151, field n" in str(error)


def test_a_panic_of_the_streaming_engine_is_no_end() -> None:
    # Polars 2.1 panics in its streaming engine only; should it learn to, take another.
    lists = pl.Series("k", [["a"]], dtype=pl.List(pl.Categorical))
    query = pl.LazyFrame([lists, pl.Series("v", [7])]).group_by("k").agg(pl.col("v").sum())
    with pytest.raises(PanicException):
        query.collect(engine="streaming")
    assert query.collect(engine=ms.Engine()).rows() == [(["a"], 7)]


@pytest.mark.parametrize("processes", [False, True])
def test_what_cannot_leave_this_process_runs_in_it(processes: bool) -> None:
    engine = ms.Engine(processes=processes)
    things = [{1}, {2, 3}, None]
    query = pl.LazyFrame({"o": pl.Series(things, dtype=pl.Object), "n": [1, 2, 3]})
    assert query.filter(pl.col("n") < 3).collect(engine=engine)["o"].to_list() == things[:2]
    lock = threading.Lock()

    def locked(batch: pl.DataFrame) -> pl.DataFrame:
        with lock:
            return batch

    assert query.select("n").map_batches(locked).collect(engine=engine)["n"].to_list() == [1, 2, 3]
