"""How the line of a query ends if its job does not succeed."""

from __future__ import annotations

import re

import pytest

from minispark.engines.progress import ProgressLine
from minispark.errors import (
    ErrorInfo,
    JobCancelledError,
    JobFailedError,
    MinisparkError,
    UsageError,
)
from minispark.tracebacks import interrupt

PAGE = "http://master.example.com:8080/jobs/job-065e949e-12-345"


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(type(error)), ProgressLine(show=True):
        raise error
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "words"), [(JobFailedError, r"failed \(MS-9\)"), (JobCancelledError, "cancelled")]
)
def test_a_job_that_did_not_succeed_is_one_line_with_its_page(
    kind: type[MinisparkError], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind.from_info(ErrorInfo("MS-9", "no"))
    assert re.fullmatch(rf"{words} after \d+ ms\n", ended(error, capsys))
    error.job_url = PAGE
    assert re.fullmatch(rf"{words} after \d+ ms: {PAGE}\n", ended(error, capsys))


def test_an_interrupt_says_what_happened_to_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    told = ended(interrupt("job job-1 is CANCELLED", job_url=PAGE), capsys)
    assert re.fullmatch(rf"job job-1 is CANCELLED after \d+ ms: {PAGE}\n", told)
    assert re.fullmatch(r"interrupted after \d+ ms\n", ended(KeyboardInterrupt(), capsys))


def test_a_query_that_was_no_job_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(UsageError("x"), capsys) == ""
