"""Two jobs side by side, as data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.ui.records import JOB, finished_record, graph_of, key_of, report_of

from minispark.observe.record import JobRecord
from minispark.plan.stages import Stage, StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.ui import (
    Comparison,
    JobPage,
    JobPageInputs,
    Measure,
    change_words,
    compare_jobs,
    job_page_of,
)


def page_of(record: JobRecord) -> JobPage:
    shown = JobPageInputs(view=record.view(), rows=record.stage_rows(), metrics=record.metrics())
    return job_page_of(record, shown, now=99.0)


def ran(graph: StageGraph, *, map_s: float, reduce_s: float, rows: int = 10) -> JobPage:
    """A job whose stages took so long."""
    record = JobRecord(JOB, "words", graph, 0.0)
    now = 0.0
    for state, took_s in zip(graph.stages, (map_s, reduce_s), strict=True):
        for number in range(state.partitions):
            record.launched(key_of(state.id, number), "a", now)
        now += took_s
        for number in range(state.partitions):
            report = report_of(key_of(state.id, number), rows=rows, took_s=took_s)
            record.succeeded(report, "a", now)
    record.finished(JobStatus.SUCCEEDED, None, now)
    return page_of(record)


def totals(comparison: Comparison) -> dict[str, tuple[float | None, float | None]]:
    return {measure.name: (measure.a, measure.b) for measure in comparison.totals}


def test_a_job_is_the_same_as_itself() -> None:
    page = page_of(finished_record())
    comparison = compare_jobs(page, page)
    assert comparison.plan == []
    assert [(pair.a, pair.b, pair.changes) for pair in comparison.stages] == [
        (0, 0, []),
        (1, 1, []),
    ]
    assert {change_words(measure) for measure in comparison.totals} <= {"same", "-"}
    assert "took" in comparison.summary
    assert "Stage" not in comparison.summary


def test_rows_that_no_node_counted_are_left_out() -> None:
    page = page_of(finished_record())
    assert page.metrics.bytes_read > 0
    for rows, shown in ((0, None), (7, 7)):
        counted = page.metrics.model_copy(update={"input_records": rows})
        changed = page.model_copy(update={"metrics": counted})
        assert totals(compare_jobs(changed, changed))["rows read"] == (shown, shown)


def test_the_stage_that_changed_most_is_named() -> None:
    fast = ran(graph_of(), map_s=1, reduce_s=4, rows=10)
    slow = ran(graph_of(), map_s=9, reduce_s=3, rows=30)
    comparison = compare_jobs(fast, slow)
    assert comparison.summary == (
        "The first job took 5.0 s, the second 12.0 s (2.4 times). Stage map was 8.0 s longer."
    )
    assert totals(comparison)["time"] == (5, 12)
    assert totals(comparison)["bytes read"] == (600, 600)
    rows = {measure.name: measure for measure in comparison.stages[0].measures}["rows out"]
    assert (rows.a, rows.b) == (40, 120)


def test_differences_of_plans_are_lines_and_changes_of_stages() -> None:
    comparison = compare_jobs(
        ran(graph_of(tasks=4), map_s=1, reduce_s=1), ran(graph_of(tasks=8), map_s=1, reduce_s=1)
    )
    first, second = comparison.stages
    assert first.changes == ["tasks: 4, then 8"]
    assert second.changes == []
    only = {where: [line.text for line in comparison.plan if line.where == where] for where in "ab"}
    assert any("4 tasks" in line for line in only["a"])
    assert any("8 tasks" in line for line in only["b"])
    assert not any("Words" in line.text for line in comparison.plan)


def test_a_stage_of_one_job_only_has_no_partner() -> None:
    graph = graph_of()

    def named(stage: Stage, number: int) -> Stage:
        return replace(stage, id=number, name="distinct")

    alone = replace(graph, stages=(graph.stages[0],), results=())
    changed = replace(graph, stages=(*graph.stages[:1], named(graph.stages[0], 1)), results=())
    one = page_of(JobRecord(JOB, "a", alone, 0.0))
    other = page_of(JobRecord(JOB, "b", changed, 0.0))
    pairs = compare_jobs(one, other).stages
    assert [(pair.name, pair.a, pair.b) for pair in pairs] == [("map", 0, 0), ("distinct", None, 1)]
    pairs = compare_jobs(other, one).stages
    assert [(pair.name, pair.a, pair.b) for pair in pairs] == [("map", 0, 0), ("distinct", 1, None)]


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (10, 10, "same"),
        (0, 0, "same"),
        (10, 12, "+20 %"),
        (10, 5.5, "-45 %"),
        (10, 34, "3.4 times"),
        (10, 1, "0.1 times"),
        (0, 5, "-"),
        (None, 5, "-"),
        (5, None, "-"),
    ],
)
def test_changes_in_words(a: float | None, b: float | None, words: str) -> None:
    assert change_words(Measure(name="time", unit="s", a=a, b=b)) == words
