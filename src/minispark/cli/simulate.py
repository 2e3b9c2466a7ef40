"""``minispark simulate``: the scheduler in simulated clusters with faults, one per seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import AsJson, check_needs, check_together, print_json

if TYPE_CHECKING:
    from minispark.testing.sim.batch import FailedHistory, Tally
    from minispark.testing.sim.options import SimOptions


_OF_HISTORIES = (
    *("histories", "seed", "jobs", "digest", "shrink"),
    *("only_jobs", "only_workers", "without", "until", "journal"),
)
"""Options that do nothing if the scheduler is measured."""


def simulate(
    context: typer.Context,
    *,
    histories: Annotated[
        int, typer.Option(min=1, help="Number of histories, one per seed.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per core.")
    ] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print one hash of all journals.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option(help="Reduce a failing history to the smallest one that still fails.")
    ] = True,
    only_jobs: Annotated[
        str | None, typer.Option(metavar="N,...", help="Keep only these jobs of the seed.")
    ] = None,
    only_workers: Annotated[
        str | None, typer.Option(metavar="N,...", help="Keep only these workers of the seed.")
    ] = None,
    without: Annotated[
        str | None, typer.Option(metavar="KIND,...", help="Kinds of failures to leave out.")
    ] = None,
    until: Annotated[float, typer.Option(min=0, help="When failures end, in seconds.")] = 60.0,
    journal: Annotated[
        bool, typer.Option("--journal", help="Print all inputs and decisions of the master.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Measure the scheduler with N workers.")
    ] = None,
    tasks: Annotated[
        int, typer.Option(min=10, max=10_000_000, help="Tasks of the job that is measured.")
    ] = 100_000,
    json: AsJson = False,
) -> None:
    """Test the scheduler in simulated clusters with random failures.

    One seed is one history: workers, network, disks and the master fail and recover, and then
    every job must end correctly. Exit code 1 if one does not; the command that repeats it is
    printed. The options from --only-jobs to --journal are for one history (--histories 1).

    With --workers there are no failures: a job of --tasks runs on that many simulated workers,
    and the scheduler's time and memory are printed.
    """
    for name in _OF_HISTORIES if workers is not None else ():
        check_together(context, "workers", name)
    check_needs(context, "workers", "tasks")
    if workers is not None:
        _measure(workers, tasks, as_json=json)
        return
    check_together(context, "json", "journal")
    check_together(context, "json", "digest")
    import os

    from minispark.cli.terminal import counting_bar, output
    from minispark.errors import UsageError
    from minispark.testing.sim.batch import Tally, run_history
    from minispark.testing.sim.batch import simulate as run

    options = _options(seed, only_jobs, only_workers, without, until)
    if histories == 1:
        tally = Tally()
        tally.add(run_history(options))
        if journal:
            _print_journal(options)
    elif options.command != type(options)(seed).command or journal:
        msg = "--only-jobs, --only-workers, --without, --until and --journal are for one history"
        raise UsageError(msg, hint="Give --histories 1.")
    else:
        title = f"seeds {seed} to {seed + histories - 1}"
        with counting_bar(title, total=histories, unit="histories") as show:
            tally = run(
                seed,
                histories,
                processes=jobs or os.cpu_count() or 1,
                progress=lambda tally: show(tally.histories),
            )
    if json:
        print_json(_document(tally))
    else:
        output.print(_summary(tally))
        if digest:
            output.print(f"digest {tally.digest}")
    for history in tally.findings:
        _print_failed(history, shrink=shrink)
    if tally.findings:
        raise typer.Exit(1)


def _measure(workers: int, tasks: int, *, as_json: bool) -> None:
    from dataclasses import asdict

    from minispark.cli.terminal import counting_bar, output
    from minispark.testing.sim.scale import measure

    with counting_bar(f"{workers:,} workers", total=tasks, unit="tasks") as progress:
        result = measure(workers, tasks, progress=progress)
    if as_json:
        print_json(asdict(result))
        return
    output.print(
        f"{result.decisions_s:,.0f} task decisions a second ({result.tasks:,} tasks on "
        f"{result.workers:,} workers of {result.slots} slots)\n"
        f"accepting the job          {result.submit_s:.2f} s\n"
        f"a task that reads all      {result.reader_s:.3f} s\n"
        f"a heartbeat                {result.heartbeat_us:.1f} us\n"
        f"a timer                    {result.timer_us:.1f} us\n"
        f"a snapshot, there and back {result.snapshot_s:.2f} s, {result.snapshot_mb:.1f} MB\n"
        f"memory at its largest      {result.peak_mb:,.0f} MB"
    )


def _options(
    seed: int, jobs: str | None, workers: str | None, without: str | None, until: float
) -> SimOptions:
    from minispark.errors import UsageError
    from minispark.testing.sim.faults import KINDS
    from minispark.testing.sim.options import SimOptions

    kinds = () if without is None else tuple(without.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        msg = f"there is no kind of fault {unknown[0]!r}"
        raise UsageError(msg, hint=f"There are: {', '.join(KINDS)}.")
    return SimOptions(seed, _numbers(jobs), _numbers(workers), kinds, until)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    from minispark.errors import UsageError

    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        msg = f"expected numbers separated by commas: {text!r}"
        raise UsageError(msg) from None


def _print_journal(options: SimOptions) -> None:
    import contextlib

    from minispark.cli.terminal import output
    from minispark.testing.sim.world import SimulationError, World

    world = World(options)
    with contextlib.suppress(SimulationError):
        world.run()
    output.print(f"faults: {world.faults.drawn}")
    output.print(world.story())


def _summary(tally: Tally) -> str:
    ends = ", ".join(f"{count:,} {status}" for status, count in sorted(tally.ends.items()))
    faults = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.fault_counts.items()))
    return (
        f"{tally.histories:,} histories, {tally.steps:,} steps of the scheduler\n"
        f"jobs: {ends or 'none'}\n"
        f"faults: {faults or 'none'}\n"
        f"went wrong: {len(tally.findings)}"
    )


def _document(tally: Tally) -> dict[str, object]:
    return {
        "histories": tally.histories,
        "steps": tally.steps,
        "jobs": dict(sorted(tally.ends.items())),
        "faults": dict(sorted(tally.fault_counts.items())),
        "digest": tally.digest,
        "wrong": [
            {"command": history.options.command, "reason": history.reason}
            for history in tally.findings
        ],
    }


def _print_failed(history: FailedHistory, *, shrink: bool) -> None:
    from minispark.cli.terminal import notes
    from minispark.testing.sim.shrink import shrink as find_smaller
    from minispark.testing.sim.world import SimulationError

    error = SimulationError(history.options, history.reason, history.story)
    if shrink:
        notes.print(f"seed {history.options.seed} went wrong; reducing it")
        error = find_smaller(error)
    notes.print(f"\nWRONG {error.reason}\nthe end of its journal:\n{error.story}")
    notes.print(f"repeat it with: {error.options.command}")
