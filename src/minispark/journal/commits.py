"""Publication of a job's files, at its commit or its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from minispark.errors import ErrorInfo, Failure, MinisparkError, TaskError
from minispark.ids import TaskKey
from minispark.journal.rows import Manifest, SinkOutput
from minispark.plan.stages import SinkSpec, StageGraph
from minispark.task import sinks
from minispark.task.spec import SinkFile


def sink_stages(graph: StageGraph) -> dict[int, SinkSpec]:
    """Return the sink of each stage that writes files."""
    return {stage.id: stage.output.sink for stage in graph.stages if stage.output.sink is not None}


def manifests_of(
    graph: StageGraph,
    directories: Mapping[int, Path],
    keys: Iterable[TaskKey],
    files: Mapping[TaskKey, SinkFile | None],
) -> list[Manifest]:
    """Return the files of exactly these attempts, by sink stage."""
    specs = sink_stages(graph)
    by_stage: dict[int, list[SinkFile]] = {stage: [] for stage in specs}
    for key in keys:
        file = files[key]
        if file is not None:
            by_stage[key.stage].append(file)
    return [
        Manifest(
            stage=stage,
            directory=str(directories[stage]),
            overwrite=spec.overwrite,
            files=by_stage[stage],
        )
        for stage, spec in specs.items()
    ]


def publish(
    job: str, graph: StageGraph, manifests: Sequence[Manifest], *, root: Path | None
) -> list[SinkOutput]:
    """Give the files their final names; a second call changes nothing. Blocks: call it in a thread.

    With a ``root`` (the data root) no file outside it is touched. If a commit fails, files that
    have got their final names are removed.
    """
    outputs = []
    try:
        for manifest in manifests:
            names = sinks.commit(
                manifest.files,
                directory=Path(manifest.directory),
                job=job,
                overwrite=manifest.overwrite,
                root=root,
            )
            outputs.append(_sink_output(graph, manifest.stage, manifest.files, names))
    except Exception:
        for manifest in manifests:
            # The first error is the one to report.
            with contextlib.suppress(Exception):
                directory = Path(manifest.directory)
                sinks.withdraw(manifest.files, directory=directory, job=job, root=root)
        raise
    return outputs


def discard(job: str, directories: Iterable[Path], *, root: Path | None) -> None:
    """Remove the staged files of a job without a commit. Blocks: call it in a thread."""
    for directory in directories:
        sinks.abort(directory, job, root=root)


def commit_failure(error: Exception) -> Failure:
    """Return the failure of a job whose files could not be published."""
    if isinstance(error, MinisparkError):
        return TaskError(error.info)
    return TaskError(
        ErrorInfo(
            "MS-210",
            f"the output could not be published: {error}",
            hint="Check free space and permissions of the output directory, then submit the job "
            "again.",
        )
    )


def _sink_output(
    graph: StageGraph, stage: int, files: Iterable[SinkFile], names: Iterable[str]
) -> SinkOutput:
    """Return the output of a sink stage; ``names`` are the published files."""
    published = list(names)
    by_name = {file.final: file for file in files}
    sink = sink_stages(graph)[stage]
    return SinkOutput(
        node=next((result.node for result in graph.results if result.stage == stage), None),
        path=sink.path,
        format=sink.format,
        files=published,
        rows=sum(by_name[name].rows for name in published),
        bytes=sum(by_name[name].bytes for name in published),
    )
