"""Attempts in lanes: never more at a time than a worker has slots."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from tests.ui.records import finished_record, key_of, report_of

from minispark.observe.stage_state import Attempt
from minispark.scheduler.reasons import SPECULATIVE
from minispark.ui.timeline import lanes_of, timeline_of, trace_of


def attempt(number: int, start: float, end: float | None, took: float | None) -> Attempt:
    status = "RUNNING" if end is None else "SUCCEEDED"
    return Attempt(key_of(0, number), "w", start, end, status, took_s=took)


def test_who_waits_stands_in_line() -> None:
    first = attempt(0, 0.0, 10.0, 10.0)
    waited = attempt(1, 0.0, 20.0, 9.5)
    taken_back = attempt(2, 0.0, 5.0, None)
    (worker,) = lanes_of([first, waited, taken_back], slots={"w": 1}, now=20.0)
    found = {place.attempt.key.partition: place for place in worker.positions}
    assert (found[0].lane, found[1].lane, found[2].lane) == (0, 0, None)
    assert found[1].begin == 10.5


def test_an_attempt_that_another_worker_took_over_hides_none_that_ran() -> None:
    ran = [attempt(number, 0.0, 6.0 + number, 5.9) for number in range(2)]
    taken_over = attempt(2, 0.0, 5.4, None)
    (worker,) = lanes_of([taken_over, *ran], slots={"w": 2}, now=20.0)
    found = {place.attempt.key.partition: place.lane for place in worker.positions}
    assert found == {0: 0, 1: 1, 2: None}


def test_an_attempt_that_was_stopped_fills_the_gap_in_which_it_ran() -> None:
    attempts = [attempt(0, 0.0, 2.0, 2.0), attempt(1, 1.0, 5.0, None), attempt(2, 4.9, 9.0, 4.0)]
    (worker,) = lanes_of(attempts, slots={"w": 1}, now=20.0)
    assert [(place.lane, place.begin, place.end) for place in worker.positions] == [
        (0, 0.0, 2.0),
        (0, 2.0, 5.0),
        (0, 5.0, 9.0),
    ]


def test_what_runs_goes_on_to_now() -> None:
    running = [attempt(number, 1.0, None, None) for number in range(3)]
    (worker,) = lanes_of(running, slots={"w": 2}, now=4.0)
    assert [place.lane for place in worker.positions] == [0, 1, None]
    assert {place.end for place in worker.positions} == {4.0}


times = st.floats(0, 100).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(times, times, st.none() | times), max_size=40), st.integers(1, 4))
def test_no_lane_holds_two_at_a_time(
    raw: list[tuple[float, float, float | None]], slots: int
) -> None:
    attempts = [
        attempt(number, start, start + length, None if took is None else min(took, length))
        for number, (start, length, took) in enumerate(raw)
    ]
    for worker in lanes_of(attempts, slots={"w": slots}, now=300.0):
        assert worker.lanes == slots
        assert len(worker.positions) == len(attempts)
        for lane in range(slots):
            own = [place for place in worker.positions if place.lane == lane]
            assert all(a.end <= b.begin for a, b in itertools.pairwise(own) if b.begin < b.end)


def test_a_second_attempt_is_marked_from_its_launch_to_its_end() -> None:
    record = finished_record()
    late = key_of(1, 1, attempt=1)
    record.launched(late, "b", 4.6, SPECULATIVE)
    for ended in (False, True):
        if ended:
            record.succeeded(report_of(late, took_s=0.1), "b", 4.9)
        line = timeline_of(record, slots={}, now=9.0)
        (second,) = line.speculative
        assert (line.stage[second], line.partition[second], line.attempt[second]) == (1, 1, 1)
        marked = [e for e in trace_of(line)["traceEvents"] if e["args"].get("speculative")]
        assert [event["args"]["attempt"] for event in marked] == [2], "people count from 1"
