"""An interrupt of a query on a cluster: what becomes of the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import polars as pl
import pytest

from minispark.engines.cluster import ClusterRunner
from minispark.observe.views import JobView
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.scheduler.commands import JobStatus

CLOSED = "http://127.0.0.1:1"
PAGE = f"{CLOSED}/jobs/job-1"


@pytest.fixture
def runner() -> Iterator[ClusterRunner]:
    made = ClusterRunner(CLOSED, "t")
    yield made
    made.close()


def interrupted(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def view(status: JobStatus) -> JobView:
    return JobView(job_id="job-1", name="x", status=status, progress=0, submitted_at=0)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (JobStatus.CANCELLED, "job job-1 is CANCELLED"),
        (JobStatus.SUCCEEDED, "job job-1 is SUCCEEDED"),
        (JobStatus.RUNNING, "job job-1 is being cancelled"),
    ],
)
def test_the_interrupt_says_what_the_master_answers(
    runner: ClusterRunner, monkeypatch: pytest.MonkeyPatch, status: JobStatus, text: str
) -> None:
    monkeypatch.setattr(runner.client, "wait", interrupted)
    monkeypatch.setattr(runner.client, "cancel", lambda _: view(status))
    with pytest.raises(KeyboardInterrupt) as caught:
        runner.wait("job-1")
    assert str(caught.value) == f"{text}\nsee {PAGE}"
    assert type(caught.value) is KeyboardInterrupt, "Python's exit code depends on it"


def test_a_job_that_cannot_be_cancelled_still_runs(
    runner: ClusterRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.client, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        runner.wait("job-1")
    first, last = str(caught.value).splitlines()
    assert first.startswith(f"job job-1 still runs: no master answers at {CLOSED} ")
    assert first.endswith(f"; cancel it with: minispark cancel job-1 --master {CLOSED}")
    assert last == f"see {PAGE}"


def test_a_query_that_may_have_been_sent_is_named(
    runner: ClusterRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.client, "submit_planned", interrupted)
    with pytest.raises(KeyboardInterrupt, match="may have accepted the query 'daily'"):
        runner.run(plan_outputs([PlanOutput("a", pl.LazyFrame({"a": [1]}))]), name="daily")
