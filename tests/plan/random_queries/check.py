"""Compares what a query gives, cut into stages, with what plain Polars gives."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from polars.exceptions import PanicException
from polars.testing import assert_frame_equal
from tests.plan.random_queries.query import MAX_ROWS, SETTINGS, RandomQuery, build
from tests.plan.repeats import BrokenLabelError, Repeater, in_any_order
from tests.runners.inline import run_inline

from minispark.plan.build import PlanOutput, plan_outputs

_REPEATS = 4
_DEFAULT = pl.QueryOptFlags()
_ORDERED = pl.QueryOptFlags(check_order_observe=False)
"""Polars gives up an order if it thinks that nothing observes it, sometimes wrongly (2.1.0)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check: ``kind`` is "different" if the fault is ours."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    frame: pl.DataFrame | None
    error: str = ""
    label: bool = False


def check_query(
    query: RandomQuery, tables: Mapping[str, pl.LazyFrame], *, times: int = 1
) -> Outcome:
    """Run a query by plain Polars and in stages, and compare rows, columns and dtypes.

    Each task runs ``times`` times, and gives what the label of its stage promises.
    """
    frame = build(query.lines, tables)
    expected = _plain(frame, "in-memory")
    if expected.frame is not None and expected.frame.height > 4 * MAX_ROWS:
        return Outcome("too large")
    actual = _in_stages(frame, query.settings, times)
    if actual.label:
        return Outcome("different", actual.error)
    difference = _difference(actual, expected, ordered=query.ordered)
    if not difference:
        return Outcome("same" if actual.error == "" else "same error")
    return _explained(query, tables, expected, actual, difference)


def _explained(
    query: RandomQuery,
    tables: Mapping[str, pl.LazyFrame],
    expected: _Answer,
    actual: _Answer,
    difference: str,
) -> Outcome:
    """Return whether the fault is ours, or plain Polars itself gives several answers."""
    if actual.frame is None and _a_step_fails(query, tables):
        # The optimizer of Polars drops an expression that nothing reads, even if it would fail.
        return Outcome("Polars leaves out an error", difference)
    frame = build(query.lines, tables)
    answers = [_plain(frame, "in-memory", _ORDERED)]
    answers += [_plain(build(query.lines, tables), "streaming") for _ in range(_REPEATS)]
    if any(_difference(answer, expected, ordered=query.ordered) for answer in answers):
        return Outcome("Polars differs from itself", difference)
    return Outcome("different", difference)


def _a_step_fails(query: RandomQuery, tables: Mapping[str, pl.LazyFrame]) -> bool:
    steps = (query.lines[:count] for count in range(1, len(query.lines)))
    return any(_plain(build(lines, tables), "in-memory").error for lines in steps)


def _plain(
    frame: pl.LazyFrame,
    engine: Literal["in-memory", "streaming"],
    flags: pl.QueryOptFlags = _DEFAULT,
) -> _Answer:
    try:
        return _Answer(frame.collect(engine=engine, optimizations=flags))
    except (Exception, PanicException) as error:
        return _Answer(None, _named(error))


def _in_stages(frame: pl.LazyFrame, settings: str, times: int) -> _Answer:
    folder = Path(tempfile.mkdtemp(prefix="minispark-test-"))
    try:
        graph = plan_outputs([PlanOutput("out", frame)], settings=SETTINGS[settings])
        uncut = [stage.why for stage in graph.stages if "could not be cut" in stage.why]
        if uncut:
            return _Answer(None, f"not cut: {uncut[0]}")
        run = run_inline(graph, folder, run_one=Repeater(graph, times))
        return _Answer(run.results["out"])
    except BrokenLabelError as error:
        return _Answer(None, _named(error), label=True)
    except (Exception, PanicException) as error:
        return _Answer(None, _named(error))
    finally:
        shutil.rmtree(folder)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:600]}"


def _difference(actual: _Answer, expected: _Answer, *, ordered: bool) -> str:
    if actual.frame is None or expected.frame is None:
        if actual.frame is None and expected.frame is None and "not cut" not in actual.error:
            return ""
        if expected.error.startswith("PanicException"):
            return ""
        return f"got {actual.error or 'rows'}, expected {expected.error or 'rows'}"
    if actual.frame.schema != expected.frame.schema:
        return f"got {actual.frame.schema}, expected {expected.frame.schema}"
    try:
        assert_frame_equal(
            actual.frame if ordered else in_any_order(actual.frame),
            expected.frame if ordered else in_any_order(expected.frame),
            check_exact=False,
        )
    except AssertionError as error:
        return str(error)
    return ""
