"""Verification of a job: run it again on its cluster, and compare stages and rows.

The plan comes from the master's journal. The second run publishes nothing: results that the first
run wrote as files are rows, which stay on the workers until the master forgets the job.
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
from minispark.errors import MinisparkError, UsageError, sentence_of
from minispark.observe.receipts import StageComparison, compare, receipts_of
from minispark.observe.views import JobView
from minispark.plan.columns import exact_columns
from minispark.plan.stages import Output, OutputKind, StageGraph

_ROWS_SHOWN = 5
_ROWS_COMPARED = 1_000_000
"""Maximum of rows of a result that are compared one by one; each takes about 200 bytes."""


@dataclass(frozen=True, slots=True)
class OtherRows:
    """Examples of rows that only one of two runs returned, or a note why there are none."""

    node: str
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification."""

    job_id: str
    again: str
    """The id of the second job."""
    stages: tuple[StageComparison, ...]
    rows: tuple[OtherRows, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """Whether no stage differs that must not differ."""
        return all(stage.status != "differs" for stage in self.stages)

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the verification."""
        return {"equal": self.equal, **asdict(self)}


def unpublished(graph: StageGraph) -> StageGraph:
    """Return the same plan with rows in place of files, and without the cache."""
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
    """Run a job again and compare; ``wait`` waits for the end of the second run.

    Raises
    ------
    UsageError
        The job has not succeeded.
    MinisparkError
        The job cannot run again, for example because an input has changed.
    """
    view = client.job(job_id)
    if view.status != "SUCCEEDED":
        msg = f"{job_id} is {view.status}; only a job that succeeded can be verified"
        raise UsageError(msg, code="MS-143")
    graph = client.plan(job_id)
    again = client.submit_planned(unpublished(graph), name=f"verify {view.name}"[:200])
    raise_unless_succeeded((wait or client.wait)(again), page=client.page(again))
    first = receipts_of(graph, client.rows(job_id))
    second = receipts_of(unpublished(graph), client.rows(again))
    stages = tuple(compare(graph, first, second))
    differing = {stage.stage for stage in stages if stage.status == "differs"}
    outputs = {stage.id: stage.output for stage in graph.stages}
    rows = tuple(
        _compare_rows(client, result.node, outputs[result.stage], job_id, again)
        for result in graph.results
        if result.stage in differing
    )
    return Verification(job_id, again, stages, rows)


def _compare_rows(
    client: MasterClient, node: str, output: Output, job_id: str, again: str
) -> OtherRows:
    try:
        second = client.result_frame(again, node=node)
        first = _first_rows(client, node, output, job_id, second.schema)
    except (MinisparkError, OSError, PolarsError, PanicException) as error:
        return OtherRows(node, note=f"its first rows cannot be read: {sentence_of(error)}")
    if max(first.height, second.height) > _ROWS_COMPARED:
        return OtherRows(
            node, note=f"more than {_ROWS_COMPARED:,} rows are not compared row by row"
        )
    first_counts, second_counts = _count_rows(first), _count_rows(second)
    return OtherRows(
        node, _examples(first_counts - second_counts), _examples(second_counts - first_counts)
    )


def _first_rows(
    client: MasterClient, node: str, output: Output, job_id: str, schema: pl.Schema
) -> pl.DataFrame:
    """Return the rows of the first run, from its files if it wrote files."""
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


def _count_rows(frame: pl.DataFrame) -> Counter[tuple[str, ...]]:
    """Count rows without their floats, whose last bits may differ."""
    exact = [name for name, dtype in frame.schema.items() if not dtype.is_float()]
    return Counter(tuple(map(str, row)) for row in frame.select(exact_columns(exact)).iter_rows())


def _examples(rows: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(", ".join(row) for row in list(rows.elements())[:_ROWS_SHOWN])
