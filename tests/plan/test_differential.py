"""Queries over every rule, each in stages of several widths, give what plain Polars gives.

``tests/golden/gathers.json`` lists the queries that gather an input, and why; all others are
planned with ``fallback="raise"``. ``python -m tests.plan.test_differential`` writes the list.
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PanicException, PolarsError
from polars.testing import assert_frame_equal
from tests.plan.differential import groups, joins, order, rows, sql, windows
from tests.plan.differential.case import Case
from tests.plan.differential.tables import SHAPES, open_table, write_tables
from tests.plan.repeats import in_any_order
from tests.runners.inline import run_inline

from minispark.errors import UsageError
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

MODULES = (rows, groups, joins, windows, order, sql)
CASES: dict[str, Case] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in MODULES
    for name, case in module.CASES.items()
}
LIST = Path(__file__).parents[1] / "golden" / "gathers.json"
GATHERING: dict[str, str] = json.loads(LIST.read_text())
WIDTHS = dict(zip(CASES, cycle((2, 3, 2, 1, 3, 2, 7, 2)), strict=False))
"""Number of partitions of each query over the main table."""
ODD = dict(zip(list(CASES)[::8], cycle(SHAPES), strict=False))
"""Queries that also run over a table of another shape or from another source."""
WIDE = {64: list(CASES)[5::163], 300: list(CASES)[11:400:261]}
"""So many partitions take a second a query."""
ORDERED = pl.QueryOptFlags(check_order_observe=False)
"""Polars 2.1.0 gives ``select(when(a > 1).then(2).otherwise(3))`` in another order without it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("differential")
    write_tables(made)
    return made


def test_there_are_enough() -> None:
    assert len(CASES) >= 600


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_polars_gives(name: str, folder: Path, tmp_path: Path) -> None:
    check(name, folder, tmp_path, shape="main", width=WIDTHS[name])
    if name in ODD:
        check(name, folder, tmp_path, shape=ODD[name], width=2)


@pytest.mark.parametrize("name", GATHERING)
def test_what_is_listed_as_gathering_does(name: str, folder: Path) -> None:
    assert gathers(query_of(name, folder, "main")) == GATHERING[name]


@pytest.mark.parametrize(
    ("width", "name"), [(width, name) for width, names in WIDE.items() for name in names]
)
def test_it_does_so_in_many_partitions(width: int, name: str, folder: Path, tmp_path: Path) -> None:
    check(name, folder, tmp_path, shape="main", width=width)


def query_of(name: str, folder: Path, shape: str) -> pl.LazyFrame:
    with warnings.catch_warnings(action="ignore"):
        return CASES[name].query(open_table(folder, shape), open_table(folder, "right"))


def planned(query: pl.LazyFrame, *, width: int, fallback: str) -> StageGraph:
    settings = PlanSettings(
        single_task_bytes=0,
        parallelism=width,
        broadcast_bytes=1 << 20 if width == 2 else 0,
        fallback="raise" if fallback == "raise" else "silent",
        large_bytes=0,
    )
    return plan_outputs([PlanOutput("out", query)], settings=settings)


def gathers(query: pl.LazyFrame) -> str:
    """Return why a query gathers an input, if it does."""
    try:
        planned(query, width=3, fallback="raise")
    except UsageError as error:
        whys = re.findall(r"gathers [\d,]+ bytes: ([^;]*)", error.info.message)
        return "; ".join(dict.fromkeys(whys))
    except (PolarsError, PanicException):  # the error of the query itself
        pass
    return ""


def check(name: str, folder: Path, tmp_path: Path, *, shape: str, width: int) -> None:
    query = query_of(name, folder, shape)
    fallback = "silent" if name in GATHERING else "raise"
    expected = outcome(lambda: query.collect(engine="in-memory", optimizations=ORDERED))

    def split() -> pl.DataFrame:
        graph = planned(query, width=width, fallback=fallback)
        assert not any("could not be cut" in stage.why for stage in graph.stages)
        return run_inline(graph, tmp_path, job=f"job-{shape}-0-0").results["out"]

    actual = outcome(split)
    if not (isinstance(expected, pl.DataFrame) and isinstance(actual, pl.DataFrame)):
        assert actual == expected
    elif CASES[name].ordered:
        assert_frame_equal(actual, expected)
    else:
        assert actual.schema == expected.schema
        assert_frame_equal(in_any_order(actual), in_any_order(expected))


def outcome(run: Callable[[], pl.DataFrame]) -> pl.DataFrame | str:
    """Return the rows, or the class of Polars' error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return run()
    except (PolarsError, PanicException) as error:
        names = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, PolarsError)]
        return names[0] if names else "PanicException"


def write_list() -> None:
    """Write which queries gather."""
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name))
        whys = {case: gathers(query_of(case, Path(name), "main")) for case in CASES}
    found = {case: why for case, why in whys.items() if why}
    LIST.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_list()
