"""A query that ran, with the rows of its nodes and the rows, times and bytes of its stages."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from minispark.engines.base import JobOutcome
from minispark.engines.progress import summary_line
from minispark.engines.staging import staged
from minispark.formatting import bytes_words, count_text, duration_text
from minispark.observe.views import StageRow
from minispark.printable import printable

_NODES = (
    "The rows of nodes are counted. Filters and limits do not pass a counter, so this plan may "
    "read more rows than the query does without: profile(query, count=False)."
)
_STAGES = "The nodes of a stage run as one query: times, memory and bytes are those of stages."
_SCHEMA: dict[str, type[pl.DataType]] = {
    "kind": pl.String,
    "stage": pl.String,
    "name": pl.String,
    "tasks": pl.Int64,
    "attempts": pl.Int64,
    "rows_in": pl.Int64,
    "rows_out": pl.Int64,
    "wall_s": pl.Float64,
    "task_s": pl.Float64,
    "cpu_s": pl.Float64,
    "peak_memory_bytes": pl.Int64,
    "file_bytes": pl.Int64,
    "block_bytes": pl.Int64,
    "bytes_written": pl.Int64,
    "bytes_spilled": pl.Int64,
    "skew": pl.Float64,
}
_OF_NODES = ("stage", "name", "rows_in", "rows_out")
_OF_STAGES = tuple(name for name in _SCHEMA if name != "kind")


@dataclass(frozen=True, repr=False)
class Profile:
    """The rows of a query and the table of what it did; text on a terminal, HTML in a notebook.

    ``rows, table = profile`` works as with the profile of earlier releases of Polars.
    """

    outcome: JobOutcome

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows of the query, read when they are first asked for."""
        return self.outcome.frame()

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row for each node of the query, then one for each stage.

        ``kind`` is "node" or "stage", ``stage`` the numbers of the stages. ``wall_s`` is from the
        first launch of a stage to its last success, ``task_s`` and ``cpu_s`` are sums over its
        tasks, ``peak_memory_bytes`` is of its largest task, and ``skew`` the largest task over the
        median task, in rows. Nodes have rows only.
        """
        rows = [_values(row) for row in self.outcome.summary().stages]
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page of the job as one HTML file, which needs neither a master nor a network.

        A file of that name is replaced.
        """
        with staged(path, mkdir=False) as (place, _):
            Path(place).write_text(self.outcome.report(), encoding="utf-8")
        return Path(path)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        yield self.frame
        yield self.table

    def __str__(self) -> str:
        parts = [f"{printable(self.outcome.view.name)}: {summary_line(self.outcome)}"]
        for title, names, note in self._sections():
            rows = self._cells(title, names)
            parts.append(f"{_aligned([list(names), *rows], names)}\n{note}")
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        name = html.escape(printable(self.outcome.view.name))
        parts = [f"<b>{name}</b> {html.escape(summary_line(self.outcome))}"]
        for title, names, note in self._sections():
            head = "".join(f"<th>{column}</th>" for column in names)
            rows = "".join(_html_row(cells) for cells in self._cells(title, names))
            parts.append(f"<table><tr>{head}</tr>{rows}</table><small>{html.escape(note)}</small>")
        return "".join(f"<div>{part}</div>" for part in parts)

    def _sections(self) -> Iterator[tuple[str, Sequence[str], str]]:
        if "node" in self.table["kind"]:
            yield "node", _OF_NODES, _NODES
        yield "stage", _OF_STAGES, _STAGES

    def _cells(self, kind: str, names: Sequence[str]) -> list[list[str]]:
        rows = self.table.filter(pl.col("kind") == kind).select(names)
        return [[_text(*cell) for cell in row.items()] for row in rows.iter_rows(named=True)]


def _values(row: StageRow) -> tuple[Any, ...]:
    node = row.kind == "node"
    stages = row.stages if node else [row.id]
    return (
        row.kind,
        ", ".join(stage.removeprefix("stage-") for stage in stages),
        row.name,
        row.tasks,
        row.attempts,
        row.records_in,
        row.records_out,
        None if node else row.duration_s,
        None if node else row.task_time_s,
        row.cpu_s,
        row.peak_memory_bytes,
        row.bytes_read,
        row.block_bytes_read,
        row.bytes_written,
        row.bytes_spilled,
        None if node else row.skew,
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_s"):
        return duration_text(value)
    if "bytes" in name:
        return bytes_words(value)
    return count_text(value) if isinstance(value, int) else printable(str(value))


def _aligned(rows: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """Return rows of cells as lines with columns of equal width, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if _SCHEMA[name] == pl.String else cell.rjust(width)
            for name, cell, width in zip(names, row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _html_row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
