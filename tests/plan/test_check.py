"""`check` finds plans that would give a wrong answer; such a plan runs whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import polars as pl
import pytest
from polars import col
from polars.exceptions import PanicException

from minispark.plan import build
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.check import PlanBrokenError, check
from minispark.plan.decompositions import PREFIX
from minispark.plan.exchanges import Hash
from minispark.plan.polars_plan import leaf_node, on_top, parse, post_order, rewrite
from minispark.plan.relation import Draft, Part
from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.settings import PlanSettings

SCHEMA = {"k": pl.Int64(), "v": pl.Int64()}


def source(number: int = 0, *, keys: tuple[pl.Expr, ...] = (), partitions: int = 2) -> Draft:
    """A stage of two tasks, hashed into ``partitions`` if there are keys."""
    leaf = leaf_node(f"scan{number}", SCHEMA)
    draft = Draft(number, "source", [Part(leaf, 2)], dict(SCHEMA), Label.DETERMINATE)
    if keys:
        draft.exchange = Hash(partitions, keys)
    return draft


def reader(
    build: Callable[[pl.LazyFrame], pl.LazyFrame], mode: ReadMode, *, partitions: int = 2
) -> Draft:
    """A stage that reads stage 0."""
    node = on_top(leaf_node("stage0", SCHEMA), SCHEMA, build)
    part = Part(node, partitions, inputs=(StageInput("stage0", 0, mode),))
    return Draft(1, "result", [part], dict(SCHEMA), Label.DETERMINATE)


def _group(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.group_by("k").agg(col("v").sum())


def test_groups_over_rows_that_were_brought_together() -> None:
    check([source(keys=(col("k"),)), reader(_group, ReadMode.PARTITION)])
    check([source(), reader(_group, ReadMode.ALL, partitions=1)])


@pytest.mark.parametrize(
    ("name", "drafts"),
    [
        (
            "hashed by another column",
            [source(keys=(col("v"),)), reader(_group, ReadMode.PARTITION)],
        ),
        ("not exchanged at all", [source(), reader(_group, ReadMode.FORWARD)]),
        ("all rows in each task", [source(), reader(_group, ReadMode.ALL)]),
        (
            "more partitions than parts",
            [source(keys=(col("k"),), partitions=3), reader(_group, ReadMode.PARTITION)],
        ),
        ("head of a part", [source(), reader(lambda rows: rows.head(3), ReadMode.FORWARD)]),
        ("sort of a part", [source(), reader(lambda rows: rows.sort("k"), ReadMode.FORWARD)]),
        ("sum of a part", [source(), reader(lambda rows: rows.sum(), ReadMode.FORWARD)]),
        (
            "window over a part",
            [
                source(),
                reader(lambda rows: rows.with_columns(col("v").sum().over("k")), ReadMode.FORWARD),
            ],
        ),
        (
            "row index of a part",
            [source(), reader(lambda rows: rows.with_row_index(), ReadMode.FORWARD)],
        ),
        ("unique of a part", [source(), reader(lambda rows: rows.unique(), ReadMode.FORWARD)]),
        (
            "a user's function on a part",
            [
                source(),
                reader(lambda rows: rows.map_batches(lambda batch: batch), ReadMode.FORWARD),
            ],
        ),
        ("a stage before it is read", [replace(reader(_group, ReadMode.ALL), id=0), source(1)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_found(name: str, drafts: list[Draft]) -> None:
    with pytest.raises(PlanBrokenError):
        check(drafts)


AGAIN = {
    "top-k": lambda rows: rows.sort("k").head(3),
    "head": lambda rows: rows.head(3),
    "distinct": lambda rows: rows.unique(),
    "partial group_by": lambda rows: rows.group_by("k").agg(col("v").sum().alias(f"{PREFIX}v")),
}


@pytest.mark.parametrize("name", AGAIN)
def test_a_first_step_needs_a_second_one_whatever_its_stage_is_called(name: str) -> None:
    """The name of a stage does not count, only the nodes that its readers run."""
    step = AGAIN[name]
    part = Part(
        on_top(leaf_node("stage0", SCHEMA), SCHEMA, step),
        2,
        inputs=(StageInput("stage0", 0, ReadMode.FORWARD),),
    )

    def read_by(build: Callable[[pl.LazyFrame], pl.LazyFrame]) -> list[Draft]:
        first = Draft(1, name, [part], dict(SCHEMA), Label.DETERMINATE)
        node = on_top(leaf_node("stage1", SCHEMA), SCHEMA, build)
        last = Part(node, 1, inputs=(StageInput("stage1", 1, ReadMode.ALL),))
        return [source(), first, Draft(2, "result", [last], dict(SCHEMA), Label.DETERMINATE)]

    check(read_by(step))
    for other in (lambda rows: rows, lambda rows: rows.filter(col("v") > 1).pipe(step)):
        with pytest.raises(PlanBrokenError, match="on a part of the rows"):
            check(read_by(other))
    with pytest.raises(PlanBrokenError, match="on a part of the rows"):
        check(read_by(step)[:2])


@pytest.mark.parametrize(
    ("how", "fits"),
    [("inner", True), ("left", True), ("semi", True), ("right", False), ("full", False)],
)
def test_a_side_is_broadcast_only_if_its_unmatched_rows_are_never_emitted(
    how: Literal["inner", "left", "semi", "right", "full"], fits: bool
) -> None:
    left, right = (pl.LazyFrame(schema={"k": pl.Int64, name: pl.Int64}) for name in ("v", "w"))
    plan = parse(left.join(right, on="k", how=how))
    (join,) = [node for node in post_order(plan) if node.kind == "Join"]
    sides = {
        join.body["input_left"]: leaf_node("scan1", SCHEMA),
        join.body["input_right"]: leaf_node("stage0", {"k": pl.Int64(), "w": pl.Int64()}),
    }
    node = rewrite(plan, lambda part: sides.get(part, part))
    part = Part(node, 2, inputs=(StageInput("stage0", 0, ReadMode.ALL),))
    drafts = [source(), Draft(1, "result", [part], dict(SCHEMA), Label.UNORDERED)]
    if fits:
        check(drafts)
    else:
        with pytest.raises(PlanBrokenError):
            check(drafts)


def test_a_plan_that_does_not_hold_together_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(drafts: object) -> None:
        raise PlanBrokenError("stage 1 is wrong")

    monkeypatch.setattr(build, "check", refuse)
    query = pl.LazyFrame({"k": [1, 1], "v": [2, 3]}).group_by("k").agg(col("v").sum())
    graph = plan_outputs([PlanOutput("out", query)], settings=PlanSettings(parallelism=3))
    (stage,) = graph.stages
    assert (stage.partitions, stage.label) == (1, Label.INDETERMINATE)
    assert "stage 1 is wrong" in stage.why


def test_what_polars_panics_at_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("entered unreachable code")

    query = pl.LazyFrame({"k": [1, 1], "v": [2, 3]}).group_by("k").agg(col("v").sum())
    for place in ("push_down", "survey"):
        monkeypatch.setattr(build, place, panic)
        monkeypatch.setattr(pl.LazyFrame, "explain", panic)
        graph = plan_outputs([PlanOutput("out", query)], describe=True)
        (stage,) = graph.stages
        assert "Polars stopped with an internal error: entered unreachable code" in stage.why
        assert "entered unreachable code" in graph.logical
        monkeypatch.undo()


def test_an_expression_too_deep_to_cut_runs_whole() -> None:
    deep = col("v")
    for _ in range(1500):
        deep = deep + 1
    query = pl.LazyFrame({"v": [1]}).select(deep)
    (stage,) = plan_outputs([PlanOutput("out", query)]).stages
    assert "could not be cut" in stage.why
