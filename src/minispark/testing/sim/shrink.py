"""Make a history that goes wrong as small as it stays wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.world import MOST_JOBS, MOST_WORKERS, SimulationError, World

Move = Callable[[SimOptions], SimOptions | None]

_MOST_TRIES: Final = 300
"""Histories lived while one is made smaller: some ten seconds."""
_FINEST_S: Final = 1.0


def shrink(error: SimulationError) -> SimulationError:
    """Leave out time, kinds of faults, jobs and workers while something still goes wrong.

    What goes wrong in the end may be another face of what went wrong first.
    """
    tries, size = 0, None
    while size != error.recipe and tries < _MOST_TRIES:
        size = error.recipe
        for move in _moves(error.recipe):
            recipe = move(error.recipe)
            if recipe is None or tries >= _MOST_TRIES:
                continue
            tries += 1
            error = _fails(recipe) or error
    return error


def _fails(recipe: SimOptions) -> SimulationError | None:
    try:
        World(recipe).run()
    except SimulationError as error:
        return error
    return None


def _moves(recipe: SimOptions) -> Iterator[Move]:
    """Yield ways to leave one more thing out."""
    world = World(recipe)
    for share in (0.25, 0.5, 0.75, 0.9):
        yield partial(_shorter, share=share)
    for kind in world.faults.active:
        yield partial(_without, kind=kind)
    for number in range(MOST_JOBS):
        yield partial(_fewer_jobs, number=number)
    for number in range(MOST_WORKERS):
        yield partial(_fewer_workers, number=number)


def _shorter(recipe: SimOptions, share: float) -> SimOptions | None:
    if recipe.until_s <= _FINEST_S:
        return None
    return replace(recipe, until_s=round(recipe.until_s * share, 3))


def _without(recipe: SimOptions, kind: str) -> SimOptions:
    return replace(recipe, without=(*recipe.without, kind))


def _fewer_jobs(recipe: SimOptions, number: int) -> SimOptions | None:
    kept = _less(World(recipe).job_numbers, number)
    return None if kept is None else replace(recipe, jobs=kept)


def _fewer_workers(recipe: SimOptions, number: int) -> SimOptions | None:
    kept = _less(World(recipe).worker_numbers, number)
    return None if kept is None else replace(recipe, workers=kept)


def _less(numbers: tuple[int, ...], number: int) -> tuple[int, ...] | None:
    if number not in numbers or len(numbers) == 1:
        return None
    return tuple(other for other in numbers if other != number)
