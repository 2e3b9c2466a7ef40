"""Scans: a leaf and the splits of its files; quote characters are counted in a stage before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from glob import has_magic
from pathlib import Path

import polars as pl

from minispark.errors import UsageError
from minispark.plan.polars_plan import Node, leaf_node, schema_of, with_body
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.rules.operators import OperatorText
from minispark.plan.scan_files import is_file_url, listed
from minispark.plan.scan_options import paths_of
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.splits import QUOTES_SCHEMA, cut_source, needs_quotes, quotes_spec
from minispark.plan.stages import ScanFormat, ScanInput, Split, StageInput
from minispark.settings import MIB

OPERATORS = (
    OperatorText(
        "`scan_parquet`, `scan_csv`, `scan_ndjson`, `scan_lines`",
        "files are cut into splits: Parquet at row groups, text at line breaks (also where values "
        "in quotes have line breaks)",
        "options that number or name rows of all files, such as `row_index_name`; URLs",
    ),
    OperatorText("`pl.LazyFrame(data)`, `df.lazy()`", "not split", "it is one partition already"),
)

QUOTES_STAGE = "find quoted line breaks"
"""The name of the stage that counts quote characters: a line break between quotes ends no row."""
_QUOTES_TASK_BYTES = 64 * MIB
"""Counting quotes runs at the speed of memory: few tasks are enough."""


def survey(nodes: Sequence[Node]) -> dict[Node, ScanSource]:
    """Return the scans of a plan that can be cut; no file is read."""
    sources = {node: scan_source(node.body) for node in nodes if node.kind == "Scan"}
    return {node: source for node, source in sources.items() if source}


def read_frame(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Return the rows that the plan itself holds, in one partition."""
    del cutter, relations
    value = node.body["df"].value
    return Relation((Part(node, 1),), len(value) if isinstance(value, (bytes, list)) else 0)


def scan(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Cut the files of a scan into tasks."""
    del relations
    source = cutter.sources.get(node)
    if source is None:
        return Relation((Part(_absolute(node), 1),), scan_bytes(node))
    schema = schema_of(node)
    partitions = cutter.hints.get(node) or cutter.settings.parallelism
    if partitions is None and cutter.input_bytes <= cutter.settings.single_task_bytes:
        partitions = 1
    tasks = cut_source(
        source,
        partitions=partitions,
        settings=cutter.settings,
        data_root=cutter.data_root,
        whole_files=_reads_some_dates(source, schema),
    )
    leaf = f"scan{list(cutter.sources).index(node)}"
    quotes = _count_quotes(cutter, source, tasks, leaf) if needs_quotes(source, tasks) else None
    part = Part(
        node=leaf_node(leaf, schema),
        partitions=len(tasks),
        scans=(ScanInput(leaf, source.spec, tasks, quotes=quotes.leaf if quotes else None),),
        inputs=(quotes,) if quotes else (),
    )
    return Relation((part,), source.bytes)


def _reads_some_dates(source: ScanSource, schema: Mapping[str, pl.DataType]) -> bool:
    """Whether the place of a value in its file decides if Polars reads it.

    Under ``ignore_errors`` Polars gives null for dates in another format than the first date in the
    same chunk of a file, and a split would begin another chunk.
    """
    lenient = bool(source.spec.options.get("ignore_errors"))
    csv = source.spec.format is ScanFormat.CSV
    return csv and lenient and any(dtype.is_temporal() for dtype in schema.values())


def scan_bytes(node: Node) -> int:
    """Return the size of the files of a scan, 0 if only reading them would tell."""
    paths = paths_of(node.body)
    if paths is None:
        return 0
    try:
        prefixes = node.body["unified_scan_args"].get("hidden_file_prefix")
        files = listed(paths, glob=True, hidden_file_prefix=prefixes)
        return sum(Path(file).stat().st_size for file in files)
    except (UsageError, OSError):
        return 0


def _absolute(node: Node) -> Node:
    """Return a scan that reads the same files in a process with another working directory.

    Where the path itself becomes a value, or this directory would change what it means, the scan
    stays as it is.
    """
    paths, directory = paths_of(node.body), Path.cwd()
    shown = node.body["unified_scan_args"].get("include_file_paths") is not None
    if paths is None or shown or "=" in str(directory) or has_magic(str(directory)):
        return node
    # A URL and a home directory are absolute; Polars reads both.
    relative = {path for path in paths if not (path.startswith(("/", "~")) or is_file_url(path))}
    sources = [
        {**entry, "inner": str(directory / entry["inner"])} if entry["inner"] in relative else entry
        for entry in node.body["sources"]["Paths"]
    ]
    return with_body(node, sources={"Paths": sources}) if relative else node


def _count_quotes(
    cutter: Cutter, source: ScanSource, tasks: tuple[tuple[Split, ...], ...], leaf: str
) -> StageInput:
    """Add the stage that counts the quote characters in the splits of a scan."""
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
    draft = cutter.close(Relation((part,), source.bytes), QUOTES_STAGE)
    return cutter.read(draft).only.inputs[0]
