"""Scans: a leaf and the splits of its files; quote characters are counted in a stage before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from minispark.errors import UsageError
from minispark.plan.polars_plan import Node, frame_of, leaf_node
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.scan_files import expand, is_remote
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.splits import QUOTES_SCHEMA, cut_source, needs_quotes, quotes_spec
from minispark.plan.stages import ReadMode, ScanFormat, ScanInput, Split, StageInput
from minispark.settings import MIB

_QUOTES_TASK_BYTES = 64 * MIB
"""Counting quotes runs at the speed of memory: few tasks do."""


@dataclass(frozen=True, slots=True)
class Scans:
    """What is known of the scans of a plan before it is cut.

    ``sources`` lacks the scans that run whole; ``wanted`` holds the numbers of partitions that
    somebody asked for.
    """

    sources: Mapping[Node, ScanSource]
    wanted: Mapping[Node, int]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(source.bytes for source in self.sources.values())


def survey(nodes: list[Node], wanted: Mapping[Node, int]) -> Scans:
    """Look at every scan of a plan; no file is read."""
    found = {node: scan_source(node.body) for node in nodes if node.kind == "Scan"}
    return Scans({node: source for node, source in found.items() if source}, wanted)


def read_frame(node: Node) -> Relation:
    """Rows that the plan itself holds: one partition."""
    value = node.body["df"].value
    return Relation((Part(node, 1),), len(value) if isinstance(value, (bytes, list)) else 0)


def scan(cutter: Cutter, node: Node, scans: Scans) -> Relation:
    """Cut the files of a scan into tasks."""
    source = scans.sources.get(node)
    if source is None:
        return Relation((Part(node, 1),), _unsplit_bytes(node))
    schema = dict(frame_of(node).collect_schema())
    wanted = scans.wanted.get(node) or cutter.settings.parallelism
    if wanted is None and scans.bytes <= cutter.settings.single_task_bytes:
        wanted = 1
    tasks = cut_source(
        source,
        partitions=wanted,
        settings=cutter.settings,
        data_root=cutter.data_root,
        whole_files=_reads_some_dates(source, schema),
    )
    leaf = f"scan{cutter.scans}"
    cutter.scans += 1
    quotes = _count_quotes(cutter, source, tasks, leaf) if needs_quotes(source, tasks) else None
    part = Part(
        node=leaf_node(leaf, schema),
        partitions=len(tasks),
        scans=(ScanInput(leaf, source.spec, tasks, quotes=quotes.leaf if quotes else None),),
        inputs=(quotes,) if quotes else (),
    )
    return Relation((part,), source.bytes)


def _reads_some_dates(source: ScanSource, schema: Mapping[str, pl.DataType]) -> bool:
    """Whether a value's place in its file decides if it is read.

    Under ``ignore_errors`` Polars nulls the dates that are not written as the first one in the
    same chunk of a file, and a split would begin another chunk.
    """
    lenient = bool(source.spec.options.get("ignore_errors"))
    csv = source.spec.format is ScanFormat.CSV
    return csv and lenient and any(dtype.is_temporal() for dtype in schema.values())


def _unsplit_bytes(node: Node) -> int:
    """Size of the files of a scan that runs whole, 0 where it cannot be told without reading."""
    sources = node.body["sources"]
    listed = sources.get("Paths", ()) if isinstance(sources, Mapping) else ()
    paths = [entry["inner"] for entry in listed]
    if not paths or any(map(is_remote, paths)):
        return 0
    try:
        return sum(Path(file).stat().st_size for file in expand(paths, glob=True))
    except (UsageError, OSError):
        return 0


def _count_quotes(
    cutter: Cutter, source: ScanSource, tasks: tuple[tuple[Split, ...], ...], leaf: str
) -> StageInput:
    splits = [split for task in tasks for split in task]
    count = max(1, min(len(splits), math.ceil(source.bytes / _QUOTES_TASK_BYTES)))
    size = math.ceil(len(splits) / count)
    groups = tuple(tuple(splits[i : i + size]) for i in range(0, len(splits), size))
    counter = f"{leaf}_quotes"
    part = Part(
        node=leaf_node(counter, QUOTES_SCHEMA),
        partitions=len(groups),
        scans=(ScanInput(counter, quotes_spec(source), groups),),
    )
    draft = cutter.close(Relation((part,), source.bytes), "quotes")
    return cutter.read(draft, ReadMode.ALL).inputs[0]
