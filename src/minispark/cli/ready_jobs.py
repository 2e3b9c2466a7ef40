"""The ready-made jobs, as the JSON that anybody could write: word count and join."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePath
from typing import Any

_TABLE_OPS = {".csv": "read_csv", ".jsonl": "read_jsonl", ".ndjson": "read_jsonl"} | dict.fromkeys(
    (".parquet", ".pq"), "read_parquet"
)

_PACKED = (".gz", ".zst", ".zlib")


def ending(path: PurePath) -> str:
    """Return the ending that says what a file holds, without that of its compression."""
    endings = [found.lower() for found in path.suffixes if found.lower() not in _PACKED]
    return endings[-1] if endings else ""


def wordcount_job(
    path: str, *, parallelism: int | None = None, output: str | None = None
) -> dict[str, Any]:
    """Count the words of a text file, or of the text column of a table."""
    return _chain(
        "wordcount",
        [
            {"id": "read", "op": _read_op(path, default="read_text"), "path": path},
            {"id": "flatmap", "op": "flat_map", "fn": "split_words"},
            {"id": "map", "op": "map", "fn": "pair_with_one"},
            {"id": "reduce", "op": "reduce_by_key", "key": "key", "fn": "sum"},
            *_write(output),
        ],
        parallelism,
    )


def join_job(
    left: str,
    right: str,
    *,
    on: list[str],
    how: str,
    parallelism: int | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Join two tables."""
    nodes: list[dict[str, Any]] = [
        {"id": "left", "op": _read_op(left, default="read_csv"), "path": left},
        {"id": "right", "op": _read_op(right, default="read_csv"), "path": right},
        {"id": "join", "op": "join", "on": on, "how": how},
        *_write(output),
    ]
    edges = [["left", "join"], ["right", "join"]]
    if output is not None:
        edges.append(["join", "write"])
    return _job("join", nodes, edges, parallelism)


def _chain(name: str, nodes: list[dict[str, Any]], parallelism: int | None) -> dict[str, Any]:
    ids = [node["id"] for node in nodes]
    edges = [[above, below] for above, below in pairwise(ids)]
    return _job(name, nodes, edges, parallelism)


def _job(
    name: str, nodes: list[dict[str, Any]], edges: list[list[str]], parallelism: int | None
) -> dict[str, Any]:
    job: dict[str, Any] = {"name": name, "dag": {"nodes": nodes, "edges": edges}}
    if parallelism is not None:
        job["parallelism"] = parallelism
    return job


def _read_op(path: str, *, default: str) -> str:
    return _TABLE_OPS.get(ending(PurePath(path)), default)


def _write(output: str | None) -> list[dict[str, Any]]:
    if output is None:
        return []
    return [{"id": "write", "op": "write_csv", "path": output, "overwrite": False}]
