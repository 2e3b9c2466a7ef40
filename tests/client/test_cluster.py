import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal
from tests.engines.failing import FAILING, check_same_failure

import minispark as ms
from minispark.client import LocalCluster, MasterClient
from minispark.engines.cluster import ClusterRunner
from minispark.errors import (
    JobFailedError,
    MasterUnreachableError,
    MinisparkError,
    UsageError,
)
from minispark.observe.views import ENDED, JobView
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import SinkSpec, StageGraph
from minispark.settings import PlanSettings

pytestmark = pytest.mark.process


def plan(frame: pl.LazyFrame, sink: SinkSpec | None = None) -> StageGraph:
    settings = PlanSettings(parallelism=4, single_task_bytes=0)
    return plan_outputs([PlanOutput("result", frame, sink)], settings=settings)


@pytest.fixture
def runner(cluster: LocalCluster) -> Iterator[ClusterRunner]:
    made = ClusterRunner(cluster.url, cluster.token)
    yield made
    made.close()


@pytest.fixture
def sales(tmp_path: Path) -> pl.LazyFrame:
    for part in range(4):
        frame = pl.DataFrame({"sku": [f"s{n % 7}" for n in range(500)], "qty": range(500)})
        frame.write_parquet(tmp_path / f"{part}.parquet")
    return pl.scan_parquet(tmp_path / "*.parquet")


def total(sales: pl.LazyFrame) -> pl.LazyFrame:
    return sales.group_by("sku").agg(pl.col("qty").sum(), pl.len()).sort("sku")


def napping(seconds: float, mark: Path) -> pl.LazyFrame:
    def nap(frame: pl.DataFrame) -> pl.DataFrame:
        mark.touch()
        time.sleep(seconds)
        return frame

    return pl.LazyFrame({"a": [1]}).map_batches(nap, schema={"a": pl.Int64})


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_the_engine_gives_what_polars_gives(cluster: LocalCluster, sales: pl.LazyFrame) -> None:
    engine = ms.Engine(cluster.url, token=cluster.token, parallelism=4, progress=False)
    expected = total(sales).collect(engine="in-memory")
    found = total(sales).collect(engine=engine)
    assert_frame_equal(found, expected)
    assert found.schema == expected.schema


def test_results_come_through_the_master_where_workers_cannot_be_reached(
    runner: ClusterRunner, sales: pl.LazyFrame
) -> None:
    runner._reads_blocks = False
    outcome = runner.run(plan(total(sales)), name="far away")
    assert_frame_equal(outcome.frame(), total(sales).collect(engine="in-memory"))


def test_blocks_of_another_host_come_over_http(runner: ClusterRunner, sales: pl.LazyFrame) -> None:
    runner._fetch = type(runner._fetch)(token=runner.client.token, host="elsewhere")
    outcome = runner.run(plan(total(sales)), name="another host")
    assert_frame_equal(outcome.frame(), total(sales).collect(engine="in-memory"))
    assert runner._reads_blocks


def test_what_a_job_did_can_be_asked(
    runner: ClusterRunner, sales: pl.LazyFrame, tmp_path: Path
) -> None:
    views: list[JobView] = []
    outcome = runner.run(plan(total(sales)), name="asked", progress=views.append)
    assert views[-1].status == "SUCCEEDED"
    assert len({view.version for view in views}) == len(views)
    summary = outcome.summary()
    assert summary.workers == 2
    assert summary.metrics.tasks_done == summary.metrics.tasks
    assert summary.stages
    assert outcome.job_id in [view.job_id for view in runner.client.jobs(limit=100)]
    saved = tmp_path / "result.csv"
    assert runner.client.save_results(outcome.job_id, saved, format="csv") == saved.stat().st_size
    assert pl.read_csv(saved)["qty"].to_list() == outcome.frame()["qty"].to_list()


