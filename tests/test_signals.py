"""Many signals within milliseconds: one interrupt, one end, nothing left half done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from minispark.signals import Interrupts, StopSignals, ignore_interrupts


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give back to pytest what it had."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_interrupts_within_a_moment_are_one() -> None:
    now = 100.0
    heard = Interrupts(lambda: now)
    with pytest.raises(KeyboardInterrupt):
        heard(signal.SIGINT, None)
    for later in (100.0, 100.002, 100.9):
        now = later
        heard(signal.SIGINT, None)
    now = 101.1
    with pytest.raises(KeyboardInterrupt):
        heard(signal.SIGINT, None)


def test_an_interrupt_in_place_of_an_answer_counts() -> None:
    heard = Interrupts(lambda: 100.0)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            heard(signal.SIGINT, None)
        heard(signal.SIGINT, None)
        heard.expect()


def test_a_server_hears_signals_as_calls_and_none_when_it_ends() -> None:
    calls: list[int] = []

    async def serve() -> None:
        with StopSignals(asyncio.get_running_loop()) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)
            stop.listen(lambda: calls.append(1))
            assert len(calls) == 2
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)
            assert len(calls) == 3
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

    asyncio.run(serve())
    assert len(calls) == 3


def test_a_command_that_ends_hears_nothing_more() -> None:
    ignore_interrupts()
    os.kill(os.getpid(), signal.SIGINT)
