"""Two jobs side by side: totals, stages, and the lines in which their plans differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, unified_diff
from itertools import islice, zip_longest
from typing import Literal

from pydantic import BaseModel

from minispark.formatting import duration_words
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.ui.graph import GraphStage
from minispark.ui.job_page import JobPage

Unit = Literal["s", "rows", "bytes", "count", "ratio"]

_MAX_PLAN_LINES = 4_000
"""Of each plan: a comparison of longer ones takes seconds."""
_CONTEXT_LINES = 2
_NOTABLE = 0.05
"""A smaller share of the time of the first job is no difference worth a sentence."""


class Measure(BaseModel):
    """One metric of both jobs; None where a job does not have it."""

    name: str
    unit: Unit
    a: float | None
    b: float | None


class StagePair(BaseModel):
    """A stage of the first job and the same stage of the second; None if it has none."""

    name: str
    a: int | None
    b: int | None
    measures: list[Measure]
    changes: list[str]
    """What the plans say differently about the stage."""


class PlanLine(BaseModel):
    """A line of the plans; ``gap`` stands for lines that are equal."""

    where: Literal["both", "a", "b", "gap"]
    text: str


class Comparison(BaseModel):
    """Two jobs; ``plan`` is empty if their plans read the same."""

    a: JobView
    b: JobView
    summary: str
    totals: list[Measure]
    stages: list[StagePair]
    plan: list[PlanLine]


def compare_jobs(a: JobPage, b: JobPage) -> Comparison:
    """Return the comparison of two jobs."""
    totals, stages = _totals(a, b), list(_stages(a, b))
    return Comparison(
        a=a.job,
        b=b.job,
        summary=_summary(a.metrics.total_time_s, b.metrics.total_time_s, stages),
        totals=totals,
        stages=stages,
        plan=list(_plan(a.explain, b.explain)),
    )


def change_words(measure: Measure) -> str:
    """Return ``same``, ``+12 %`` or ``3.4 times``, from the first job to the second."""
    a, b = measure.a, measure.b
    if a is None or b is None or (a == 0 and b != 0):
        return "-"
    if a == b:
        return "same"
    ratio = b / a
    if 0.5 <= ratio < 2:
        return f"{100 * (ratio - 1):+.0f} %"
    return f"{ratio:.2g} times"


_TOTALS: tuple[tuple[str, Unit, str], ...] = (
    ("time", "s", "total_time_s"),
    ("time of all tasks", "s", "task_time_s"),
    ("queued", "s", "queued_s"),
    ("CPU time", "s", "cpu_s"),
    ("rows read", "rows", "input_records"),
    ("bytes read", "bytes", "bytes_read"),
    ("bytes between stages", "bytes", "bytes_shuffled"),
    ("bytes over the network", "bytes", "bytes_fetched"),
    ("bytes spilled", "bytes", "bytes_spilled"),
    ("largest task", "bytes", "peak_memory_bytes"),
    ("largest skew", "ratio", "skew"),
    ("stages", "count", "stages"),
    ("tasks", "count", "tasks"),
    ("tasks run again", "count", "retries"),
    ("cache hits", "count", "cache_hits"),
)
_OF_A_STAGE: tuple[tuple[str, Unit, str], ...] = (
    ("time", "s", "duration_s"),
    ("time of all tasks", "s", "task_time_s"),
    ("rows in", "rows", "records_in"),
    ("rows out", "rows", "records_out"),
    ("bytes written", "bytes", "bytes_written"),
    ("skew", "ratio", "skew"),
)


def _totals(a: JobPage, b: JobPage) -> list[Measure]:
    return [
        Measure(name=name, unit=unit, a=_total(a.metrics, field), b=_total(b.metrics, field))
        for name, unit, field in _TOTALS
    ]


def _total(metrics: JobMetrics, field: str) -> float | None:
    """Return a metric; None for the rows of a job that read files and counted none."""
    value: float | None = getattr(metrics, field)
    return None if field == "input_records" and metrics.bytes_read and not value else value


def _stages(a: JobPage, b: JobPage) -> Iterator[StagePair]:
    """Yield the stages in the order of the plans: equal ones in pairs, then changed ones."""
    firsts, seconds = _with_rows(a), _with_rows(b)
    one, other = ([(stage.name, *stage.nodes) for stage, _ in side] for side in (firsts, seconds))
    matches = SequenceMatcher(None, one, other, autojunk=False)
    for _, a_from, a_to, b_from, b_to in matches.get_opcodes():
        for first, second in zip_longest(firsts[a_from:a_to], seconds[b_from:b_to]):
            yield _pair(first, second)


_Row = tuple[GraphStage, StageRow]


def _with_rows(page: JobPage) -> list[_Row]:
    rows = [row for row in page.rows if row.kind == "stage"]
    return list(zip(page.graph.stages, rows, strict=True))


def _pair(a: _Row | None, b: _Row | None) -> StagePair:
    stages = [side[0] for side in (a, b) if side is not None]
    names = dict.fromkeys(stage.name for stage in stages)
    return StagePair(
        name=" / ".join(names),
        a=None if a is None else a[0].number,
        b=None if b is None else b[0].number,
        measures=[
            Measure(
                name=name,
                unit=unit,
                a=None if a is None else getattr(a[1], field),
                b=None if b is None else getattr(b[1], field),
            )
            for name, unit, field in _OF_A_STAGE
        ],
        changes=[] if a is None or b is None else list(_changes(a[0], b[0])),
    )


def _changes(a: GraphStage, b: GraphStage) -> Iterator[str]:
    if a.tasks != b.tasks:
        yield f"tasks: {a.tasks}, then {b.tasks}"
    pairs: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
        ("operators", a.nodes, b.nodes),
        ("reads", a.reads, b.reads),
        ("writes", [a.writes], [b.writes]),
        ("filters and columns moved into the scan", a.pushed, b.pushed),
    )
    for name, one, other in pairs:
        if list(one) != list(other):
            texts = [", ".join(filter(None, side)) or "nothing" for side in (one, other)]
            yield f"{name}: {texts[0]}; then {texts[1]}"


def _summary(a_s: float, b_s: float, stages: Sequence[StagePair]) -> str:
    change = change_words(Measure(name="time", unit="s", a=a_s, b=b_s))
    sentence = f"The first job took {duration_words(a_s)}, the second {duration_words(b_s)}"
    sentence += "." if change in ("same", "-") else f" ({change})."
    differences = [
        (pair.measures[0].b - pair.measures[0].a, pair)
        for pair in stages
        if pair.measures[0].a is not None and pair.measures[0].b is not None
    ]
    if not differences:
        return sentence
    most, pair = max(differences, key=lambda entry: abs(entry[0]))
    if abs(most) < _NOTABLE * max(a_s, b_s):
        return sentence
    more = "longer" if most > 0 else "shorter"
    return f"{sentence} Stage {pair.name} was {duration_words(abs(most))} {more}."


def _plan(a: str, b: str) -> Iterator[PlanLine]:
    """Yield the lines that differ, with some lines around them."""
    one, other = (list(islice(_plan_lines(text), _MAX_PLAN_LINES)) for text in (a, b))
    difference = unified_diff(one, other, n=_CONTEXT_LINES, lineterm="")
    for number, line in enumerate(islice(difference, 2, None)):
        if line.startswith("@@"):
            if number:
                yield PlanLine(where="gap", text="")
            continue
        where: dict[str, Literal["both", "a", "b"]] = {"-": "a", "+": "b"}
        yield PlanLine(where=where.get(line[0], "both"), text=line[1:])


def _plan_lines(text: str) -> Iterator[str]:
    """Yield the lines of a plan, without the explanation of its words."""
    yield from text.partition("\n\nWords\n")[0].splitlines()
