"""Advice on a job: rules over its record that say why it was not faster, and what to change.

Each rule is a function from the facts to a few pieces of advice. A rule gives advice only if the
change would be noticed and the cause is certain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from pydantic import BaseModel

from minispark.errors import Failure, FetchFailed, OutOfMemory, TaskError, TimedOut, WorkerLost
from minispark.formatting import bytes_words, count_words, duration_words, many
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import StageState
from minispark.plan.stages import ReadMode
from minispark.settings import MIB

_FELT_S = 0.5
"""Time below which a change is not worth it."""
_SKEWED = 3.0
"""Ratio to the median below which the tasks of a stage end at nearly the same time."""
_SMALL_FILE = MIB
_MANY_FILES = 16
_SHORT_S = 0.02
"""Time below which a task takes longer to start than to run."""
_LARGE_GATHER = 64 * MIB
_SLOW_WORKER = 2.0


class Advice(BaseModel):
    """An observation, and the change to make."""

    rule: str
    what: str
    change: str
    stage: str | None = None
    """``id`` of its row in the stage table."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of the rules."""

    record: JobRecord
    slots: int
    """Number of tasks that the cluster can run at a time; 0 if unknown."""


Rule = Callable[[Facts], Iterator[Advice]]


def why(facts: Facts) -> list[Advice]:
    """Apply all rules, in their order."""
    return [advice for rule in RULES for advice in rule(facts)]


def skew(facts: Facts) -> Iterator[Advice]:
    """Find stages that wait for one task with much more input than the others."""
    for state in facts.record.stages.values():
        reports = list(state.reports.values())
        if len(reports) < 3:
            continue
        slowest = max(reports, key=lambda report: report.duration_s)
        middle = median(report.duration_s for report in reports)
        if slowest.duration_s < max(_SKEWED * middle, middle + _FELT_S):
            continue
        rows = [report.rows_in or sum(report.nodes.values()) for report in reports]
        own = slowest.rows_in or sum(slowest.nodes.values())
        typical = median(rows)
        if not typical or own < _SKEWED * typical:
            continue
        scans = state.scans_rows
        yield Advice(
            rule="skew",
            stage=_id(state),
            what=f"Partition {slowest.key.partition} of {_name(state)} got {count_words(own)} "
            f"rows, {own / typical:.1f} times the median, and ran "
            f"{duration_words(slowest.duration_s)} where half of the tasks took "
            f"{duration_words(middle)} or less.",
            change="Split its input evenly: large files can be cut, compressed ones cannot."
            if scans
            else "One key has most of the rows. Filter it out if it is not needed (null, an empty "
            "text), or add a second column to the key; more partitions do not help.",
        )


def slow_worker(facts: Facts) -> Iterator[Advice]:
    """Find workers on which the same tasks take much longer."""
    ratios: dict[str, list[float]] = {}
    for state in facts.record.stages.values():
        times = [report.duration_s for report in state.reports.values()]
        if len(times) < 4 or median(times) < _SHORT_S:
            continue
        middle = median(times)
        for report in state.reports.values():
            attempt = facts.record.attempts.get(report.key)
            if attempt is not None:
                ratios.setdefault(attempt.worker, []).append(report.duration_s / middle)
    for worker, values in ratios.items():
        if len(values) >= 4 and len(ratios) > 1 and median(values) >= _SLOW_WORKER:
            yield Advice(
                rule="slow-worker",
                what=f"Worker {worker} took {median(values):.1f} times as long as the others for "
                "tasks of the same stage.",
                change="Check what else runs on its machine, or start it with fewer --threads.",
            )


def gather(facts: Facts) -> Iterator[Advice]:
    """Find stages that bring a large input together in one task."""
    for state in facts.record.stages.values():
        stage = state.stage
        reads = {entry.mode for branch in stage.branches for entry in branch.inputs}
        if stage.partitions != 1 or not state.reports or reads != {ReadMode.ALL}:
            continue
        report = state.reports[0]
        sizes = [facts.record.stages[entry.stage] for b in stage.branches for entry in b.inputs]
        size = sum(r.block.bytes for source in sizes for r in source.reports.values())
        if report.duration_s < _FELT_S and size < _LARGE_GATHER:
            continue
        because = f": {stage.why}" if stage.why else ""
        yield Advice(
            rule="gather",
            stage=_id(state),
            what=f"{_name(state, capital=True)} brought {count_words(report.rows_in)} rows "
            f"({bytes_words(size)}) together in one task, which ran "
            f"{duration_words(report.duration_s)} alone{because}.",
            change="Filter or aggregate before it; where only the first rows are needed, put a "
            "limit right after the sort.",
        )


