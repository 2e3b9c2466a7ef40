"""TPC-H and TPC-DS on plain Polars, the embedded engine and a cluster, in turns on this machine.

    python -m bench.tpc.run tpch [--scale 1] [--runs 3] [--query q5 ...]

The cluster is a master and two workers of one thread each; the other sides are one warm process of
two threads. Each round runs every side once, so other load slows all: compare ratios of one run,
not seconds of two runs. CPU seconds count all processes of a side and depend less on other load.
Each result is compared with that of plain Polars, and with DuckDB's where it is installed and the
query has an SQL text. Data is created in data/bench on first use. Without ``--side`` all run.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from bench.tpc.duck import Duck
from bench.tpc.equal import check_equal, check_same_values
from bench.tpc.sides import SIDES, Run, Side
from bench.tpc.suites import SUITES, Suite

from minispark.cli.terminal import notes, phase, print_table
from minispark.errors import UsageError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.settings import PlanSettings

WORKERS = 2

_Check = Callable[[pl.DataFrame, pl.DataFrame], None]
_Times = tuple[float, float]
"""Wall seconds and CPU seconds."""


def rounds(
    sides: Mapping[str, Side], suite: Suite, query: str, folder: Path, count: int
) -> dict[str, list[Run]]:
    """Run a query on every side in turns; the first round only warms up."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for number in range(count + 1):
        for name, side in sides.items():
            run = side(suite.name, query, folder)
            if number > 0 or count == 0:
                runs[name].append(run)
    return runs


def verdict(suite: Suite, query: str, runs: Mapping[str, list[Run]], duck: Duck | None) -> str:
    """Return "yes" where all results are the same, or the sides whose results differ."""
    expected = runs["plain"][0].frame
    wrong = [name for name in runs if not _passes(check_equal, runs[name][0].frame, expected)]
    if duck is not None and query in suite.sql:
        values = duck.collect(suite.sql[query])
        wrong += [] if _passes(check_same_values, expected, values) else ["DuckDB"]
    return f"no: {', '.join(wrong)}" if wrong else "yes"


def _passes(check: _Check, frame: pl.DataFrame, expected: pl.DataFrame) -> bool:
    try:
        check(frame, expected)
    except AssertionError as error:
        notes.print_line(str(error))
        return False
    return True


def gathers(frame: pl.LazyFrame) -> str:
    """Return what the planner would gather in one task."""
    try:
        plan_outputs([PlanOutput("rows", frame)], settings=PlanSettings(fallback="raise"))
    except UsageError as error:
        return error.info.message
    return "none"


def medians(runs: Mapping[str, list[Run]]) -> dict[str, _Times]:
    """Return the median wall and CPU seconds of each side."""
    return {
        side: (
            statistics.median(run.wall_s for run in of_side),
            statistics.median(run.cpu_s for run in of_side),
        )
        for side, of_side in runs.items()
    }


def cells(times: Mapping[str, _Times]) -> list[str]:
    """Return the seconds of plain Polars, and those of the other sides with their ratios."""
    texts = []
    for kind in (0, 1):
        base, *others = (of_side[kind] for of_side in times.values())
        texts.append(f"{base:.2f}")
        texts += [f"{seconds:.2f} ({seconds / max(base, 0.001):.2f}x)" for seconds in others]
    return texts


def main(
    suite: Annotated[str, typer.Argument(help=f"Of {', '.join(SUITES)}.")],
    *,
    scale: Annotated[float, typer.Option(min=0.001)] = 1,
    runs: Annotated[int, typer.Option(min=0, help="0: each side once, cold.")] = 3,
    query: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    side: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(SIDES)}.")] = None,
    folder: Annotated[Path, typer.Option(help="Where data is.")] = Path("data/bench"),
) -> None:
    """Measure and print one table."""
    chosen = SUITES[suite]
    with phase("making data"):
        data = chosen.generate(folder.absolute(), scale=scale)
    rows: list[list[str]] = []
    times: list[dict[str, _Times]] = []
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(opened(WORKERS))
            for name, opened in SIDES.items()
            if name == "plain" or name in (side or SIDES)
        }
        duck = Duck.open(chosen.tables(data))
        for name in query or chosen.names:
            with phase(name):
                measured = rounds(sides, chosen, name, data, runs)
            right = verdict(chosen, name, measured, duck)
            times.append(medians(measured))
            rows.append([name, *cells(times[-1]), right, gathers(chosen.query(name, data))])
    total = {
        name: (sum(one[name][0] for one in times), sum(one[name][1] for one in times))
        for name in sides
    }
    columns = [f"{name} {kind}" for kind in ("s", "CPU s") for name in sides]
    rows.append(["total", *cells(total), "", ""])
    print_table(("query", *columns, "same rows", "gathered"), rows, numbers=columns)


if __name__ == "__main__":
    typer.run(main)
