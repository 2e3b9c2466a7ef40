"""A job under faults: submit it, inject faults while it runs, read its rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

_POLL_S = 0.01
_PATIENCE_S = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault that was injected, at a time and a progress of the job."""

    at_s: float
    percent: float
    what: str

    def __str__(self) -> str:
        return f"{self.at_s:6.2f} s {self.percent:5.1f} %  {self.what}"


@dataclass(frozen=True, slots=True)
class FaultRun:
    """The result of a job under faults. ``story`` holds the injected faults in order."""

    job_id: str
    view: JobView
    story: tuple[InjectedFault, ...]
    failures: Mapping[str, int]
    """Failed attempts by kind."""
    duration_s: float


def run_under_faults(
    cluster: FaultyCluster,
    payload: Mapping[str, Any] | StageGraph,
    steps: Sequence[FaultStep],
    *,
    name: str,
    spared: Collection[int] = (),
    on_fault: Callable[[InjectedFault], None] = lambda _: None,
) -> FaultRun:
    """Run a job, inject ``steps`` while it runs, and repair all faults at its end.

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

        def record(percent: float, what: str) -> None:
            story.append(InjectedFault(monotonic_s() - start_s, percent, what))
            on_fault(story[-1])

        with _injecting(cluster, job_id, steps, spared, record):
            view = client.wait(job_id)
        duration_s = monotonic_s() - start_s
        cluster.heal()
        raise_unless_succeeded(view)
        failures = _retry(lambda: client.metrics(job_id)).failures
    return FaultRun(job_id, view, tuple(story), failures, duration_s)


def read_rows(cluster: FaultyCluster, job_id: str, *, node: str | None = None) -> pl.DataFrame:
    """Return the result of an ended job; wait for a master that is starting."""
    with MasterClient(cluster.url, token=cluster.token) as client:
        return _retry(lambda: client.result_frame(job_id, node=node))


def _retry(ask: Callable[[], _T]) -> _T:
    end = monotonic_s() + _PATIENCE_S
    while True:
        try:
            return ask()
        except MasterUnreachableError:
            if monotonic_s() > end:
                raise
        threading.Event().wait(_POLL_S)


@contextmanager
def _injecting(
    cluster: FaultyCluster,
    job_id: str,
    steps: Sequence[FaultStep],
    spared: Collection[int],
    record: Callable[[float, str], None],
) -> Iterator[None]:
    """Inject the steps from another thread while the block runs."""
    ended = threading.Event()

    def inject() -> None:
        with MasterClient(cluster.url, token=cluster.token) as client:
            _inject(cluster, client, job_id, list(steps), spared, record, ended)

    with ThreadPoolExecutor(1, thread_name_prefix="faults") as pool:
        injection = pool.submit(inject)
        try:
            yield
        finally:
            ended.set()
        injection.result()


def _inject(
    cluster: FaultyCluster,
    client: MasterClient,
    job_id: str,
    steps: list[FaultStep],
    spared: Collection[int],
    record: Callable[[float, str], None],
    ended: threading.Event,
) -> None:
    while steps and not ended.wait(_POLL_S):
        try:
            view = client.job(job_id)
        except MinisparkError:
            continue
        if view.status in ENDED:
            return
        while steps and view.progress >= steps[0].after_percent:
            what = cluster.carry_out(steps[0], job=job_id, spared=spared)
            if what is None:
                break  # There is no target yet; try again later.
            record(view.progress, what)
            del steps[0]
