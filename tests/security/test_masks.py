"""Secrets do not come out again in errors, tracebacks and logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from tests.task.bench import attempt

from minispark.blocks.fetch import FetchSettings
from minispark.errors import ErrorInfo, TaskError
from minispark.ids import TaskKey
from minispark.masks import MASK, masked, masked_error, tells_secret
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskFailure, TaskSpec

VALUE = "hunter2-hunter2"


@pytest.mark.parametrize(
    "name",
    [
        *("MINISPARK_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "GITHUB_TOKEN", "APIKEY"),
        *("DB_PASSWORD", "PGPASSWORD", "db_password", "MY_SECRET", "MYSQL_PASSWD", "ACCESS_TOKEN"),
    ],
)
def test_names_that_tell_a_secret(name: str) -> None:
    assert tells_secret(name)
    assert masked(f"it was {VALUE}!", {name: VALUE}) == f"it was {MASK}!"
    for written in (f'{name} = "{VALUE}"', f"{name}={VALUE}", f"'{name}': '{VALUE}'"):
        assert VALUE not in masked(written, {}), written
        assert name in masked(written, {})


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "TOKENIZER", "key"])
def test_names_that_tell_none(name: str) -> None:
    assert not tells_secret(name)
    for text in (f"{name} = 1 and {VALUE}", f"sort_key = '{VALUE}'", f"word_token: '{VALUE}'"):
        assert masked(text, {name: VALUE}) == text


def test_bearer_tokens() -> None:
    assert masked("authorization: Bearer abcdefghijk", {}) == f"authorization: Bearer {MASK}"
    assert masked("the bearer of news", {}) == "the bearer of news"


def test_short_values_and_values_in_each_other() -> None:
    assert masked("1 is true", {"A_TOKEN": "1", "B_TOKEN": "true"}) == "1 is true"
    longer = {"A_TOKEN": VALUE, "B_TOKEN": f"{VALUE}-and-more"}
    assert masked(f"{VALUE}-and-more", longer) == MASK


@pytest.mark.parametrize("quote", ['"', "'", "b'"])
def test_a_secret_that_was_cut(quote: str) -> None:
    """A text that was shortened has no closing quote."""
    assert masked(f"DB_PASSWORD = {quote}{VALUE}", {}) == f"DB_PASSWORD = {MASK}"
    assert masked(f"DB_PASSWORD = {quote}{VALUE}\\", {}) == f"DB_PASSWORD = {MASK}"


@pytest.mark.parametrize("before", range(65_000, 65_600, 7))
def test_a_long_text_is_cut_and_shows_no_part_of_a_secret(before: int) -> None:
    text = masked("." * before + VALUE + " " * 100_000, {"SOME_SECRET": VALUE})
    assert len(text) < 70_000
    assert VALUE[:2] not in text


GROWING = {
    "names": "SECRET",
    "names and lines": "SECRET_PASSWORD_",
    "words": "SECRET ",
    "assignments": 'SECRET="',
    "open quotes": "SECRET='\"",
    "escaped quotes": 'SECRET="\\" \\\\',
    "blanks": "SECRET" + " " * 40,
    "blanks after a sign": "SECRET=" + " " * 40,
    "keys": "A_KEY",
    "bearers": "Bearer ",
    "blanks after bearers": "Bearer" + " " * 40,
    "brackets": "SECRET']  =>",
}


def _least_time_s(text: str) -> float:
    def once() -> float:
        begin = time.thread_time()
        masked(text, {})
        return time.thread_time() - begin

    return min(once() for _ in range(5))


@pytest.mark.parametrize("name", GROWING)
def test_the_time_to_mask_grows_as_the_text_does(name: str) -> None:
    """It is measured against a text of half the length: a quadratic pattern takes four times.

    What other processes do to the caches of the machine does not last for so many tries.
    """
    text = (GROWING[name] * 30_000)[:30_000]
    ratios = (_least_time_s(text * 2) / _least_time_s(text) for _ in range(10))
    assert any(ratio < 3 for ratio in ratios)


def test_every_text_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", VALUE)
    info = masked_error(
        ErrorInfo("MS-1", f"a {VALUE}", hint=f"b {VALUE}", detail=f"c {VALUE}", node="n", row=3)
    )
    assert info == ErrorInfo(
        "MS-1", f"a {MASK}", hint=f"b {MASK}", detail=f"c {MASK}", node="n", row=3
    )


def test_the_traceback_of_a_users_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", VALUE)

    def connect(frame: pl.DataFrame) -> pl.DataFrame:
        raise ConnectionError(f"cannot log in with {os.environ['DB_PASSWORD']}")

    frame = pl.LazyFrame({"a": [1]}).map_batches(connect, schema={"a": pl.Int64})
    spec = TaskSpec(
        TaskKey("job-a-1-1", 0, 0, 0, 0),
        frame.serialize(),
        (),
        (),
        Output(OutputKind.SINGLE),
        block_directory=str(tmp_path),
    )
    outcome = attempt(spec, fetch=FetchSettings())
    assert isinstance(outcome, TaskFailure)
    assert isinstance(outcome.failure, TaskError)
    assert "cannot log in with ***" in repr(outcome.failure)
    assert VALUE not in repr(outcome.failure)


@pytest.mark.parametrize("form", ["json", "text"])
def test_logs(form: str) -> None:
    code = f"""
from minispark.logs import configure_logs, logger
from minispark.settings import LogSettings
configure_logs(LogSettings("{form}"))
log = logger("master")
log.info("started", url="http://x", said="API_KEY={VALUE}", value="{VALUE}")
try:
    held = "{VALUE}".encode()
    raise ValueError("Bearer abcdefghijk", "{VALUE}")
except ValueError as error:
    log.error("failed", exc_info=error)
"""
    environment = {**os.environ, "MINISPARK_TOKEN": VALUE, "NO_COLOR": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert VALUE not in ended.stderr
    assert "abcdefghijk" not in ended.stderr
    assert "ValueError" in ended.stderr
    if form == "json":
        lines = [json.loads(line) for line in ended.stderr.splitlines()]
        assert [line["event"] for line in lines] == ["started", "failed"]
        assert "ValueError" in lines[1]["exception"]
