"""``minispark compare``: two jobs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import AsJson, Master, connect, print_json

if TYPE_CHECKING:
    from minispark.ui import Comparison, Measure

_SIGNS = {"a": "- ", "b": "+ ", "both": "  ", "gap": "..."}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A job.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The job to compare it with.")],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Compare two jobs: time, rows, bytes and skew of each stage, and their plans."""
    from minispark.ui import JobPage, compare_jobs

    with connect(master) as client:
        pages = [
            JobPage.model_validate(client.get_json(f"/api/v1/jobs/{client.find_job(job)}/sheet"))
            for job in (a, b)
        ]
    comparison = compare_jobs(*pages)
    if json:
        print_json(comparison.model_dump(mode="json"))
    else:
        print_comparison(comparison)


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison."""
    from minispark.cli.terminal import output, print_table

    for name, job in (("first", comparison.a), ("second", comparison.b)):
        output.print_line(f"{name:8}{job.job_id}  {job.name}  {job.status.value}")
    output.print_line(comparison.summary)
    columns = ("", "first", "second", "change")
    shown = [measure for measure in comparison.totals if measure.a or measure.b]
    print_table(columns, list(map(_row, shown)), numbers=columns[1:], whole=columns[:1])
    rows = [
        (pair.name if not number else "", *_row(measure))
        for pair in comparison.stages
        for number, measure in enumerate(pair.measures)
    ]
    print_table(("stage", *columns), rows, numbers=columns[1:])
    for pair in comparison.stages:
        if pair.a is None or pair.b is None:
            side = "second" if pair.a is None else "first"
            output.print_line(f"stage {pair.name}: only in the {side} job")
        for change in pair.changes:
            output.print_line(f"stage {pair.name}: {change}")
    if not comparison.plan:
        output.print_line("both plans are the same")
    for line in comparison.plan:
        output.print_line(_SIGNS[line.where] + line.text)


def _row(measure: Measure) -> tuple[str, str, str, str]:
    from minispark.ui import change_words

    return (
        measure.name,
        _value(measure, measure.a),
        _value(measure, measure.b),
        change_words(measure),
    )


def _value(measure: Measure, number: float | None) -> str:
    from minispark.formatting import bytes_words, count_words, duration_words

    match measure.unit:
        case "s":
            return duration_words(number)
        case "bytes":
            return bytes_words(number)
        case "ratio":
            return "-" if number is None else f"{number:.1f}"
        case _:
            return count_words(number)
