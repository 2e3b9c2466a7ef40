"""What a worker reports: in batches, until confirmed, and never for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.worker.agent_kit import done, spec

from minispark.errors import TaskError
from minispark.task.spec import TaskFailure
from minispark.worker.report_queue import ReportQueue
from minispark.worker.rpc import ReportRefusedError

REFUSED = ReportRefusedError("too much")


def queue_of(*partitions: int, waiting: int = 0) -> ReportQueue:
    key = spec(0).key
    queue = ReportQueue(lambda: Counter({(key.job, key.stage): waiting}))
    for partition in partitions:
        queue.add(done(spec(partition)))
    return queue


def partitions_of(queue: ReportQueue) -> list[int]:
    outcomes, _ = asyncio.run(queue.next())
    return [outcome.key.partition for outcome in outcomes]


def test_what_was_confirmed_is_not_reported_again() -> None:
    queue = queue_of(0, 1, 2)
    assert partitions_of(queue) == [0, 1, 2]
    queue.add(done(spec(3)))
    queue.confirm(3, 0)
    assert partitions_of(queue) == [3]
    assert queue.attempts == (spec(3).key,)


def test_a_refused_batch_is_halved_until_one_is_left_and_that_one_fails() -> None:
    queue = queue_of(0, 1, 2, 3)
    queue.refused(4, REFUSED)
    assert partitions_of(queue) == [0, 1]
    queue.refused(2, REFUSED)
    assert partitions_of(queue) == [0]
    queue.refused(1, REFUSED)
    (failure,), _ = asyncio.run(queue.next())
    assert isinstance(failure, TaskFailure)
    assert isinstance(failure.failure, TaskError)
    assert failure.failure.error.code == "MS-227"
    queue.refused(1, REFUSED)
    assert queue.attempts == tuple(spec(n).key for n in (1, 2, 3))
    queue.confirm(1, 0)
    assert partitions_of(queue) == [2, 3]


def test_moved_blocks_that_are_refused_are_dropped() -> None:
    queue = queue_of()
    queue.add_moved(spec(7).key)
    outcomes, moved = asyncio.run(queue.next())
    assert (outcomes, moved) == ([], [spec(7).key])
    queue.refused(0, REFUSED)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(queue.next(), 0.02))


def test_outcomes_wait_for_more_only_while_more_is_in_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minispark.worker.report_queue._LINGER_S", 1_000.0)
    assert partitions_of(queue_of(0, 1, waiting=1)) == [0, 1]
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(queue_of(0, waiting=2).next(), 0.05))
