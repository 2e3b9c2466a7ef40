"""Which stages of which jobs give the same rows: the key under which a cached node is kept.

The key of a stage is a digest of all that its rows are made of: its fragment and those of the
stages that it reads, how rows are exchanged between them, the splits of the input files with their
sizes and times, and the versions of Polars and of Mini-Spark. It leaves out what changes no row:
how nodes and leaves are called, and where counters stand. So a file that has changed, another
number of partitions or another expression is another key, and a job that names its nodes otherwise
is not.

A stage whose rows may come out otherwise each time has no key, nor one that reads files which the
planner did not cut: nobody would notice that they have changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import metadata
from typing import Any

import msgpack
import polars as pl

from minispark.plan.polars_plan import LeafNode, Node, children, plain_body, plan_header, post_order
from minispark.plan.pythons import counted_node
from minispark.plan.relation import Draft, Part
from minispark.plan.stages import Label, ScanInput, Split, side_inputs

_DIGEST_BYTES = 16
"""Of a cryptographic hash: nobody can make a job whose rows another one would take for its own."""


def name_cached(drafts: Sequence[Draft]) -> None:
    """Give every cached stage its key. ``drafts`` are in order, and nothing was pushed down yet."""
    if all(draft.cached is None for draft in drafts):
        return
    known: dict[int, str] = {}
    for draft in drafts:
        if draft.label is Label.INDETERMINATE or not _is_pinned(draft, known):
            continue
        known[draft.id] = _digest(draft, known)
        if draft.cached is not None:
            draft.fingerprint = known[draft.id]


def _is_pinned(draft: Draft, known: Mapping[int, str]) -> bool:
    """Whether the files are known that rows are made of."""
    nodes = (node for part in draft.parts for node in post_order(part.node))
    reads = (entry.stage for part in draft.parts for entry in part.inputs)
    return all(stage in known for stage in reads) and all(node.kind != "Scan" for node in nodes)


def _digest(draft: Draft, known: Mapping[int, str]) -> str:
    what = [
        *_versions(),
        draft.exchange.kind.value,
        draft.exchange.partitions,
        [key.meta.serialize() for key in draft.exchange.keys],
        [_part(part, known) for part in draft.parts],
    ]
    return blake2b(msgpack.packb(what), digest_size=_DIGEST_BYTES).hexdigest()


def _versions() -> tuple[str, ...]:
    return plan_header().hex(), pl.__version__, metadata.version("minispark-engine")


def _part(part: Part, known: Mapping[int, str]) -> list[Any]:
    leaves: dict[str, int] = {}
    fragment = _fragment(part.node, leaves)
    for leaf in side_inputs(part.scans):
        leaves.setdefault(leaf, len(leaves))
    scans = {scan.leaf: _scan(scan, leaves) for scan in part.scans}
    reads = {
        entry.leaf: [entry.mode.value, known[entry.stage], *entry.ranges] for entry in part.inputs
    }
    return [part.partitions, fragment, [scans.get(leaf) or reads[leaf] for leaf in leaves]]


def _fragment(root: Node, leaves: dict[str, int]) -> list[Any]:
    """Write a fragment without names and counters; number its leaves as they come."""
    number: dict[Node, int] = {}
    written: list[Any] = []
    for node in post_order(root):
        if counted_node(node) is not None:
            (below,) = children(node)
            number[node] = number[below]
            continue
        if isinstance(node, LeafNode):
            place = leaves.setdefault(node.leaf, len(leaves))
            body: Any = [place, [[name, repr(dtype)] for name, dtype in node.schema.items()]]
        else:
            body = plain_body(node, number)
        number[node] = len(written)
        written.append([node.kind, body])
    return written


def _scan(scan: ScanInput, leaves: Mapping[str, int]) -> list[Any]:
    options = json.dumps(dict(scan.spec.options), sort_keys=True, default=repr)
    quotes = None if scan.quotes is None else leaves[scan.quotes]
    splits = [[_split(split) for split in task] for task in scan.tasks]
    return [scan.spec.format.value, options, quotes, splits]


def _split(split: Split) -> list[Any]:
    return [split.path, split.start, split.end, split.size, split.mtime_ns]
