"""Errors of the functions that users call: what their tracebacks show."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import minispark
from minispark import Engine
from minispark.engines.background import BackgroundQuery, Cancellation
from minispark.engines.public import public
from minispark.errors import JobFailedError, MasterUnreachableError, MinisparkError, UsageError
from minispark.tracebacks import user_frames

FOLDERS = tuple(str(Path(module.__file__ or "").parent) for module in (minispark, pl))
CLOSED = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.delenv("MINISPARK_DEBUG", raising=False)


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        try:
            msg = "a connection"
            raise OSError(msg)
        except OSError as cause:
            raise error from cause

    return public(fail)


def caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    pytest.fail("it raised nothing")


def files(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("error", [JobFailedError("x"), UsageError("x"), KeyboardInterrupt()])
def test_an_error_has_no_frame_below_and_no_cause(error: BaseException) -> None:
    raised = caught(failing(error))
    assert type(raised) is type(error)
    assert [Path(file).name for file in files(raised)] == [Path(__file__).name, "public.py"]
    assert raised.__cause__ is None
    assert raised.__context__ is None
    assert "a connection" not in "".join(traceback.format_exception(raised))


def test_what_the_user_handles_stays_its_context() -> None:
    own = ValueError("of the user")

    def again() -> None:
        try:
            raise own
        except ValueError:
            failing(JobFailedError("x"))()

    raised = caught(again)
    assert raised.__context__ is own
    assert "of the user" in "".join(traceback.format_exception(raised))


def test_faults_and_debugging_keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = caught(failing(RuntimeError("ours")))
    assert isinstance(fault.__cause__, OSError)
    assert len(files(fault)) == 3
    monkeypatch.setenv("MINISPARK_DEBUG", "1")
    assert isinstance(caught(failing(JobFailedError("x"))).__cause__, OSError)
    assert sys.excepthook is sys.__excepthook__


def test_python_prints_the_calls_of_the_user_only(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(CLOSED, token="t")  # noqa: S106
    raised = caught(lambda: pl.LazyFrame({"a": [1]}).collect(engine=engine))
    assert isinstance(raised, MinisparkError)
    assert any(file.startswith(FOLDERS) for file in files(raised))
    sys.excepthook(type(raised), raised, raised.__traceback__)
    printed = capsys.readouterr().err
    assert printed.count('File "') == 2
    assert printed.count(__file__) == 2
    assert "MS-501" in printed


def test_a_hook_of_the_program_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(*_: object) -> None: ...

    monkeypatch.setattr(sys, "excepthook", own)
    caught(failing(JobFailedError("x")))
    assert sys.excepthook is own


def test_a_function_of_the_user_between_polars_and_the_engine_stays() -> None:
    engine = Engine(CLOSED, token="t")  # noqa: S106

    def collected(frame: pl.LazyFrame) -> pl.DataFrame:
        return frame.collect(engine=engine)

    raised = caught(lambda: pl.LazyFrame({"a": [1]}).pipe(collected))
    frames = traceback.extract_tb(user_frames(raised.__traceback__))
    assert [frame.name for frame in frames] == ["caught", "<lambda>", "collected"]


def test_a_query_in_the_background_raises_and_is_interrupted_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = BackgroundQuery(failing(JobFailedError("x")), Cancellation())  # type: ignore[arg-type]
    raised = caught(query.fetch_blocking)
    assert [Path(file).name for file in files(raised)] == [Path(__file__).name, "public.py"]
    assert raised.__cause__ is None

    def wait() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(query._ended, "wait", wait)
    assert "still runs in the background" in str(caught(query.fetch_blocking))


def test_a_named_engine_keeps_the_connection_of_the_engine_that_it_comes_from() -> None:
    engine = Engine(CLOSED, token="t").named("daily")  # noqa: S106
    gc.collect()
    with pytest.raises(MasterUnreachableError):
        pl.LazyFrame({"a": [1]}).collect(engine=engine)


def test_an_error_of_polars_in_this_process_has_none_of_our_calls() -> None:
    def collected() -> pl.DataFrame:
        return pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(int)).collect(engine=Engine())

    raised = caught(collected)
    assert isinstance(raised, pl.exceptions.InvalidOperationError)
    assert not [file for file in files(raised) if file.startswith(FOLDERS[0])]
    assert files(raised)[:2] == [__file__, __file__]
