"""The records of a simulated master's jobs: kept up to date, or folded from its journal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta, PartitionMeta, Receipt
from minispark.ids import TaskKey
from minispark.journal import rows as stored
from minispark.journal.decisions import decisions_of, encode_command
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import (
    EventRow,
    Evidence,
    FailureRow,
    Registration,
    Submission,
    SuccessRow,
    job_of,
)
from minispark.observe.projection import apply
from minispark.observe.record import JobRecord
from minispark.plan.stages import (
    Branch,
    Output,
    OutputKind,
    ResultSpec,
    SinkSpec,
    Stage,
    StageGraph,
)
from minispark.scheduler.events import (
    Event,
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec, StageSpec
from minispark.task.spec import InputGeneration, TaskFailure, TaskReport
from minispark.testing.sim.journal import SimRow


class Records:
    """Records of all jobs of a state directory, updated row by row.

    ``journal`` are the rows at the start of a master.
    """

    def __init__(self, journal: Iterable[SimRow] = ()) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self._seq = 0
        for row in journal:
            self._seq += 1
            self._apply(stored.Row.read(_written(row, self._seq)))

    def read(self, row: SimRow) -> None:
        """Apply the next row, as a running master has it."""
        self._seq += 1
        happening, decisions = _evidence(row.fact), decisions_of(row.commands)
        self._apply(stored.Row(self._seq, row.now, job_of(row.fact), happening, decisions))

    def shown(self) -> dict[str, tuple[Any, ...]]:
        """Return all views of each job."""
        return {
            job: (record.view(), record.stage_rows(), record.metrics(), record.attempts)
            for job, record in self.jobs.items()
        }

    def _apply(self, row: stored.Row) -> None:
        if isinstance(row.happening, Submission):
            spec = row.happening.job
            record = JobRecord(spec.job, spec.job, graph_of(spec), row.at)
            self.jobs.setdefault(spec.job, record)
        for job in row.about(self.jobs):
            if job in self.jobs:
                apply(self.jobs[job], row)


def _written(row: SimRow, seq: int) -> JournalEvent:
    """Return a row as the journal stores it."""
    evidence = _evidence(row.fact)
    payload = evidence if isinstance(evidence, Evidence) else EventRow.model_construct(row.fact)
    commands = json.dumps([encode_command(command) for command in row.commands])
    text = to_json(payload, bytes_mode="base64").decode()
    job = job_of(row.fact)
    return JournalEvent(seq, job, row.fact.kind, row.now, row.now, text, commands)


def _evidence(fact: Event) -> Evidence | Event:
    """Return an event with the evidence that a worker or a client would send."""
    match fact:
        case JobSubmitted(job=spec):
            hits = tuple(
                CacheHit(key, output.worker, key, _block(output.receipt))
                for output in spec.found
                for key in [TaskKey(spec.job, output.stage, 0, output.partition, 0)]
            )
            return Submission(job=spec, found=hits)
        case TaskSucceeded():
            report = TaskReport(
                fact.key,
                _block(fact.receipt),
                inputs=_inputs(fact),
                nodes={f"n{fact.key.stage}": sum(fact.receipt.rows)},
                rows_in=len(fact.inputs),
                duration_s=fact.seconds or 0.0,
            )
            return SuccessRow(worker=fact.worker, epoch=fact.epoch, report=report)
        case TaskFailed():
            failure = TaskFailure(fact.key, fact.failure, _inputs(fact), log=("last words",))
            return FailureRow(worker=fact.worker, epoch=fact.epoch, report=failure)
        case WorkerRegistered(worker=name):
            return Registration(
                worker=name, epoch=fact.epoch, slots=fact.slots, url="", host="", directory=""
            )
        case _:
            return fact


def _inputs(fact: TaskSucceeded | TaskFailed) -> tuple[InputGeneration, ...]:
    return tuple(InputGeneration(*pair) for pair in fact.inputs)


def _block(receipt: Receipt) -> BlockMeta:
    pairs = zip(receipt.rows, receipt.rows_checksums, strict=True)
    return BlockMeta(
        tuple(
            # Checksums of blocks have no sign, versions of simulated ones do.
            PartitionMeta(0, 8 * rows, rows, 0, None if check is None else check % (1 << 64))
            for rows, check in pairs
        )
    )


def graph_of(spec: JobSpec) -> StageGraph:
    """Return a plan whose `JobSpec` is this one."""
    return StageGraph(
        tuple(_stage(stage) for stage in spec.stages),
        tuple(ResultSpec(f"n{stage.id}", stage.id, ()) for stage in spec.stages if stage.result),
        flow={
            f"n{stage.id}": tuple(f"n{edge.stage}" for b in stage.branches for edge in b.inputs)
            for stage in spec.stages
        },
    )


def _stage(spec: StageSpec) -> Stage:
    branches = tuple(
        Branch(b"", branch.partitions, inputs=branch.inputs) for branch in spec.branches
    )
    sink = SinkSpec("csv", "/out") if spec.sink else None
    output = Output(OutputKind.SINK if spec.sink else OutputKind.SINGLE, sink=sink)
    return Stage(spec.id, f"s{spec.id}", branches, output, spec.label, (f"n{spec.id}",))
