"""Which connection makes room for another, and how requests are counted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from minispark.settings import ConnectionLimits
from minispark.tokens import Level
from minispark.wire.open_connections import capacity, lesser_to_close, may_stay, to_close
from minispark.wire.throttle import OpenRequest, Throttle

LIMITS = ConnectionLimits(connections=8, lesser_requests=2, open_streams=1, open_requests=3)


@dataclass
class Line:
    number: int
    level: Level | None = None
    peer: str = "p"
    is_idle: bool = True


def test_all_stay_where_there_is_room() -> None:
    lines = [Line(n) for n in range(8)]
    assert to_close(lines, lines[-1], LIMITS, 100) is None


def test_the_oldest_silent_one_goes_first() -> None:
    lines = [
        Line(0, Level.ROOT),
        Line(1, Level.VIEW),
        Line(2, is_idle=False),
        Line(3),
        Line(4),
        *(Line(n, Level.WORKER) for n in range(5, 8)),
        Line(8),
    ]
    assert to_close(lines, lines[-1], LIMITS, 100) == lines[3]
    del lines[3:5]
    lines += [Line(9), Line(10)]
    assert to_close(lines, lines[-1], LIMITS, 100) == Line(8)


def test_idle_ones_that_look_go_before_a_new_one() -> None:
    lines = [Line(n, Level.SUBMIT, is_idle=False) for n in range(6)]
    lines += [Line(6, Level.SUBMIT), Line(7, Level.VIEW), Line(8)]
    assert to_close(lines, lines[-1], LIMITS, 100) == Line(7, Level.VIEW)


@pytest.mark.parametrize("level", [Level.ROOT, Level.WORKER])
def test_a_new_one_does_not_take_the_place_of_a_worker_or_the_owner(level: Level) -> None:
    lines = [*(Line(n, level) for n in range(8)), Line(8)]
    assert to_close(lines, lines[-1], LIMITS, 100) == lines[-1]


def test_over_all_the_peer_with_most_makes_room() -> None:
    lines = [Line(0, peer="a"), *(Line(n, peer="b") for n in range(1, 6)), Line(6, peer="c")]
    assert to_close(lines, lines[-1], LIMITS, 6) == lines[1]
    busy = [Line(n, peer="b", is_idle=False) for n in range(1, 6)]
    lines = [Line(0, peer="a"), *busy, Line(6, peer="c")]
    assert to_close(lines, lines[-1], LIMITS, 6) == lines[0]


def test_lesser_tokens_share_what_is_not_reserved() -> None:
    lines = [Line(n, Level.VIEW, is_idle=False) for n in range(7)]
    assert may_stay(lines[:6], lines[5], LIMITS, 100)
    assert not may_stay(lines, lines[6], LIMITS, 100)
    assert not may_stay(lines[:6], lines[5], LIMITS, 6)
    assert lesser_to_close(lines, lines[6]) is None
    for level in (None, Level.WORKER, Level.ROOT):
        assert may_stay([*lines, Line(9, level)], Line(9, level), LIMITS, 6)
    other = Line(10, Level.SUBMIT, peer="q")
    own = Line(11, Level.SUBMIT)
    assert lesser_to_close([other, own, *lines], lines[6]) == own


def test_requests_are_counted_by_level_and_streams_apart() -> None:
    throttle = Throttle(LIMITS)
    view, stream = OpenRequest("p", Level.VIEW), OpenRequest("p", Level.VIEW, is_stream=True)
    assert [throttle.enter(view) for _ in range(3)] == [True, True, False]
    assert [throttle.enter(stream) for _ in range(2)] == [True, False]
    for level in (None, Level.SUBMIT):
        assert [throttle.enter(OpenRequest("p", level)) for _ in range(3)] == [True, True, False]
    for level in (Level.WORKER, Level.ROOT):
        found = [throttle.enter(OpenRequest("p", level)) for _ in range(4)]
        assert found == [True, True, True, False]
    throttle.leave(view)
    assert throttle.enter(view)


def test_there_are_places_however_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((64, 24), (1_024, 896), (10, 8), (-1, 14_336)):
        monkeypatch.setattr("resource.getrlimit", lambda _, files=files: (files, files))
        assert capacity() == most
        assert capacity(servers=2) == max(8, most // 2)
