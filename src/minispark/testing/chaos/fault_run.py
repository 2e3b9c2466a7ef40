"""A job that goes through it: submitted, afflicted while it runs, its rows read back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from minispark.clock import monotonic_s
from minispark.engines.base import raise_unless_succeeded
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, MinisparkError
from minispark.observe.views import ENDED, JobView
from minispark.plan.stages import StageGraph
from minispark.testing.chaos.faults import FaultStep
from minispark.testing.chaos.faulty_cluster import FaultyCluster

_LOOK_S = 0.01
_PATIENCE_S = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A line of the story."""

    at_s: float
    percent: float
    what: str

    def __str__(self) -> str:
        return f"{self.at_s:6.2f} s {self.percent:5.1f} %  {self.what}"


@dataclass(frozen=True, slots=True)
class FaultRun:
    """How a job went. ``story`` is what was done to its cluster, in order."""

    job_id: str
    view: JobView
    story: tuple[InjectedFault, ...]
    failures: Mapping[str, int]
    """Attempts that failed, by kind: what the story cost."""
    duration_s: float


def undergo(
    cluster: FaultyCluster,
    payload: Mapping[str, Any] | StageGraph,
    steps: Sequence[FaultStep],
    *,
    name: str,
    spared: Collection[int] = (),
    on_happening: Callable[[InjectedFault], None] = lambda _: None,
) -> FaultRun:
    """Run a job while ``steps`` happen, and make good what they did when it has ended.

    Raises
    ------
    MinisparkError
        The job did not succeed.
    """
    with MasterClient(cluster.url, token=cluster.token) as client:
        start_s = monotonic_s()
        if isinstance(payload, StageGraph):
            job_id = client.submit_planned(payload, name=name)
        else:
            job_id = client.submit_json(payload)
        story: list[InjectedFault] = []

        def tell(percent: float, what: str) -> None:
            story.append(InjectedFault(monotonic_s() - start_s, percent, what))
            on_happening(story[-1])

        with _afflicted(cluster, job_id, steps, spared, tell):
            view = client.wait(job_id)
        duration_s = monotonic_s() - start_s
        cluster.heal()
        raise_unless_succeeded(view)
        failures = _patiently(lambda: client.metrics(job_id)).failures
    return FaultRun(job_id, view, tuple(story), failures, duration_s)


def read_rows(cluster: FaultyCluster, job_id: str, *, node: str | None = None) -> pl.DataFrame:
    """Return the result of a job that has ended; a master that is just starting is waited for."""
    with MasterClient(cluster.url, token=cluster.token) as client:
        return _patiently(lambda: client.result_frame(job_id, node=node))


def _patiently(ask: Callable[[], _T]) -> _T:
    end = monotonic_s() + _PATIENCE_S
    while True:
        try:
            return ask()
        except MasterUnreachableError:
            if monotonic_s() > end:
                raise
        threading.Event().wait(_LOOK_S)


@contextmanager
def _afflicted(
    cluster: FaultyCluster,
    job_id: str,
    steps: Sequence[FaultStep],
    spared: Collection[int],
    tell: Callable[[float, str], None],
) -> Iterator[None]:
    """Do the steps in a thread of its own while the block runs."""
    over = threading.Event()
    trouble: list[BaseException] = []

    def afflict() -> None:
        try:
            with MasterClient(cluster.url, token=cluster.token) as client:
                _afflict(cluster, client, job_id, list(steps), spared, tell, over)
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=afflict, name="afflict", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if trouble:
        raise trouble[0]


def _afflict(
    cluster: FaultyCluster,
    client: MasterClient,
    job_id: str,
    steps: list[FaultStep],
    spared: Collection[int],
    tell: Callable[[float, str], None],
    over: threading.Event,
) -> None:
    while steps and not over.wait(_LOOK_S):
        try:
            view = client.job(job_id)
        except MinisparkError:
            continue
        if view.status in ENDED:
            return
        while steps and view.progress >= steps[0].after_percent:
            what = cluster.carry_out(steps[0], job=job_id, spared=spared)
            if what is None:
                break  # Nothing to do it to yet: perhaps there will be.
            tell(view.progress, what)
            del steps[0]
