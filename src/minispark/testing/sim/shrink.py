"""Shrinks a history that fails, as far as it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.world import MAX_JOBS, MAX_WORKERS, SimulationError, World

Move = Callable[[SimOptions], SimOptions | None]

_MAX_TRIES: Final = 300
"""Histories that are run to shrink one: some ten seconds."""
_MIN_S: Final = 1.0


def shrink(error: SimulationError) -> SimulationError:
    """Leave out time, kinds of faults, jobs and workers while the history still fails.

    The last failure may differ from the first one.
    """
    tries, before = 0, None
    while before != error.options and tries < _MAX_TRIES:
        before = error.options
        for move in _moves(error.options):
            options = move(error.options)
            if options is None or tries >= _MAX_TRIES:
                continue
            tries += 1
            error = _failure_of(options) or error
    return error


def _failure_of(options: SimOptions) -> SimulationError | None:
    try:
        World(options).run()
    except SimulationError as error:
        return error
    return None


def _moves(options: SimOptions) -> Iterator[Move]:
    """Yield functions that each leave one more thing out."""
    world = World(options)
    for share in (0.25, 0.5, 0.75, 0.9):
        yield partial(_shorter, share=share)
    for kind in world.faults.active:
        yield partial(_without, kind=kind)
    for number in range(MAX_JOBS):
        yield partial(_fewer_jobs, number=number)
    for number in range(MAX_WORKERS):
        yield partial(_fewer_workers, number=number)


def _shorter(options: SimOptions, share: float) -> SimOptions | None:
    if options.until_s <= _MIN_S:
        return None
    return replace(options, until_s=round(options.until_s * share, 3))


def _without(options: SimOptions, kind: str) -> SimOptions:
    return replace(options, without=(*options.without, kind))


def _fewer_jobs(options: SimOptions, number: int) -> SimOptions | None:
    remaining = _without_number(World(options).job_numbers, number)
    return None if remaining is None else replace(options, jobs=remaining)


def _fewer_workers(options: SimOptions, number: int) -> SimOptions | None:
    remaining = _without_number(World(options).worker_numbers, number)
    return None if remaining is None else replace(options, workers=remaining)


def _without_number(numbers: tuple[int, ...], number: int) -> tuple[int, ...] | None:
    if number not in numbers or len(numbers) == 1:
        return None
    return tuple(other for other in numbers if other != number)
