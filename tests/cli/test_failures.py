"""Errors on the command line: the sentence, the place, the hint, the exit code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import typer
from polars.exceptions import PanicException

from minispark.cli.app import main
from minispark.cli.failures import exit_code, explain_failure, render
from minispark.errors import (
    ErrorInfo,
    JobCancelledError,
    JobFailedError,
    MasterUnreachableError,
    MinisparkError,
    UnsupportedError,
    UsageError,
)
from minispark.tracebacks import interrupt


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MinisparkError("x"), 1),
        (JobFailedError("x"), 1),
        (JobCancelledError("x"), 1),
        (ValueError("x"), 1),
        (UsageError("x"), 2),
        (UnsupportedError("x"), 2),
        (FileNotFoundError(2, "No such file", "x"), 2),
        (typer.BadParameter("x"), 2),
        (MasterUnreachableError("x"), 3),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
    ],
)
def test_each_kind_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_says_what_where_and_what_to_do() -> None:
    info = ErrorInfo(
        "MS-214",
        'there is no column "wrod"',
        node="agg",
        field="key",
        file="data/a.csv",
        row=3,
        hint='did you mean "word"?',
        detail="Traceback\n  boom",
    )
    assert render(info).splitlines() == [
        'error[MS-214]: there is no column "wrod"',
        "  node agg, field key, file data/a.csv, row 3",
        "  | Traceback",
        "  |   boom",
        '  hint: did you mean "word"?',
    ]


def test_colour_is_only_in_the_code() -> None:
    assert render(ErrorInfo("MS-1", "no"), colour=True) == "\x1b[1;31merror[MS-1]\x1b[0m: no\n"


def test_an_unknown_exception_is_one_line_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explain_failure(ValueError("odd")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error[MS-100]: ValueError: odd\n")
    assert "Traceback" not in said
    assert "--debug" in said


def test_a_panic_of_polars_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("called unwrap")

    monkeypatch.delenv("MINISPARK_DEBUG", raising=False)
    monkeypatch.setattr("minispark.cli.app.parser", lambda: SimpleNamespace(main=panic))
    with pytest.raises(SystemExit) as ended:
        main(["sql", "select 1"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error[MS-100]: Polars stopped with an internal error: called unwrap\n")


def test_a_file_error_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain_failure(PermissionError(13, "Permission denied", "/x/y")) == 1
    assert capsys.readouterr().err == "error[MS-104]: Permission denied\n  file /x/y\n"


@pytest.mark.parametrize("cause", ["FileNotFoundError", "BrokenPipeError", "NotImplementedError"])
def test_a_failed_job_is_one_whatever_its_cause(
    capsys: pytest.CaptureFixture[str], cause: str
) -> None:
    error = JobFailedError.from_info(ErrorInfo("MS-214", "no file", exception=cause))
    assert explain_failure(error) == 1
    assert capsys.readouterr().err == "error[MS-214]: no file\n"


def test_a_choice_that_there_is_not_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["results", "job-a-1-1", "--format", "xml"])
    assert "'--format': 'xml' is not one of 'csv'" in capsys.readouterr().err


def test_the_page_of_a_job_and_what_an_interrupt_did_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = "http://m:8080/jobs/job-1"
    error = JobFailedError.from_info(ErrorInfo("MS-214", "no file"))
    error.job_url = page
    assert explain_failure(error) == 1
    assert explain_failure(interrupt("job job-1 is CANCELLED", job_url=page)) == 130
    assert explain_failure(interrupt()) == 130
    assert capsys.readouterr().err.splitlines() == [
        "error[MS-214]: no file",
        f"  see {page}",
        f"interrupted: job job-1 is CANCELLED; see {page}",
        "interrupted",
    ]