def test_a_sink_is_written(runner: ClusterRunner, sales: pl.LazyFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = runner.run(plan(sales, SinkSpec("parquet", str(out))), name="write")
    assert outcome.sinks == {"result": str(out)}
    assert (out / "_SUCCESS").exists()
    assert pl.read_parquet(out / "*.parquet").height == 2_000


def test_errors_are_typed(runner: ClusterRunner, tmp_path: Path) -> None:
    bad = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(JobFailedError, match="conversion"):
        runner.run(plan(bad), name="bad")
    with pytest.raises(UsageError):
        runner.client.job("job-none-1-1")
    with pytest.raises(UsageError):
        runner.client.save_results("job-none-1-1", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_token_is_explained(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MINISPARK_TOKEN", "wrong")
    with MasterClient(cluster.url) as client, pytest.raises(UsageError) as caught:
        client.jobs()
    assert "MINISPARK_TOKEN" in (caught.value.info.hint or "")
    assert str(tmp_path) in (caught.value.info.hint or "")


def test_no_master_is_explained(cluster: LocalCluster) -> None:
    nowhere = MasterClient("http://127.0.0.1:1", token=cluster.token)
    with nowhere as client, pytest.raises(MasterUnreachableError) as caught:
        client.jobs()
    assert "minispark master" in (caught.value.info.hint or "")


def test_the_same_key_gives_the_same_job(runner: ClusterRunner) -> None:
    graph = plan(pl.LazyFrame({"a": [1]}))
    first = runner.client.submit_planned(graph, name="once", key="k1")
    assert runner.client.submit_planned(graph, name="once", key="k1") == first
    assert runner.client.submit_planned(graph, name="once", key="k2") != first


def test_a_job_can_be_cancelled(runner: ClusterRunner, tmp_path: Path) -> None:
    mark = tmp_path / "running"
    job = runner.client.submit_planned(plan(napping(60, mark)), name="nap")
    wait_for(mark.exists, "the task never started")
    runner.client.cancel(job)
    assert runner.client.wait(job).status == "CANCELLED"
    # The slot is free again.
    assert runner.run(plan(pl.LazyFrame({"a": [1]})), name="after").frame().height == 1


def test_an_interrupt_cancels_the_job(runner: ClusterRunner, tmp_path: Path) -> None:
    mark = tmp_path / "running"

    def interrupt(view: JobView) -> None:
        if view.status == "RUNNING":
            wait_for(mark.exists, "the task never started")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(plan(napping(60, mark)), name="interrupted", progress=interrupt)
    [job] = [view for view in runner.client.jobs(limit=100) if view.name == "interrupted"]
    assert runner.client.wait(job.job_id).status == "CANCELLED"


def test_a_killed_worker_costs_time_and_not_the_answer(sales: pl.LazyFrame, tmp_path: Path) -> None:
    def slowly(frame: pl.DataFrame) -> pl.DataFrame:
        (tmp_path / "running").touch()
        time.sleep(0.3)
        return frame

    slow = sales.map_batches(slowly, schema={"sku": pl.String, "qty": pl.Int64})
    with LocalCluster(2, master_options=["--heartbeat-timeout", "3"]) as cluster:
        runner = ClusterRunner(cluster.url, cluster.token)
        done = {}

        def work() -> None:
            done["frame"] = runner.run(plan(total(slow)), name="killed").frame()

        thread = threading.Thread(target=work)
        thread.start()
        wait_for((tmp_path / "running").exists, "no task started")
        victim = cluster.workers[0]
        children = psutil.Process(victim.pid).children(recursive=True)
        victim.kill()
        thread.join(60)
        assert_frame_equal(done["frame"], total(sales).collect(engine="in-memory"))
        assert psutil.wait_procs(children, timeout=60)[1] == []
        runner.close()


def test_clients_and_workers_find_a_master_that_comes_back(tmp_path: Path) -> None:
    with LocalCluster(1) as cluster:
        runner = ClusterRunner(cluster.url, cluster.token)
        mark = tmp_path / "running"
        job = runner.client.submit_planned(plan(napping(1, mark)), name="survivor")
        wait_for(mark.exists, "the task never started")
        ends = []
        waiting = threading.Thread(target=lambda: ends.append(runner.client.wait(job).status))
        waiting.start()
        assert cluster.master is not None
        cluster.master.kill()
        cluster.start_master(port=int(cluster.url.rpartition(":")[2]))
        waiting.join(60)
        assert ends
        assert ends[0] in ENDED
        cluster.wait_for_workers(1)
        assert runner.run(plan(pl.LazyFrame({"a": [1]})), name="new").frame().rows() == [(1,)]
        runner.close()


def test_nothing_is_left_of_a_cluster() -> None:
    with LocalCluster(1) as cluster:
        assert cluster.master is not None
        pids = [cluster.master.pid, *(worker.pid for worker in cluster.workers)]
        family = [psutil.Process(pid) for pid in pids]
        family += [child for process in family for child in process.children(recursive=True)]
        directory = cluster.directory
        assert json.dumps(cluster.logs())
    assert not directory.exists()
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_a_process_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(MinisparkError, match="master ended") as caught:
        LocalCluster(0, master_options=["--no-such-option"], directory=tmp_path / "c").start()
    assert "no-such-option" in (caught.value.info.detail or "")


@pytest.mark.parametrize("name", FAILING)
def test_an_error_of_a_worker_is_also_what_polars_raises(
    cluster: LocalCluster, tmp_path: Path, name: str
) -> None:
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
    error = check_same_failure(name, tmp_path, engine, MinisparkError)
    if isinstance(error, JobFailedError):
        assert error.info.stage is not None
        assert error.job_id is not None
        assert cluster.client.job(error.job_id).error == error.info
