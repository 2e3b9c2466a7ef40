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
    """Run the suite and print the result; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="else drawn, and printed")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first job")
    parser.add_argument("--faults", type=int, default=4, help="faults of each job")
    parser.add_argument("--lines", type=int, default=40_000, help="size of the tables")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--journals", type=Path, help="a directory to keep the journals in")
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    settings = SuiteSettings(
        seed=seed,
        jobs=options.jobs,
        first=options.first,
        faults=options.faults,
        lines=options.lines,
        partitions=options.partitions,
        journals=options.journals,
    )
    output.print(f"chaos: {settings.jobs} jobs, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="minispark-chaos-"))
    summary = run_suite(settings, folder, report=notes.print)
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
    verdict = f"{len(summary.wrong)} wrong; files: {folder}" if summary.wrong else "all right"
    output.print(verdict)


if __name__ == "__main__":
    sys.exit(main())
