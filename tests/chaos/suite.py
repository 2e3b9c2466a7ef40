"""Many jobs under chaos, on one cluster after another, each answer compared with plain Polars.

A seed decides everything but the moment at which things happen: a job that is alone, with the
seed and its number, meets the same faults in the same order.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.jobs import KINDS, Job, Tables, write_tables, written_job
from tests.chaos.recordings import export

from minispark.blocks.cache import CACHE_PREFIX
from minispark.blocks.meta import DATA_SUFFIX
from minispark.clock import monotonic_s
from minispark.errors import MinisparkError
from minispark.ids import TaskKey
from minispark.testing.chaos.fault_run import FaultRun, read_rows, run_under_faults
from minispark.testing.chaos.faults import Fault, draw
from minispark.testing.chaos.faulty_cluster import FaultyCluster

RESULT_GONE = "MS-144"
"""The error code of a result whose worker was lost after the end of the job."""
_SETTLE_S = 40.0
"""Workers learn with the next poll which blocks to delete; an empty poll lasts 20 s."""
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class SuiteSettings:
    """The options of the suite."""

    seed: int
    jobs: int = 100
    first: int = 0
    """Number of the first job."""
    faults: int = 4
    """Faults of each job."""
    kinds: Sequence[Fault] = tuple(Fault)
    workers: int = 3
    jobs_per_cluster: int = 10
    lines: int = 40_000
    partitions: int = 16
    journals: Path | None = None
    """Directory for the journals of the clusters."""


@dataclass(slots=True)
class Summary:
    """The result; ``wrong`` is empty if every job is right."""

    jobs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Failed attempts by kind."""
    repeated: int = 0
    """Jobs that ran again, because their result was lost after their end."""
    wrong: list[str] = field(default_factory=list)
    duration_s: float = 0.0


def run_suite(
    settings: SuiteSettings, folder: Path, *, report: Callable[[str], None] = lambda _: None
) -> Summary:
    """Run the suite; ``folder`` is for its files, and empty again if all is well.

    ``report`` is called with a line for each job, and the faults of jobs that went wrong.
    """
    start_s = monotonic_s()
    summary = Summary()
    tables = write_tables(folder / "tables", seed=settings.seed, lines=settings.lines)
    numbers = range(settings.first, settings.first + settings.jobs)
    for begin in numbers[:: settings.jobs_per_cluster]:
        chunk = [n for n in numbers if begin <= n < begin + settings.jobs_per_cluster]
        _run_chunk(settings, chunk, folder / f"cluster-{begin}", tables, summary, report)
    summary.duration_s = monotonic_s() - start_s
    if not summary.wrong:
        shutil.rmtree(folder / "tables")
    return summary


def _run_chunk(
    settings: SuiteSettings,
    numbers: Sequence[int],
    directory: Path,
    tables: Tables,
    summary: Summary,
    report: Callable[[str], None],
) -> None:
    before = len(summary.wrong)
    dice = random.Random(f"{settings.seed}/{numbers[0]}/cluster")
    cluster = FaultyCluster(directory, workers=settings.workers, maps=dice.random() < 0.5)
    kept: dict[str, Job] = {}
    with cluster:
        for number in numbers:
            job = KINDS[number % len(KINDS)](
                tables, settings.partitions, directory / f"out-{number}"
            )
            _run_one(settings, number, job, cluster, kept, summary, report)
            cluster.wait_until_whole()
        # Afterwards it works as if nothing had been, and only results are left on its disks.
        last = written_job(tables, settings.workers * 2, directory / "out-last")
        run_under_faults(cluster, last.payload, (), name="afterwards")
        last.check(last.read_written())
        strays = _strays(cluster, kept)
        if strays:
            summary.wrong.append(f"blocks left in {directory.name}: {strays[:5]}")
    if settings.journals is not None:
        target = settings.journals / f"seed-{settings.seed}-{numbers[0]}.jsonl.gz"
        export(directory / "state" / "journal.db", target, folder=directory)
    summary.wrong += [f"left by {directory.name}: {what}" for what in cluster.leftovers()]
    if len(summary.wrong) == before:
        shutil.rmtree(directory)


def _run_one(
    settings: SuiteSettings,
    number: int,
    job: Job,
    cluster: FaultyCluster,
    kept: dict[str, Job],
    summary: Summary,
    report: Callable[[str], None],
) -> None:
    steps = draw(settings.seed, number, faults=settings.faults, kinds=settings.kinds)
    story: list[str] = []
    summary.jobs += 1
    try:
        run = run_under_faults(
            cluster,
            job.payload,
            steps,
            name=job.name,
            spared=job.results,
            on_fault=lambda fault: story.append(str(fault)),
        )
        kept[run.job_id] = job
        run = _check(cluster, job, run, kept, summary)
    except (MinisparkError, AssertionError, OSError) as error:
        summary.wrong.append(f"job {number} ({job.name}): {type(error).__name__}: {error}")
        report(f"WRONG {number} {job.name}: {error}")
        for line in story:
            report(f"      {line}")
        return
    summary.faults.update(step.fault.name for step in steps[: len(run.story)])
    summary.failures.update(run.failures)
    cost = ", ".join(f"{many} {what}" for what, many in sorted(run.failures.items()))
    report(
        f"{summary.jobs:4}/{settings.jobs} {job.name}: {run.duration_s:.1f} s, "
        f"{len(run.story)} faults, cost: {cost or 'nothing'}"
    )


def _check(
    cluster: FaultyCluster, job: Job, run: FaultRun, kept: dict[str, Job], summary: Summary
) -> FaultRun:
    if job.written is not None:
        job.check(job.read_written())
        return run
    try:
        found = read_rows(cluster, run.job_id)
    except MinisparkError as error:
        if error.info.code != RESULT_GONE:
            raise
        # It had ended when its worker was killed: then it is to be submitted again.
        summary.repeated += 1
        cluster.wait_until_whole()
        again = run_under_faults(cluster, job.payload, (), name=job.name)
        kept[again.job_id] = job
        found = read_rows(cluster, again.job_id)
    job.check(found)
    return run


def _strays(cluster: FaultyCluster, kept: dict[str, Job]) -> list[str]:
    """Name the blocks that are no results, once they have had the time to go."""
    end = monotonic_s() + _SETTLE_S
    while True:
        found = [
            key.block_id
            for key in _blocks(cluster.directory)
            if key.job not in kept or key.stage not in kept[key.job].results
        ]
        if not found or monotonic_s() > end:
            return found
        threading.Event().wait(_POLL_S)


def _blocks(directory: Path) -> set[TaskKey]:
    """Return the attempts whose blocks lie on the disks of workers that live."""
    found = directory.glob(f"work/*/blocks/*{DATA_SUFFIX}")
    return {TaskKey.parse(p.stem) for p in found if not p.name.startswith(CACHE_PREFIX)}
