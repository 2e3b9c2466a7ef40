"""JSON jobs: from a file, or ready-made ones (word count and join)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from minispark.errors import UsageError

if TYPE_CHECKING:
    from minispark.plan.stages import StageGraph

DATA_FOLDER = "data"
"""A path in this folder is sent as it is: on every machine it is relative to the data root."""


@dataclass(frozen=True, slots=True)
class OutputDirectory:
    """The directory that a ready-made job writes to."""

    path: str
    overwrite: bool = False


def wordcount_job(
    path: str | list[str],
    *,
    column: str | None = None,
    parallelism: int | None = None,
    output: OutputDirectory | None = None,
) -> dict[str, Any]:
    """Count the words of text files, or of a column of a table: ``column``, or its text column."""
    chosen = {} if column is None else {"column": column}
    nodes: list[dict[str, Any]] = [
        {"id": "read", "op": "read", "path": path},
        {"id": "flatmap", "op": "flat_map", "fn": "split_words", **chosen},
        {"id": "map", "op": "map", "fn": "pair_with_one"},
        {"id": "reduce", "op": "reduce_by_key", "key": "key", "fn": "sum"},
        *_write(output),
    ]
    edges = [[source["id"], target["id"]] for source, target in pairwise(nodes)]
    return _job("wordcount", nodes, edges, parallelism)


def join_job(
    left: str,
    right: str,
    *,
    on: list[str],
    how: str,
    parallelism: int | None = None,
    output: OutputDirectory | None = None,
) -> dict[str, Any]:
    """Join two tables."""
    nodes: list[dict[str, Any]] = [
        {"id": "left", "op": "read", "path": left},
        {"id": "right", "op": "read", "path": right},
        {"id": "join", "op": "join", "on": on, "how": how},
        *_write(output),
    ]
    edges = [["left", "join"], ["right", "join"]]
    if output is not None:
        edges.append(["join", "write"])
    return _job("join", nodes, edges, parallelism)


def read_job(path: Path) -> dict[str, Any]:
    """Return the job of a file; its content is not checked."""
    try:
        job = json.loads(path.read_text())
    except FileNotFoundError:
        msg = f"there is no job file {path}"
        raise UsageError(msg, file=str(path)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        row = getattr(error, "lineno", None)
        msg = f"this is not JSON: {error}"
        raise UsageError(msg, file=str(path), row=row) from error
    if not isinstance(job, dict):
        msg = "a job is a JSON object"
        raise UsageError(msg, file=str(path), hint='It begins with {"name": ..., "dag": ...}.')
    return job


def plan_document(graph: StageGraph) -> dict[str, Any]:
    """Return the JSON document of a plan."""
    stages = [
        {
            "id": stage.id,
            "name": stage.name,
            "label": stage.label,
            "tasks": stage.partitions,
            "nodes": stage.nodes,
            "reads": sorted({leaf.stage for branch in stage.branches for leaf in branch.inputs}),
            "output": stage.output.kind,
            "partitions": stage.output.partitions,
            "pushed": stage.pushed,
            "why": stage.why,
        }
        for stage in graph.stages
    ]
    return {"logical": graph.logical, "stages": stages}


def one_or_list(paths: Sequence[str]) -> str | list[str]:
    """Return the ``path`` of a reader of one or several paths."""
    return paths[0] if len(paths) == 1 else list(paths)


def sent_path(path: str) -> str:
    """Return an input's path as the master gets it: absolute, or unchanged in ``data/``."""
    return path if PurePosixPath(path).parts[:1] == (DATA_FOLDER,) else absolute(path)


def absolute(path: str | Path) -> str:
    """Return a path that means the same in every process of this machine."""
    return str(Path(path).absolute())


def with_input(job: dict[str, Any], path: str | list[str]) -> dict[str, Any]:
    """Return ``job`` with ``path`` in place of the path of its one input.

    Raises
    ------
    UsageError
        The job reads several inputs, or none.
    """
    dag = job.get("dag")
    nodes = dag.get("nodes") if isinstance(dag, dict) else None
    readers = [
        node
        for node in (nodes if isinstance(nodes, list) else [])
        if isinstance(node, dict) and str(node.get("op", "")).partition("_")[0] == "read"
    ]
    if len(readers) != 1:
        msg = f"--input replaces the path of a job's one input; this job has {len(readers)}"
        raise UsageError(msg, hint="Name the paths in the job itself.")
    changed = [node | {"path": path} if node is readers[0] else node for node in nodes or []]
    return job | {"dag": {**(dag or {}), "nodes": changed}}


def _job(
    name: str, nodes: list[dict[str, Any]], edges: list[list[Any]], parallelism: int | None
) -> dict[str, Any]:
    job: dict[str, Any] = {"name": name, "dag": {"nodes": nodes, "edges": edges}}
    return job if parallelism is None else job | {"parallelism": parallelism}


def _write(output: OutputDirectory | None) -> list[dict[str, Any]]:
    if output is None:
        return []
    return [{"id": "write", "op": "write_csv", "path": output.path, "overwrite": output.overwrite}]
