"""``python -m tests.chaos``: the chaos suite, as ``make chaos`` runs it."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.suite import SuiteSettings, Summary, run_suite

from minispark.cli.terminal import notes, output


def main() -> int:
    """Run the suite and say how it went; 1 if anything was wrong."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seed", type=int, help="else drawn, and printed")
    given.add_argument("--jobs", type=int, default=100)
    given.add_argument("--first", type=int, default=0, help="number of the first job")
    given.add_argument("--faults", type=int, default=4, help="faults of each job")
    given.add_argument("--lines", type=int, default=40_000, help="size of the tables")
    given.add_argument("--partitions", type=int, default=16)
    given.add_argument("--journals", type=Path, help="a directory to keep the journals in")
    said = given.parse_args()
    seed = secrets.randbelow(1 << 31) if said.seed is None else said.seed
    settings = SuiteSettings(
        seed=seed,
        jobs=said.jobs,
        first=said.first,
        faults=said.faults,
        lines=said.lines,
        partitions=said.partitions,
        journals=said.journals,
    )
    output.print(f"chaos: {settings.jobs} jobs, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="minispark-chaos-"))
    summary = run_suite(settings, folder, tell=notes.print)
    _print(summary, seed, folder)
    if summary.wrong:
        return 1
    folder.rmdir()
    return 0


def _print(summary: Summary, seed: int, folder: Path) -> None:
    output.print(
        f"\n{summary.jobs} jobs in {summary.duration_s:.0f} s, seed {seed}: "
        f"{summary.faults.total()} faults, {summary.failures.total()} attempts lost, "
        f"{summary.repeated} results lost after their job's end and made again"
    )
    for name, many in sorted(summary.faults.items()):
        output.print(f"  {many:4} {name.lower().replace('_', ' ')}")
    output.print("attempts lost: " + ", ".join(f"{m} {n}" for n, m in summary.failures.items()))
    for line in summary.wrong:
        output.print(f"WRONG {line}")
    said = f"{len(summary.wrong)} wrong; files: {folder}" if summary.wrong else "all right"
    output.print(said)


if __name__ == "__main__":
    sys.exit(main())
