import builtins
import copy
import json
import pickle

import polars as pl
import pytest

from minispark.errors import (
    ErrorInfo,
    JobCancelledError,
    JobFailedError,
    MinisparkError,
    UsageError,
    caused_by,
    exception_name,
    sentence_of,
)
from minispark.wire.http import error_body, error_from


def kinds() -> list[type[BaseException]]:
    found = [*vars(pl.exceptions).values(), *vars(builtins).values()]
    polars = [kind for kind in found if isinstance(kind, type) and kind.__module__ != "builtins"]
    ours = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)]
    return [
        kind
        for kind in dict.fromkeys([*polars, *ours])
        if issubclass(kind, BaseException) and not issubclass(kind, BaseExceptionGroup)
    ]


class OwnError(KeyError):
    pass


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_error_is_of_the_class_that_caused_it_too(kind: type[BaseException]) -> None:
    info = ErrorInfo("MS-211", "no", exception=kind.__name__, exception_message="no number")
    body = json.loads(json.dumps(error_body(info)))
    error = JobFailedError.from_info(error_from(body, status=422))
    assert isinstance(error, kind)
    assert isinstance(error, JobFailedError)
    assert type(error) is type(JobFailedError.from_info(info)), "made once"
    assert str(error).split("\n")[:2] == ["no number", "no"]
    with pytest.raises(kind):
        raise error


def test_it_travels_between_processes_and_is_copied() -> None:
    info = ErrorInfo("MS-211", "no", stage="stage-1", exception="ComputeError")
    error = JobFailedError.from_info(info)
    error.job_id = "job-1"
    error.add_note("a note")
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(back) is type(error)
        assert (back.info, back.job_id, back.__notes__) == (info, "job-1", ["a note"])
        assert str(back) == str(error)


@pytest.mark.parametrize("name", ["SystemExit", "ExceptionGroup", "Unknown", "print", "pl", None])
def test_what_is_no_such_class_is_left_out(name: str | None) -> None:
    error = UsageError.from_info(ErrorInfo("MS-110", "no", exception=name))
    assert type(error) is UsageError
    assert str(error) == "no\nMS-110"


def test_the_nearest_class_that_every_process_knows() -> None:
    assert exception_name(OwnError()) == "KeyError"
    assert exception_name(pl.exceptions.ShapeError()) == "ShapeError"
    assert exception_name(SystemExit()) is None
    assert exception_name(type("ComputeError", (ValueError,), {})()) == "ValueError"
    assert caused_by(SystemExit(3), ErrorInfo("MS-212", "x")) == ErrorInfo("MS-212", "x")


def test_one_line_word_for_word_that_is_bounded() -> None:
    first = caused_by(ValueError("  one \ntwo"), ErrorInfo("MS-212", "x"))
    assert first.exception_message == "  one "
    long = caused_by(ValueError("x" * 100_000), ErrorInfo("MS-212", "x"))
    assert 2_000 < len(long.exception_message or "") < 10_000
    assert caused_by(SpeechlessError(), ErrorInfo("MS-212", "x")).exception_message is not None


@pytest.mark.parametrize("kind", [JobFailedError, JobCancelledError, UsageError])
def test_code_job_place_hint_and_page_come_after_the_message(kind: type[MinisparkError]) -> None:
    info = ErrorInfo("MS-233", "bad", file="a.csv", row=3, hint="Fix it.", stage="stage-0")
    error = kind.from_info(info)
    error.job_id, error.job_url = "job-1", "http://m:8080/jobs/job-1"
    assert str(error).split("\n") == [
        "bad",
        "MS-233, stage-0, job job-1, file a.csv, row 3",
        "hint: Fix it.",
        "see http://m:8080/jobs/job-1",
    ]
    assert sentence_of(error) == "bad"


def test_the_traceback_of_the_users_function_is_shown_once() -> None:
    error = ZeroDivisionError("by 0")
    info = ErrorInfo(
        "MS-212", "ZeroDivisionError: by 0", detail="  at f\nZeroDivisionError: by 0\n"
    )
    assert str(JobFailedError.from_info(caused_by(error, info))).split("\n") == [
        "by 0",
        "  |   at f",
        "  | ZeroDivisionError: by 0",
        "MS-212",
    ]
