"""Random queries: cut into stages, the rows are those of plain Polars.

`python -m tests.plan.random_queries --seed 3 --count 2000` runs more of them, and prints each that
differs with the options that run it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.plan.random_queries import check
from tests.plan.random_queries.check import check_query
from tests.plan.random_queries.query import RandomQuery, random_query
from tests.plan.random_queries.tables import open_tables, write_tables
from tests.runners.inline import InlineRun, run_inline

SEED = 11
BATCH = 50
COUNT = 200


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, pl.LazyFrame]:
    folder: Path = tmp_path_factory.mktemp("tables")
    write_tables(folder, SEED)
    return open_tables(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(0, COUNT, BATCH))
def test_rows_equal_plain_polars(tables: Mapping[str, pl.LazyFrame], start: int) -> None:
    kinds = []
    for number in range(start, start + BATCH):
        query = random_query(SEED, number, tables)
        outcome = check_query(query, tables)
        again = f"# python -m tests.plan.random_queries --seed {SEED} --start {number} --count 1"
        assert outcome.kind != "different", f"{again}\n{query.text}\n{outcome.detail}"
        kinds.append(outcome.kind)
    # Where nearly nothing could be compared, the generator is at fault.
    assert kinds.count("same") > 0.8 * BATCH


def test_a_seed_gives_the_same_query_again(tables: Mapping[str, pl.LazyFrame]) -> None:
    assert random_query(SEED, 7, tables) == random_query(SEED, 7, tables)
    assert random_query(SEED, 7, tables) != random_query(SEED, 8, tables)


def test_another_answer_is_found(
    tables: Mapping[str, pl.LazyFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(*arguments: Any, **options: Any) -> InlineRun:
        run = run_inline(*arguments, **options)
        run.results["out"] = run.results["out"].head(3)
        return run

    monkeypatch.setattr(check, "run_inline", lossy)
    query = RandomQuery(("q = t.select('id')",), ordered=True, settings="three, hash")
    assert check_query(query, tables).kind == "different"
