"""Errors of a job that differ only in data are one card with a count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.ui.records import finished_record, key_of

from minispark.errors import ErrorInfo, Failure, OutOfMemory, TaskError, WorkerLost
from minispark.observe.failures import error_kind
from minispark.ui.job_page import problems

MIB = 1 << 20
FRAME = '  File "/home/ann/etl.py", line {}, in price\n    return float(text)\n'


def info(message: str, detail: str | None = None) -> ErrorInfo:
    return ErrorInfo("MS-212", message, stage="stage-0", detail=detail)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("could not convert 'abc'", "could not convert 'it, or that'"),
        ("cast of column 'a' failed: [\"x\"]", 'cast of column \'a\' failed: ["x", "y"]'),
        ("no such file: /data/one.csv", "no such file: /data/two.csv"),
        ("the executor of w-a532af6d has ended", "the executor of w-77b1c09e has ended"),
        ("over 100 MB; it read a (1 kB)", "over 90 MB; it read b, c"),
        (
            "-3.5 is out of range (stage 0, map, partition 3)",
            "7 is out of range (stage 0, map, partition 1)",
        ),
    ],
)
def test_errors_that_differ_in_data_are_of_one_kind(one: str, other: str) -> None:
    assert error_kind(info(one)) == error_kind(info(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (info("cast of column 'a' failed"), info("cast of column 'b' failed")),
        (info("not a number"), info("not a date")),
        (info("x"), replace(info("x"), code="MS-211")),
        (info("x"), replace(info("x"), stage="stage-1")),
        (info("x"), replace(info("x"), node="agg")),
        (info("x", FRAME.format(3)), info("x", FRAME.format(4))),
    ],
)
def test_other_errors_are_not(one: ErrorInfo, other: ErrorInfo) -> None:
    assert error_kind(one) != error_kind(other)


def test_the_lines_of_the_users_function_decide_not_its_words() -> None:
    told = [info(text, f"{FRAME.format(3)}{text}") for text in ("no price of apples", "pears?")]
    assert error_kind(told[0]) == error_kind(told[1])


def test_one_card_has_the_count_and_some_of_the_messages() -> None:
    record = finished_record()
    failures: list[Failure] = [
        *(TaskError(info(f"bad value {number}")) for number in (1, 2, 2, *range(3, 12))),
        *(OutOfMemory(100 * MIB, number * MIB, inputs=(f"part {number}",)) for number in (5, 6)),
        WorkerLost("the executor ended"),
    ]
    for number, failure in enumerate(failures):
        key = key_of(0, number % 4, attempt=1 + number)
        record.launched(key, "ab"[number % 2], 5.0)
        record.failed(key, failure, "ab"[number % 2], 6.0)
    first, memory, lost = problems(record)
    assert (first.count, first.error.message, first.workers) == (12, "bad value 1", ["a", "b"])
    assert first.others == [f"bad value {number}" for number in range(2, 7)]
    assert (memory.count, len(memory.others)) == (2, 1)
    assert (lost.count, lost.others) == (1, [])
