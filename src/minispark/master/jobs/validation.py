"""Checks of a job before it runs: limits, a sound graph, outputs that may be written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from minispark.errors import ErrorInfo, UsageError
from minispark.journal.commits import sink_stages
from minispark.plan.stages import Branch, OutputKind, SinkSpec, Stage, StageGraph
from minispark.settings import Limits, PlanSettings
from minispark.task import sinks
from minispark.wire.http import RefusedError


def check_graph(graph: StageGraph, limits: Limits, plan: PlanSettings) -> None:
    """Check the shape of a plan that a client made, because the scheduler relies on it.

    Raises
    ------
    RefusedError
        Stages are missing, out of order, or do not fit together.
    """
    if len(graph.stages) > limits.nodes * 4 or not graph.stages:
        raise _bad(f"a plan of {len(graph.stages)} stages cannot run")
    earlier: dict[int, Stage] = {}
    for stage in graph.stages:
        if stage.id in earlier or stage.id < 0:
            raise _bad(f"the plan has two stages with number {stage.id}")
        if not 1 <= stage.partitions <= plan.max_partitions:
            raise _bad(f"stage {stage.id} has {stage.partitions} tasks")
        if not 1 <= stage.output.partitions <= plan.max_partitions:
            raise _bad(f"stage {stage.id} delivers {stage.output.partitions} partitions")
        if (stage.output.kind is OutputKind.SINK) != (stage.output.sink is not None):
            raise _bad(f"stage {stage.id} has no place for its output")
        for branch in stage.branches:
            _check_branch(stage, branch, earlier)
        earlier[stage.id] = stage
    for result in graph.results:
        if result.stage not in earlier:
            raise _bad(f"the result {result.node!r} comes from no stage", node=result.node)


def _check_branch(stage: Stage, branch: Branch, earlier: Mapping[int, Stage]) -> None:
    if branch.partitions < 1 or any(len(s.tasks) != branch.partitions for s in branch.scans):
        raise _bad(f"a branch of stage {stage.id} does not fit its inputs")
    for leaf in branch.inputs:
        if leaf.stage not in earlier:
            raise _bad(f"stage {stage.id} reads stage {leaf.stage}, which does not come before it")
        if not leaf.fits(branch.partitions, earlier[leaf.stage].output.partitions):
            raise _bad(f"stage {stage.id} reads partitions that stage {leaf.stage} does not have")


def sink_directories(graph: StageGraph, data_root: Path | None) -> dict[int, Path]:
    """Return the directory of each stage that writes files.

    Raises
    ------
    RefusedError
        A directory is outside of the data root.
    """
    root = None if data_root is None else str(data_root)
    directories: dict[int, Path] = {}
    for stage, sink in sink_stages(graph).items():
        if "\0" in sink.path:
            raise _bad("the path of an output holds a null character", field="path")
        try:
            directories[stage] = sinks.sink_directory(sink, root).absolute()
        except UsageError as error:
            raise RefusedError(422, error.info) from error
    return directories


def _resolved(directory: Path) -> Path:
    """Return a directory without symlinks; `Path.resolve` would raise for a circle of them."""
    return Path(os.path.realpath(directory))


def check_sinks(
    graph: StageGraph,
    directories: Mapping[int, Path],
    *,
    busy: Iterable[Path],
    data_root: Path | None,
) -> None:
    """Check that a job may write to its directories. Reads the disk: call it in a thread.

    Raises
    ------
    RefusedError
        409 if a running job writes to the same directory or it has files already, 422 if the job
        would overwrite files that it reads.
    """
    taken = {_resolved(path) for path in busy}
    specs = sink_stages(graph)
    for stage, directory in directories.items():
        resolved = _resolved(directory)
        if resolved in taken:
            raise RefusedError(
                409, ErrorInfo("MS-141", f"another output goes to {specs[stage].path} already")
            )
        taken.add(resolved)
        _check_not_read(graph, specs[stage], resolved, data_root or Path())
        try:
            sinks.check_directory(directory, overwrite=specs[stage].overwrite)
        except UsageError as error:
            raise RefusedError(409, error.info) from error
        except OSError as error:
            raise _bad(f"cannot write to {specs[stage].path}: {error.strerror}") from error


def _check_not_read(graph: StageGraph, sink: SinkSpec, directory: Path, root: Path) -> None:
    if not sink.overwrite:
        return
    inputs = {
        split.path
        for stage in graph.stages
        for branch in stage.branches
        for scan in branch.scans
        for splits in scan.tasks
        for split in splits
    }
    for path in inputs:
        if _resolved(root / path).is_relative_to(directory):
            raise _bad(
                f"the job reads {sink.path}, which it would overwrite",
                field="path",
                hint="Write to another directory.",
            )


def _bad(
    message: str, field: str | None = None, *, node: str | None = None, hint: str | None = None
) -> RefusedError:
    return RefusedError(422, ErrorInfo("MS-146", message, node=node, field=field, hint=hint))
