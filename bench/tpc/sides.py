"""What is compared: each side collects a query and gives its rows, wall time and CPU time.

Plain Polars and the embedded engine run in a warm process each, with as many threads as the cluster
has workers: Polars fixes its number of threads when it starts.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil
from bench.tpc.suites import SUITES

import minispark as ms
from minispark.client.local_cluster import LocalCluster


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a query; ``cpu_s`` is that of every process which takes part."""

    frame: pl.DataFrame
    wall_s: float
    cpu_s: float


Side = Callable[[str, str, Path], Run]
"""Runs a query of a suite, by their names, over the files in a folder."""


def _cpu_s(pids: Sequence[int]) -> float:
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            # A process that ends now is counted with the children of its parent the next time.
            with suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:4])
    return total


def _timed(collect: Callable[[], pl.DataFrame], pids: Sequence[int]) -> Run:
    before, start = _cpu_s(pids), time.perf_counter()
    frame = collect()
    return Run(frame, time.perf_counter() - start, _cpu_s(pids) - before)


def _collect_plain(suite: str, query: str, folder: Path) -> Run:
    frame = SUITES[suite].query(query, folder)
    return _timed(lambda: frame.collect(engine="streaming"), [os.getpid()])


def _collect_embedded(suite: str, query: str, folder: Path) -> Run:
    frame = SUITES[suite].query(query, folder)
    engine = ms.Engine(progress=False)
    return _timed(lambda: frame.collect(engine=engine), [os.getpid()])


@contextmanager
def _warm_process(collect: Side, *, threads: int) -> Iterator[Side]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with _threads_of_new_processes(threads):
            pool.submit(os.getpid).result()
        yield lambda suite, query, folder: pool.submit(collect, suite, query, folder).result()


@contextmanager
def _threads_of_new_processes(threads: int) -> Iterator[None]:
    before = os.environ.get("POLARS_MAX_THREADS")
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    try:
        yield
    finally:
        del os.environ["POLARS_MAX_THREADS"]
        if before is not None:
            os.environ["POLARS_MAX_THREADS"] = before


@contextmanager
def plain(threads: int) -> Iterator[Side]:
    """Run queries on plain Polars, with the streaming engine."""
    with _warm_process(_collect_plain, threads=threads) as side:
        yield side


@contextmanager
def embedded(threads: int) -> Iterator[Side]:
    """Run queries on the embedded engine."""
    with _warm_process(_collect_embedded, threads=threads) as side:
        yield side


@contextmanager
def cluster(workers: int) -> Iterator[Side]:
    """Run queries on a master and workers of one thread each."""
    with LocalCluster(workers=workers, threads=1) as processes:
        engine = ms.Engine(processes.url, token=processes.token, progress=False)
        pids = [os.getpid()]

        def collect(suite: str, query: str, folder: Path) -> Run:
            frame = SUITES[suite].query(query, folder)
            return _timed(lambda: frame.collect(engine=engine), pids)

        yield collect


SIDES: Mapping[str, Callable[[int], AbstractContextManager[Side]]] = {
    "plain": plain,
    "embedded": embedded,
    "cluster": cluster,
}
"""The sides by name, to be opened with a number of threads or workers."""
