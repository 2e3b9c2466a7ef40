"""``minispark replay``: a job's journal, step by step, in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import AsJson, Master, print_json

if TYPE_CHECKING:
    from minispark.observe.story import JournalStep


def replay(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a running or completed job.")],
    *,
    step: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Show this step only.")
    ] = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Step through a job's journal: what happened, what the scheduler decided, and why.

    On a terminal it shows one step at a time: n (or Enter) next, p previous, a number for that
    step, q to quit. Without a terminal it prints all steps.
    """
    from minispark.cli.terminal import output
    from minispark.engines.http import MasterClient
    from minispark.errors import UsageError
    from minispark.observe.record import JobRecord
    from minispark.observe.story import story

    with MasterClient(master) as client:
        job_id = client.find_job(job_id)
        record = JobRecord(job_id, job_id, client.plan(job_id), 0.0)
        steps = list(story(client.rows(job_id), record))
    if not steps:
        msg = f"the journal no longer has {job_id}"
        raise UsageError(msg, code="MS-144")
    if step is not None and step > len(steps):
        msg = f"{job_id} has {len(steps)} steps"
        raise UsageError(msg, field="step")
    chosen = steps if step is None else [steps[step - 1]]
    if json:
        print_json([asdict(one) for one in chosen])
    elif step is not None:
        _print_step(steps, step)
    elif sys.stdin.isatty() and output.is_terminal:
        _walk(steps)
    else:
        for number in range(1, len(steps) + 1):
            _print_step(steps, number)
            output.print_line()


def _walk(steps: Sequence[JournalStep]) -> None:
    from minispark.cli.terminal import output

    number = 1
    while True:
        _print_step(steps, number)
        output.print_line()
        try:
            said = input("n(ext) p(revious) q(uit) or a number: ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            output.print()
            return
        if said in ("q", "quit"):
            return
        number = _next(said, number, len(steps))


def _next(said: str, number: int, last: int) -> int:
    """Return the step to show after what was typed at one of them."""
    if said.isdecimal():
        wanted = int(said)
    else:
        wanted = number - 1 if said in ("p", "previous") else number + 1
    return max(1, min(last, wanted))


def _print_step(steps: Sequence[JournalStep], number: int) -> None:
    from minispark.cli.terminal import output

    for line in _lines(steps, number):
        output.print_line(line)


def _lines(steps: Sequence[JournalStep], number: int) -> list[str]:
    step = steps[number - 1]
    at = datetime.fromtimestamp(step.at, UTC).astimezone().strftime("%T.%f")[:-3]
    lines = [
        f"step {number} of {len(steps)}   {at}   +{step.at - steps[0].at:.3f} s",
        f"  {step.what}",
        f"  then: {step.waiting} tasks waiting, {step.running} running, {step.done} done",
    ]
    lines += [
        f"    stage {stage.stage}: {stage.waiting} waiting, {stage.running} running, "
        f"{stage.done} done" + (f", generation {stage.generation + 1}" if stage.generation else "")
        for stage in step.stages
    ]
    if step.workers:
        loads = ", ".join(f"{name} {load}" for name, load in step.workers.items())
        lines.append(f"    attempts of this job on workers: {loads}")
    for deed in step.decided:
        lines.append(f"  -> {deed.sentence}")
        if deed.rule:
            lines.append(f"     because {deed.rule}")
    if not step.decided:
        lines.append("  -> nothing")
    return lines
