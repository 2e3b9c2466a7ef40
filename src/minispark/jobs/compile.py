"""A sound job -> one LazyFrame a node -> what the planner is given.

Every node is first built over empty tables with the columns of its inputs: that finds unknown
columns and wrong types in microseconds, without looking at a file again.

Every node that gives rows carries a counter, once. What several nodes read is one LazyFrame, which
the planner computes once; a scan is not kept but read again, so only its first reader counts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import InvalidOperationError, PanicException, PolarsError, SchemaError

from minispark.errors import UsageError
from minispark.jobs.contract import JsonJob
from minispark.jobs.operators import Cache, Operator, Read, Write
from minispark.jobs.paths import place_output
from minispark.jobs.reading import OnRead
from minispark.jobs.sources import open_source
from minispark.jobs.suggest import shown
from minispark.jobs.tables import Table, polars_failed
from minispark.jobs.transforms import MAIN_FIELDS, transform
from minispark.plan.build import PlanOutput
from minispark.plan.counters import counted
from minispark.plan.markers import cached
from minispark.plan.stages import SinkSpec


@dataclass(frozen=True, slots=True)
class CompiledJob:
    """What the planner needs of a job. ``flow``: each counted node and the nodes it reads."""

    outputs: tuple[PlanOutput, ...]
    flow: Mapping[str, tuple[str, ...]]
    parallelism: int | None = None


def compile_job(
    job: JsonJob, *, data_root: Path | None = None, on_read: OnRead = lambda _reading: None
) -> CompiledJob:
    """Make LazyFrames of a job's nodes; ``on_read`` is called before and after each is read.

    Raises
    ------
    UsageError
        A column, expression, type or path is wrong; ``info`` names the node and the field.
    """
    compiler = _Compiler(data_root, on_read)
    for node in job.nodes:
        compiler.add(node, job.inputs[node.id])
    outputs = tuple(compiler.output(node) for node in job.ends)
    compiler.check_outputs([node for node in job.ends if isinstance(node, Write)])
    return CompiledJob(outputs, dict(job.inputs), job.parallelism)


class _Compiler:
    def __init__(self, data_root: Path | None, on_read: OnRead) -> None:
        self.data_root = data_root
        self.on_read = on_read
        self.tables: dict[str, Table] = {}
        self.uncounted: dict[str, pl.LazyFrame] = {}
        self.files: dict[str, tuple[str, ...]] = {}

    def add(self, node: Operator, inputs: Sequence[str]) -> None:
        """Build one node over its inputs, which are there already."""
        if isinstance(node, Read):
            table, found = open_source(node, self.data_root, self.on_read)
            self.files[node.id] = found.files
            self.uncounted[node.id] = table.frame
        else:
            schema = _resolved(node, [self._empty(name) for name in inputs])
            table = Table(node.id, transform(node, [self._take(name) for name in inputs]), schema)
        frame = counted(table.frame, node.id)
        if isinstance(node, Cache):
            # Above the counter: rows that are found again are not counted again.
            frame = cached(frame, node.id)
        self.tables[node.id] = Table(node.id, frame, table.schema)

    def _empty(self, name: str) -> Table:
        schema = self.tables[name].schema
        return Table(name, pl.LazyFrame(schema=dict(schema)), schema)

    def _take(self, name: str) -> Table:
        """Return the rows of a node for one more reader."""
        table = self.tables[name]
        bare = self.uncounted.get(name)
        if bare is not None:
            self.tables[name] = Table(name, bare, table.schema)
        return table

    def output(self, node: Operator) -> PlanOutput:
        """Return the end of the job that a node is."""
        sink = None
        if isinstance(node, Write):
            path = place_output(node, self.data_root)
            sink = SinkSpec(node.op.removeprefix("write_"), path, overwrite=node.overwrite)
        return PlanOutput(node.id, self.tables[node.id].frame, sink)

    def check_outputs(self, writes: Sequence[Write]) -> None:
        """Refuse two writers of one directory, and a writer into what the job reads."""
        taken: dict[Path, str] = {}
        for node in writes:
            output = Path(self.data_root or "", place_output(node, self.data_root))
            place = Path(os.path.realpath(output))  # A circle of links is refused later.
            for other, name in taken.items():
                if place.is_relative_to(other) or other.is_relative_to(place):
                    raise _clash(node, f"{shown(name)} writes there too")
            taken[place] = node.id
            for name, files in self.files.items():
                if any(Path(os.path.realpath(file)).is_relative_to(place) for file in files):
                    raise _clash(node, f"{shown(name)} reads from there")


def _clash(node: Write, why: str) -> UsageError:
    return UsageError(
        f"node {shown(node.id)} ({node.op}) cannot write to {shown(node.path)}: {why}",
        code="MS-166",
        node=node.id,
        field="path",
        file=node.path,
        hint="write to a directory of its own",
    )


def _resolved(node: Operator, empty: Sequence[Table]) -> dict[str, pl.DataType]:
    """Return the columns of a node, built over empty tables."""
    try:
        frame = transform(node, empty)
        schema = dict(frame.collect_schema())
        _try_types(frame)
    except (PolarsError, PanicException) as error:
        known = [name for table in empty for name in table.schema]
        raise polars_failed(node, _field(node), error, known) from None
    return schema


def _try_types(frame: pl.LazyFrame) -> None:
    """Run a node over no rows: some functions refuse a type only then.

    Whatever else goes wrong may well come from there being no rows.
    """
    try:
        frame.collect()
    except (InvalidOperationError, SchemaError):
        raise
    except (PolarsError, PanicException):
        pass


def _field(node: Operator) -> str:
    fields = MAIN_FIELDS.get(node.op, ())
    return next((field for field in fields if getattr(node, field) is not None), "op")
