"""A job run again on its cluster, and what differs.

Its plan comes from the master's journal. What it wrote as files it gives as rows this time, which
lie with the workers until the job is forgotten; nothing of the second run is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.engines.base import raise_unless_succeeded
from minispark.engines.http import MasterClient
from minispark.errors import MinisparkError, UsageError
from minispark.observe.receipts import Compared, compare, receipts_of
from minispark.observe.views import JobView
from minispark.plan.columns import exact_columns
from minispark.plan.stages import Output, OutputKind, StageGraph

_ROWS_SHOWN = 5
_ROWS_COMPARED = 1_000_000
"""Rows of one result that are compared one by one: each takes some 200 bytes here."""


@dataclass(frozen=True, slots=True)
class OtherRows:
    """Rows of a result that only one of two runs gave: some of them, or why there are none."""

    node: str
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it."""

    job_id: str
    again: str
    """The job that ran it again."""
    stages: tuple[Compared, ...]
    rows: tuple[OtherRows, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """Whether nothing differs that must not."""
        return all(stage.status != "differs" for stage in self.stages)

    def document(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"equal": self.equal, **asdict(self)}


def unpublished(graph: StageGraph) -> StageGraph:
    """Return a plan that does the same work, gives its files as rows and takes none from caches."""
    stages = tuple(
        replace(
            stage,
            cached=None,
            output=Output(OutputKind.SINGLE)
            if stage.output.kind is OutputKind.SINK
            else stage.output,
        )
        for stage in graph.stages
    )
    return replace(graph, stages=stages)


def verify(
    client: MasterClient, job_id: str, *, wait: Callable[[str], JobView] | None = None
) -> Verification:
    """Run a job that has succeeded again and compare; ``wait`` follows the second run.

    Raises
    ------
    UsageError
        The job has not ended, or not well.
    MinisparkError
        It cannot be run again: an input has changed, say.
    """
    view = client.job(job_id)
    if view.status != "SUCCEEDED":
        msg = f"{job_id} is {view.status}; only a job that succeeded can be verified"
        raise UsageError(msg)
    graph = client.plan(job_id)
    again = client.submit_planned(unpublished(graph), name=f"verify {view.name}"[:200])
    raise_unless_succeeded((wait or client.wait)(again))
    first = receipts_of(graph, client.rows(job_id))
    second = receipts_of(unpublished(graph), client.rows(again))
    stages = tuple(compare(graph, first, second))
    bad = {stage.stage for stage in stages if stage.status == "differs"}
    rows = tuple(
        _other_rows(client, graph, result.node, result.stage, job_id, again)
        for result in graph.results
        if result.stage in bad
    )
    return Verification(job_id, again, stages, rows)


def _other_rows(
    client: MasterClient, graph: StageGraph, node: str, stage: int, job_id: str, again: str
) -> OtherRows:
    try:
        second = client.result_frame(again, node=node)
        first = _first_rows(client, graph, node, stage, job_id, second.schema)
    except (MinisparkError, OSError, PolarsError, PanicException) as error:
        return OtherRows(node, note=f"its first rows cannot be had: {error}")
    if max(first.height, second.height) > _ROWS_COMPARED:
        return OtherRows(node, note=f"more than {_ROWS_COMPARED:,} rows are not compared singly")
    one, other = _counted(first), _counted(second)
    return OtherRows(node, _some(one - other), _some(other - one))


def _first_rows(
    client: MasterClient, graph: StageGraph, node: str, stage: int, job_id: str, schema: pl.Schema
) -> pl.DataFrame:
    """Return what the first run gave, from its files where it wrote some."""
    (output,) = (s.output for s in graph.stages if s.id == stage)
    if output.sink is None:
        return client.result_frame(job_id, node=node)
    files = sorted(Path(output.sink.path).glob(f"part-*.{output.sink.format}"))
    if not files:
        msg = f"no files in {output.sink.path}"
        raise FileNotFoundError(msg)
    match output.sink.format:
        case "parquet":
            return pl.read_parquet(files)
        case "jsonl":
            return pl.read_ndjson(files, schema=schema)
        case _:
            return pl.read_csv(files, schema=schema)


def _counted(frame: pl.DataFrame) -> Counter[tuple[str, ...]]:
    """Count rows; floats, whose last bits may differ, are left out."""
    exact = [name for name, dtype in frame.schema.items() if not dtype.is_float()]
    return Counter(tuple(map(str, row)) for row in frame.select(exact_columns(exact)).iter_rows())


def _some(rows: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(", ".join(row) for row in list(rows.elements())[:_ROWS_SHOWN])
