# ruff: noqa: T201
"""Runs random queries: ``python -m tests.plan.random_queries --seed 1 --count 2000``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.plan.random_queries.check import check_query
from tests.plan.random_queries.query import RandomQuery, random_query
from tests.plan.random_queries.tables import open_tables, write_tables


def main() -> int:
    """Check queries ``start`` to ``start + count`` of a seed; exit code 1 if one differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.plan.random_queries")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--start", type=int, default=0, help="number of the first query")
    parser.add_argument("--count", type=int, default=200, help="number of queries")
    parser.add_argument("--show", action="store_true", help="print each query")
    parser.add_argument("--times", type=int, default=1, help="runs of each task, to try labels")
    chosen = parser.parse_args()
    started_s = time.monotonic()
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="minispark-test-") as folder:
        write_tables(Path(folder), chosen.seed)
        tables = open_tables(Path(folder))
        for number in range(chosen.start, chosen.start + chosen.count):
            query = random_query(chosen.seed, number, tables)
            if chosen.show:
                _print(chosen.seed, number, query)
            outcome = check_query(query, tables, times=chosen.times)
            kinds[outcome.kind] += 1
            if outcome.kind == "different" or chosen.show:
                _print(chosen.seed, number, query)
                print(f"{outcome.kind}: {outcome.detail}\n", flush=True)
    print(f"{dict(kinds)} in {time.monotonic() - started_s:.0f} s")
    return 1 if kinds["different"] else 0


def _print(seed: int, number: int, query: RandomQuery) -> None:
    print(f"# --seed {seed} --start {number} --count 1 ({query.settings})")
    print(query.text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
