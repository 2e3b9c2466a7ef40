"""Compiles a checked job: a LazyFrame for each node, and a plan of all results.

Every node is first built over empty tables with the columns of its inputs. That finds unknown
columns and wrong types in microseconds, without opening a file again.

Every node that gives rows has one counter. Nodes with a common input share its LazyFrame, and the
planner computes it once. A scan is not kept but read again, so only its first reader counts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import InvalidOperationError, PanicException, PolarsError, SchemaError

from minispark.errors import UsageError
from minispark.jobs.contract import JsonJob, parse_job
from minispark.jobs.errors import node_error
from minispark.jobs.operators import Cache, Operator, Read, Write
from minispark.jobs.paths import place_output
from minispark.jobs.reading import OnRead
from minispark.jobs.sources import open_source
from minispark.jobs.tables import Table, polars_failed
from minispark.jobs.transforms import MAIN_FIELDS, transform
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.counters import counted
from minispark.plan.markers import cached
from minispark.plan.stages import SinkSpec, StageGraph
from minispark.printable import shown
from minispark.settings import Limits, PlanSettings


def plan_job(
    obj: object,
    *,
    data_root: Path | None = None,
    settings: PlanSettings | None = None,
    limits: Limits | None = None,
    describe: bool = False,
    on_read: OnRead = lambda _reading: None,
) -> StageGraph:
    """Check, compile and plan a JSON job.

    Parameters
    ----------
    obj
        The job as it was read from JSON.
    data_root
        What relative paths start from; nothing outside it is read or written.
    settings
        How the planner cuts; the ``parallelism`` of the job replaces theirs.
    limits
        How large a job may be.
    describe
        Add the logical plan as text.
    on_read
        Called before and after each input is opened.

    Raises
    ------
    UsageError
        The job is wrong; ``info`` names the node and the field.
    polars.exceptions.PolarsError
        Polars refuses the job as a whole.
    """
    settings = settings or PlanSettings()
    compiled = compile_job(parse_job(obj, limits=limits), data_root=data_root, on_read=on_read)
    if compiled.parallelism is not None:
        settings = replace(settings, parallelism=compiled.parallelism)
    graph = plan_outputs(
        compiled.outputs, settings=settings, data_root=data_root, describe=describe
    )
    return replace(graph, flow=compiled.flow)


@dataclass(frozen=True, slots=True)
class CompiledJob:
    """The results of a job as LazyFrames. ``flow``: each counted node and the nodes it reads."""

    outputs: tuple[PlanOutput, ...]
    flow: Mapping[str, tuple[str, ...]]
    parallelism: int | None = None


def compile_job(
    job: JsonJob, *, data_root: Path | None = None, on_read: OnRead = lambda _reading: None
) -> CompiledJob:
    """Return the LazyFrames of a job; ``on_read`` is called before and after each file is opened.

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
        """Build one node over its inputs, which are built already."""
        if isinstance(node, Read):
            table, matched = open_source(node, self.data_root, self.on_read)
            self.files[node.id] = matched.files
            self.uncounted[node.id] = table.frame
        else:
            schema = _resolve(node, [self.tables[name].without_rows() for name in inputs])
            table = Table(node.id, transform(node, [self._take(name) for name in inputs]), schema)
        frame = counted(table.frame, node.id)
        if isinstance(node, Cache):
            # Above the counter, so that rows from the cache are not counted again.
            frame = cached(frame, node.id)
        self.tables[node.id] = Table(node.id, frame, table.schema)

    def _take(self, name: str) -> Table:
        """Return the rows of a node for one more reader."""
        table = self.tables[name]
        if name in self.uncounted:
            self.tables[name] = Table(name, self.uncounted[name], table.schema)
        return table

    def output(self, node: Operator) -> PlanOutput:
        """Return a node that no other reads as an output of the plan."""
        sink = None
        if isinstance(node, Write):
            path = place_output(node, self.data_root)
            sink = SinkSpec(node.op.removeprefix("write_"), path, overwrite=node.overwrite)
        return PlanOutput(node.id, self.tables[node.id].frame, sink)

    def check_outputs(self, writes: Sequence[Write]) -> None:
        """Refuse two writers of one directory, and a writer into a directory that the job reads."""
        writers: dict[Path, str] = {}
        for node in writes:
            output = Path(self.data_root or "", place_output(node, self.data_root))
            directory = Path(os.path.realpath(output))  # A circle of links is refused later.
            for other, name in writers.items():
                if directory.is_relative_to(other) or other.is_relative_to(directory):
                    raise _clash(node, f"{shown(name)} writes there too")
            writers[directory] = node.id
            for name, files in self.files.items():
                if any(Path(os.path.realpath(file)).is_relative_to(directory) for file in files):
                    raise _clash(node, f"{shown(name)} reads from there")


def _clash(node: Write, reason: str) -> UsageError:
    return node_error(
        node,
        f" cannot write to {shown(node.path)}: {reason}",
        field="path",
        code="MS-166",
        file=node.path,
        hint="write to a directory of its own",
    )


def _resolve(node: Operator, inputs: Sequence[Table]) -> dict[str, pl.DataType]:
    """Return the columns of a node, built over empty tables."""
    try:
        frame = transform(node, inputs)
        schema = dict(frame.collect_schema())
        _try_types(frame)
    except (PolarsError, PanicException) as error:
        names = [name for table in inputs for name in table.schema]
        raise polars_failed(node, _main_field(node), error, names) from None
    return schema


def _try_types(frame: pl.LazyFrame) -> None:
    """Run a node over no rows: some functions refuse a type only then.

    Other errors are ignored, since rows may be what is missing.
    """
    try:
        frame.collect()
    except (InvalidOperationError, SchemaError):
        raise
    except (PolarsError, PanicException):
        pass


def _main_field(node: Operator) -> str:
    fields = MAIN_FIELDS.get(node.op, ())
    return next((field for field in fields if getattr(node, field) is not None), "op")