def tiny_files(facts: Facts) -> Iterator[Advice]:
    """Find stages that read or write many very small files."""
    for state in facts.record.stages.values():
        sizes: dict[str, int] = {}
        for branch in state.stage.branches:
            for scan in branch.scans:
                if not scan.spec.format.auxiliary:
                    sizes |= {s.path: s.size for task in scan.tasks for s in task}
        if len(sizes) >= _MANY_FILES and sum(sizes.values()) < len(sizes) * _SMALL_FILE:
            mean = sum(sizes.values()) / len(sizes)
            yield Advice(
                rule="tiny-files",
                stage=_id(state),
                what=f"{_name(state, capital=True)} read {many(len(sizes), 'file')} of "
                f"{bytes_words(mean)} on average; opening them takes longer than reading.",
                change="Combine them into fewer, larger files, or give the reading node fewer "
                "partitions, so that a task reads several.",
            )
        sinks = [r.sink for r in state.reports.values() if r.sink is not None and r.sink.rows]
        size = sum(file.bytes for file in sinks)
        if len(sinks) >= _MANY_FILES and size < len(sinks) * _SMALL_FILE:
            yield Advice(
                rule="tiny-files",
                stage=_id(state),
                what=f"{_name(state, capital=True)} wrote {many(len(sinks), 'file')} of "
                f"{bytes_words(size / len(sinks))} on average.",
                change="Put a repartition with a smaller n before the write.",
            )


def idle_slots(facts: Facts) -> Iterator[Advice]:
    """Find long stages that have fewer tasks than the cluster could run at a time."""
    for state in facts.record.stages.values():
        tasks = state.stage.partitions
        took = max((r.duration_s for r in state.reports.values()), default=0.0)
        reads = {entry.mode for branch in state.stage.branches for entry in branch.inputs}
        gathered = tasks == 1 and reads == {ReadMode.ALL}
        if tasks >= facts.slots or took < 2 * _FELT_S or gathered:
            continue
        idle = facts.slots - tasks
        yield Advice(
            rule="idle-slots",
            stage=_id(state),
            what=f"{_name(state, capital=True)} had {many(tasks, 'task')} where the cluster can "
            f"run {facts.slots} at a time: {many(idle, 'slot')} had no task of it for up to "
            f"{duration_words(took)}.",
            change=f"Use more partitions: parallelism {facts.slots} or more"
            + (", or files that can be cut." if state.scans_rows else "."),
        )


def short_tasks(facts: Facts) -> Iterator[Advice]:
    """Find stages with tasks so short that most of the time is spent to start them."""
    for state in facts.record.stages.values():
        times = [report.duration_s for report in state.reports.values()]
        enough = max(64, 8 * facts.slots)
        if len(times) < enough or median(times) >= _SHORT_S:
            continue
        yield Advice(
            rule="short-tasks",
            stage=_id(state),
            what=f"{_name(state, capital=True)} was cut into {many(len(times), 'task')}, half of "
            f"which took {duration_words(median(times))} or less: starting them took longer "
            "than that.",
            change=f"Use fewer partitions, such as {max(facts.slots, 1) * 4}, or leave "
            "the number out: the default is based on input size.",
        )


def wide_exchange(facts: Facts) -> Iterator[Advice]:
    """Find exchanges of very many, very small parts."""
    for state in facts.record.stages.values():
        output = state.stage.output
        parts = output.partitions * len(state.reports)
        if output.partitions == 1 or parts < 10_000:
            continue
        size = sum(report.block.bytes for report in state.reports.values())
        if size < parts * 4_096:
            yield Advice(
                rule="wide-exchange",
                stage=_id(state),
                what=f"The exchange after {_name(state)} has {parts:,} parts of "
                f"{bytes_words(size / parts)} on average.",
                change="Use fewer partitions on either side of it.",
            )


def retries(facts: Facts) -> Iterator[Advice]:
    """Give advice for each kind of failure."""
    failures: Counter[type[Failure]] = Counter()
    for attempt in facts.record.attempts.values():
        if attempt.status == "FAILED" and attempt.failure is not None:
            failures[type(attempt.failure)] += 1
    for kind, (words, change) in _FAILURES.items():
        if failures[kind]:
            attempts = many(failures[kind], "attempt")
            yield Advice(rule="retries", what=f"{attempts} {words}.", change=change)


def rollbacks(facts: Facts) -> Iterator[Advice]:
    """Find stages that were run again as a whole."""
    for state in facts.record.stages.values():
        if state.generation:
            yield Advice(
                rule="rollback",
                stage=_id(state),
                what=f"{_name(state, capital=True)} was run again as a whole "
                f"{many(state.generation, 'time')}: a block of it was lost, and a second run may "
                "give different rows.",
                change="Sort before limit, sample or a row number, so that a lost block "
                "can be computed again alone.",
            )


RULES: tuple[Rule, ...] = (
    skew,
    gather,
    idle_slots,
    short_tasks,
    wide_exchange,
    tiny_files,
    slow_worker,
    rollbacks,
    retries,
)

_FAILURES: dict[type[Failure], tuple[str, str]] = {
    WorkerLost: (
        "ended because a worker or its process ended",
        "See the log of the worker: it may have been killed for using too much memory, or lost "
        "its network connection.",
    ),
    OutOfMemory: (
        "exceeded the memory limit",
        "Increase the workers' --memory-limit-mb, or use more partitions.",
    ),
    TimedOut: (
        "timed out",
        "Increase --task-timeout, or use more partitions.",
    ),
    FetchFailed: (
        "could not read a block of an earlier stage, which was computed again",
        "If no worker was stopped, check the disks of the workers that stored the blocks.",
    ),
    TaskError: (
        "raised an error",
        "An error that occurs twice with the same message fails the job.",
    ),
}


def _id(state: StageState) -> str:
    return f"stage-{state.stage.id}"


def _name(state: StageState, *, capital: bool = False) -> str:
    return f"{'Stage' if capital else 'stage'} {state.stage.id} ({state.stage.name})"
