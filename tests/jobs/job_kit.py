"""Jobs in a line, and what is wrong with them."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pytest

from minispark.errors import ErrorInfo, UsageError
from minispark.jobs import compile_job, parse_job

Node = dict[str, Any]
Job = dict[str, Any]


class Write(Protocol):
    """Writes rows to a file of JSON lines and returns the node that reads it."""

    def __call__(self, name: str, rows: list[dict[str, Any]]) -> Node: ...


class Collect(Protocol):
    """Runs a job with one result, whole and cut into tasks, and returns what both gave."""

    def __call__(self, job: Job, *, ordered: bool = True) -> pl.DataFrame: ...


def chain(*nodes: Node, **job: Any) -> Job:
    """A job in which each node reads the one before."""
    edges = [[a["id"], b["id"]] for a, b in pairwise(nodes)]
    return {"dag": {"nodes": list(nodes), "edges": edges}, **job}


def fan_in(node: Node, *sources: Node) -> Job:
    """A job in which a node reads all the others, in that order."""
    edges = [[source["id"], node["id"]] for source in sources]
    return {"dag": {"nodes": [*sources, node], "edges": edges}}


def refused(job: object, root: Path | None = None) -> ErrorInfo:
    """Return what is wrong with a job."""
    with pytest.raises(UsageError) as caught:
        compile_job(parse_job(job), data_root=root)
    assert "\n" not in caught.value.info.message
    assert str(caught.value).startswith(f"{caught.value.info.message}\n")
    return caught.value.info


Row = dict[str, Any]


SALES: list[Row] = [
    {"sku": "b", "qty": 2, "price": 1.5},
    {"sku": "a", "qty": 5, "price": 2.0},
    {"sku": "b", "qty": None, "price": 4.0},
    {"sku": None, "qty": 1, "price": 8.0},
    {"sku": "c", "qty": None, "price": 1.0},
    {"sku": "a", "qty": 7, "price": 2.5},
]


NAMES: list[Row] = [
    {"sku": "a", "name": "Apple"},
    {"sku": "b", "name": "Bean"},
    {"sku": "z", "name": "Zinc"},
]


def step(op: str, **fields: Any) -> Node:
    return {"id": "out", "op": op, **fields}


def as_set(rows: list[Row]) -> Counter[frozenset[tuple[str, Any]]]:
    return Counter(frozenset(row.items()) for row in rows)
