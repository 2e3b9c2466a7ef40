"""Scans: a leaf and the splits of its files; quote characters are counted in a stage before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from glob import has_magic
from itertools import pairwise
from pathlib import Path

import polars as pl

from minispark.errors import UsageError
from minispark.plan.polars_plan import Node, frame_of, leaf_node, parse, schema_of, with_body
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.rules.operators import OperatorText
from minispark.plan.scan_files import is_file_url, listed
from minispark.plan.scan_options import WholeScanError, paths_of
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.splits import QUOTES_SCHEMA, cut_source, needs_quotes, quotes_spec
from minispark.plan.stages import ScanFormat, ScanInput, Split, StageInput
from minispark.settings import MIB

OPERATORS = (
    OperatorText(
        "`scan_parquet`, `scan_ipc`, `scan_csv`, `scan_ndjson`, `scan_lines`",
        "files are cut into splits: Parquet at row groups, IPC at record batches, text at line "
        "breaks (also where values in quotes have line breaks); a filter on hive columns or paths "
        "leaves out files",
        "URLs and bytes in memory. A CSV file is not cut under `skip_rows`, `skip_lines`, "
        "`skip_rows_after_header`, `comment_prefix`, `eol_char`, `missing_columns`, "
        "`extra_columns`: a task reads whole files",
    ),
    OperatorText(
        "`pl.LazyFrame(data)`, `df.lazy()`",
        "the plan holds the rows; each task gets a slice of them",
    ),
    OperatorText(
        "`register_io_source` and other Python sources",
        "not split",
        "the source itself: it gives its rows one after another, in one task",
    ),
)

QUOTES_STAGE = "find quoted line breaks"
"""The name of the stage that counts quote characters: a line break between quotes ends no row."""
_MAX_SLICES = 64
"""The rules treat each slice of a frame as a branch of its own."""
_ONE_TASK = "a scan is one task"
_QUOTES_TASK_BYTES = 64 * MIB
"""Counting quotes runs at the speed of memory: few tasks are enough."""


def survey(nodes: Sequence[Node]) -> dict[Node, ScanSource | str]:
    """Return the scans of a plan; for a scan that cannot be cut, why it cannot."""
    return {node: _source_or_why(node) for node in nodes if node.kind == "Scan"}


def _source_or_why(node: Node) -> ScanSource | str:
    try:
        return scan_source(node.body)
    except WholeScanError as error:
        return str(error)


def read_frame(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Return the rows that the plan itself holds, in slices: each is a fragment of its own."""
    del relations
    size = len(node.body["df"].value)
    count = cutter.settings.parallelism or math.ceil(size / cutter.settings.split_bytes)
    if cutter.settings.parallelism is None and size <= cutter.settings.single_task_bytes:
        count = 1
    slices = [node] if count <= 1 else _slices(node, min(count, _MAX_SLICES))
    return Relation(tuple(Part(rows, 1) for rows in slices), size)


def _slices(node: Node, count: int) -> list[Node]:
    rows = frame_of(node).collect(engine="in-memory")
    count = max(1, min(count, rows.height))
    if count == 1:
        return [node]
    edges = [rows.height * number // count for number in range(count + 1)]
    return [parse(rows[begin:end].lazy()) for begin, end in pairwise(edges)]


def python_scan(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Return the rows of a Python function that reads a source."""
    del cutter, relations
    why = "a Python source gives its rows one after another, in one task"
    return Relation((Part(node, 1, why=why),), 0)


def scan(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Cut the files of a scan into tasks."""
    del relations
    source = cutter.sources[node]
    if isinstance(source, str):
        why, size, absolute = f"{_ONE_TASK}: {source}", scan_bytes(node), _absolute(node)
        if size == 0 and absolute is not node:
            # Where there is no file, the error of Polars names the path as the user does.
            schema_of(node)
        return Relation((Part(absolute, 1, why=why),), size)
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
        why=f"{_ONE_TASK}: {source.why}" if source.why and _is_one_task(tasks) else "",
    )
    size = source.bytes if source.memory_bytes is None else source.memory_bytes
    return Relation((part,), size, source.kept)


def _is_one_task(tasks: Sequence[Sequence[Split]]) -> bool:
    return len(tasks) > 1 and sum(map(bool, tasks)) == 1


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
