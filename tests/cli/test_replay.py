"""Stepping through a journal by keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.observe.recorded import Recorded

from minispark.cli import replay
from minispark.observe.record import JobRecord
from minispark.observe.story import JournalStep, story
from minispark.plan.stages import StageGraph


def steps_of(count: int) -> list[JournalStep]:
    workers = [f"w{number}" for number in range(1, count + 1)]
    made = Recorded(dict.fromkeys(workers, 1))
    for worker in workers:
        made.leave(worker)
    return list(story(made.lines, JobRecord("j", "j", StageGraph((), ()), 0.0)))


def keys(monkeypatch: pytest.MonkeyPatch, *typed: str) -> None:
    said: Iterator[str] = iter(typed)

    def ask(prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", ask)


def test_keys_lead_from_step_to_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys(monkeypatch, "", "n", "n", "p", "1", "9", "q", "n")
    replay._walk(steps_of(3))
    shown = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "step" in line]
    assert shown == ["1", "2", "3", "3", "2", "1", "3"]


def test_the_end_of_input_is_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys(monkeypatch)
    replay._walk(steps_of(1))
    out = capsys.readouterr().out
    assert "w1 said goodbye" in out
    assert "-> mark w1 as DOWN" in out
    assert "because it said goodbye" in out
