"""The short names of jobs on the command line."""

from __future__ import annotations

import pytest

from minispark.engines.http import MasterClient
from minispark.errors import UsageError
from minispark.observe.views import JobView
from minispark.scheduler.commands import JobStatus

IDS = ("job-065e949e-2-7", "job-065e949e-1-17", "job-065e949e-1-7")


class Client(MasterClient):
    """A client of a master with three jobs."""

    def __init__(self) -> None:
        self.asked = 0

    def jobs(self, *, limit: int | None = None, after: str | None = None) -> list[JobView]:
        self.asked += 1
        return [
            JobView(
                job_id=job, name="", status=JobStatus.SUCCEEDED, progress=100.0, submitted_at=1.0
            )
            for job in IDS
        ]


@pytest.mark.parametrize(
    ("text", "job"),
    [
        ("1-7", "job-065e949e-1-7"),
        ("2-7", "job-065e949e-2-7"),
        ("17", "job-065e949e-1-17"),
        ("job-065e949e-2", "job-065e949e-2-7"),
        ("065e949e-1-7", "job-065e949e-1-7"),
        # No id ends so: the master answers what it says about unknown jobs.
        ("99", "99"),
        ("e-1-7", "e-1-7"),
    ],
)
def test_the_end_or_the_beginning_of_an_id_names_the_job(text: str, job: str) -> None:
    assert Client().find_job(text) == job


def test_several_jobs_are_named_in_the_error() -> None:
    with pytest.raises(UsageError, match="'7' names 2 jobs: 'job-065e949e-2-7', 'job-065"):
        Client().find_job("7")


def test_a_whole_id_is_not_searched() -> None:
    client = Client()
    assert client.find_job("job-ffffffff-1-1") == "job-ffffffff-1-1"
    assert client.asked == 0
