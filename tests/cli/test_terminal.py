"""Tables in terminals of 80, 100 and 160 columns, and off a terminal."""

from __future__ import annotations

import io

import pytest

from minispark.cli import terminal
from minispark.cli.cluster_metrics import print_job_figures
from minispark.cli.job_metrics import print_jobs
from minispark.engines.console import PrintableConsole
from minispark.errors import ErrorInfo
from minispark.observe.cluster import JobFigures, JobsMetrics
from minispark.observe.record import JobRecord
from minispark.observe.views import JobView
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import JobStatus

IDS = ("job-065e949e-12-1001", "job-065e949e-12-1002")


@pytest.fixture
def consoles(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[io.StringIO]:
    """What is printed on consoles of the parameter's width; None is no terminal."""
    files = [io.StringIO(), io.StringIO()]
    for name, file in zip(("output", "notes"), files, strict=True):
        console = PrintableConsole(file=file, width=request.param)
        monkeypatch.setattr(console, "_force_terminal", request.param is not None)
        monkeypatch.setattr(console, "_color_system", None)
        for module in ("minispark.cli.terminal", "minispark.cli.job_metrics"):
            monkeypatch.setattr(f"{module}.{name}", console, raising=False)
        monkeypatch.setattr(f"minispark.cli.cluster_metrics.{name}", console, raising=False)
    return files


def failed(job: str) -> JobRecord:
    record = JobRecord(job, "the words of the quarterly report", StageGraph((), ()), 1_000.0)
    record.finished(JobStatus.FAILED, ErrorInfo("MS-212", "a long message " * 20), 9_999.0)
    return record


def views() -> list[JobView]:
    return [failed(job).view() for job in IDS]


@pytest.mark.parametrize("consoles", [80, 100, 160, None], indirect=True)
def test_the_list_of_jobs_keeps_ids_and_columns(
    consoles: list[io.StringIO], request: pytest.FixtureRequest
) -> None:
    print_jobs(views(), now=1_200.0)
    printed = consoles[0].getvalue()
    for job in IDS:
        (line,) = (line for line in printed.splitlines() if job in line)
        for cell in ("FAILED", "0 %", "3 min ago", "8999.00 s"):
            assert cell in line
    width = request.node.callspec.params["consoles"]
    assert width is None or max(map(len, printed.splitlines())) <= width


@pytest.mark.parametrize("consoles", [80, 160], indirect=True)
def test_columns_that_do_not_fit_are_named(
    consoles: list[io.StringIO], request: pytest.FixtureRequest
) -> None:
    figures = [JobFigures.of(failed(job).view(), failed(job).metrics()) for job in IDS]
    print_job_figures(JobsMetrics(counts={}, jobs=figures))
    printed, noted = (file.getvalue() for file in consoles)
    assert all(job in printed for job in IDS)
    narrow = request.node.callspec.params["consoles"] == 80
    assert ("shuffled" in printed) is not narrow
    assert ("shuffled" in noted) is narrow
    assert max(map(len, printed.splitlines())) <= request.node.callspec.params["consoles"]


def test_at_least_one_column_is_shown() -> None:
    assert terminal.columns_that_fit([100, 4], 80) == 1
    assert terminal.columns_that_fit([30, 20, 20], 80) == 3
    assert terminal.columns_that_fit([30, 20, 23], 80) == 2
