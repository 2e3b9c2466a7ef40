"""The attempts of all jobs in the last minutes, in lanes: which slots worked, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minispark.observe.stage_state import Attempt
from minispark.ui.timeline import lanes_of

WINDOW_S = 300.0
"""Time that the stream shows."""
MAX_ATTEMPTS = 400
"""Attempts in a stream, the newest: the page is fetched again while it is open."""
_MAX_LANES = 60
_COLOURS = 8
WIDTH = 1000.0
"""Width of the drawing, for ``WINDOW_S``."""


@dataclass(frozen=True, slots=True)
class StreamTask:
    """An attempt in the drawing."""

    task: str
    """Its name, for the address in the page of its job."""
    job: str
    colour: int
    x: float
    width: float
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class StreamLane:
    """A slot of a worker."""

    worker: str
    tasks: tuple[StreamTask, ...]


@dataclass(frozen=True, slots=True)
class StreamJob:
    """A job whose attempts the stream shows."""

    job: str
    name: str
    colour: int


@dataclass(frozen=True, slots=True)
class TaskStream:
    """The drawing of a stream. ``hidden`` lanes are not shown."""

    began_at: float
    until: float
    lanes: tuple[StreamLane, ...]
    jobs: tuple[StreamJob, ...]
    hidden: int


def task_stream_of(
    attempts: Iterable[Attempt],
    *,
    names: Mapping[str, str],
    slots: Mapping[str, int],
    now: float,
) -> TaskStream:
    """Lay the attempts that ran in the last minutes into lanes; ``names`` are those of jobs."""
    began_at = now - WINDOW_S
    recent = [a for a in attempts if a.finished_at is None or a.finished_at >= began_at]
    recent = sorted(recent, key=lambda attempt: attempt.started_at)[-MAX_ATTEMPTS:]
    jobs = dict.fromkeys(attempt.key.job for attempt in recent)
    colours = {job: number % _COLOURS for number, job in enumerate(jobs)}
    lanes = []
    for worker in lanes_of(recent, slots=slots, now=now):
        for number in range(worker.lanes):
            tasks = tuple(
                _task(position.attempt, position.begin, position.end, colours, names, began_at)
                for position in worker.positions
                if position.lane == number
            )
            lanes.append(StreamLane(worker.worker, tasks))
    return TaskStream(
        began_at,
        now,
        tuple(lanes[:_MAX_LANES]),
        tuple(StreamJob(job, names.get(job, job), colours[job]) for job in jobs),
        max(0, len(lanes) - _MAX_LANES),
    )


def _task(
    attempt: Attempt,
    begin: float,
    end: float,
    colours: Mapping[str, int],
    names: Mapping[str, str],
    began_at: float,
) -> StreamTask:
    scale, key = WIDTH / WINDOW_S, attempt.key
    left = max(0.0, begin - began_at)
    name = names.get(key.job, key.job)
    return StreamTask(
        task=key.block_id,
        job=key.job,
        colour=colours[key.job],
        x=round(left * scale, 1),
        width=round(max(0.8, (end - began_at - left) * scale), 1),
        status=attempt.status.lower(),
        text=f"{name}, stage {key.stage} task {key.partition}: {attempt.status.lower()}, "
        f"{max(0.0, end - begin):.1f} s",
    )
