"""What Mini-Spark uses of Polars that Polars does not promise, as approved text.

With another release of Polars the difference says what changed (`make test-polars-next`).
``MINISPARK_TEST_REGENERATE=1 pytest tests/engines/test_polars_surface.py`` writes the text again.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import polars as pl
import polars.lazyframe.engine
import pytest
from polars._utils import async_, unstable
from polars.io.partition import PartitionBy, SinkedPathsCallbackArgs
from polars.io.plugins import register_io_source
from polars.lazyframe.in_process import InProcessQuery
from polars.lazyframe.query_result import QueryResult, SingleNodeQueryResult
from polars.lazyframe.resolver import LazyFrameResolver
from tests.plan.test_polars_plan import QUERIES, ROWS

from minispark.plan.leaves import PlanningLeaf
from minispark.plan.node_kinds import KINDS, is_reference
from minispark.plan.polars_plan import plan_header

pytestmark = pytest.mark.polars_contract

GOLDEN = Path(__file__).parent.parent / "golden" / "polars_surface.txt"
_DEPTH = 3
_CLASSES: tuple[type, ...] = (
    polars.lazyframe.engine.Engine,
    LazyFrameResolver,
    QueryResult,
    SingleNodeQueryResult,
    InProcessQuery,
    PartitionBy,
    SinkedPathsCallbackArgs,
    pl.QueryOptFlags,
    async_._AioDataFrameResult,
    async_._GeventDataFrameResult,
)
_FUNCTIONS = (register_io_source, unstable.issue_unstable_warning)


def _samples(folder: Path) -> dict[str, pl.LazyFrame]:
    """Return small queries with every kind of node, and every kind of scan."""
    text, parquet, arrow = folder / "rows.txt", folder / "rows.parquet", folder / "rows.arrow"
    text.write_text("a\n1\n")
    ROWS.collect().write_parquet(parquet)
    ROWS.collect().write_ipc(arrow)
    sink = ROWS.sink_parquet(folder / "out.parquet", lazy=True)
    leaf = PlanningLeaf("leaf", {"a": pl.Int64()})
    return {
        **QUERIES,
        "sink": sink,
        "resolver": pl.LazyFrame.from_lazyframe_resolver(leaf),
        "python": register_io_source(lambda *_: iter(()), schema={"a": pl.Int64}),
        "csv": pl.scan_csv(text),
        "lines": pl.scan_lines(text),
        "ndjson": pl.scan_ndjson(text, schema={"a": pl.Int64}),
        "parquet": pl.scan_parquet(parquet),
        "ipc": pl.scan_ipc(arrow),
    }


def _methods(kind: type) -> Iterator[str]:
    for name in sorted(dir(kind)):
        member = inspect.getattr_static(kind, name)
        own = name == "__init__" or not name.startswith("__")
        if not own or not _is_of_polars(kind, name):
            continue
        abstract = "abstract " if getattr(member, "__isabstractmethod__", False) else ""
        if isinstance(member, property):
            yield f"{kind.__name__}.{name}: {abstract}property"
        elif callable(member) or isinstance(member, classmethod | staticmethod):
            yield from _signature(f"{abstract}{kind.__name__}.{name}", getattr(kind, name))


def _is_of_polars(kind: type, name: str) -> bool:
    """Whether Polars wrote a member: `typing` gives a protocol an ``__init__``."""
    owner = next(base for base in kind.__mro__ if name in vars(base))
    member = getattr(vars(owner)[name], "__module__", None) or owner.__module__
    return owner.__module__.startswith("polars.") and member.startswith("polars.")


def _signature(name: str, function: Any) -> Iterator[str]:
    """Give a line for each parameter, so that a difference names the parameter."""
    yield name
    for parameter in inspect.signature(function).parameters.values():
        annotated = parameter.annotation is not parameter.empty
        annotation = f": {parameter.annotation}" if annotated else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"  {parameter.name}{annotation}{default} ({parameter.kind.description})"


def _node_fields(queries: dict[str, pl.LazyFrame]) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for query in queries.values():
        arena = msgpack.unpackb(query.serialize()[len(plan_header()) :], strict_map_key=False)
        for kind, body in _nodes(arena["dsl_plans"]):
            found.setdefault(kind, set()).update(_fields(body, "", _DEPTH))
        found.setdefault("the plan itself", set()).update(arena)
    for kind in sorted(found):
        yield kind
        yield from (f"  {field}" for field in sorted(found[kind]))


def _nodes(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the nodes of a plan, also those that are written inside others."""
    if isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
    elif isinstance(value, dict):
        for kind, inner in value.items():
            if kind in KINDS and isinstance(inner, dict):
                yield kind, inner
            yield from _nodes(inner)


def _fields(value: Any, path: str, depth: int) -> Iterator[str]:
    if is_reference(value):
        yield f"{path}: a reference"
    elif isinstance(value, dict) and value and depth:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else str(name), depth - 1)
    elif isinstance(value, list) and value and not isinstance(value[0], int):
        for inner in value:
            yield from _fields(inner, f"{path}[]", depth)
    else:
        yield path


def _surface(folder: Path) -> str:
    lines = [f"header of plans: {plan_header().hex()}", ""]
    for kind in _CLASSES:
        lines += [*_methods(kind), ""]
    for function in _FUNCTIONS:
        lines += [*_signature(function.__name__, function), ""]
    return "\n".join([*lines, *_node_fields(_samples(folder)), ""])


def test_the_surface_is_the_approved_one(tmp_path: Path) -> None:
    text = _surface(tmp_path)
    if os.environ.get("MINISPARK_TEST_REGENERATE"):
        GOLDEN.write_text(text)
    approved, here = GOLDEN.read_text().splitlines(), text.splitlines()
    names = ("approved", f"Polars {pl.__version__}")
    changes = list(difflib.unified_diff(approved, here, *names, lineterm="", n=2))
    assert not changes, "\n".join(changes)


def test_the_samples_have_every_kind_of_node(tmp_path: Path) -> None:
    lines = set(_surface(tmp_path).splitlines())
    # Polars makes it of several queries only while it collects them.
    assert KINDS.keys() - lines == {"SinkMultiple"}
