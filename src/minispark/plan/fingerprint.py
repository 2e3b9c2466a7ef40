"""Which stages of which jobs give the same rows: the key under which a cached node is kept.

The key of a stage is a digest of everything that decides about its rows: its fragment and the
fragments of the stages that it reads, how rows are exchanged between them, the splits of the input
files with their sizes and times, and the versions of Polars and of Mini-Spark. It leaves out what
changes no row: the names of nodes and leaves, and where counters are. So another version of a file,
another number of partitions or another expression gives another key; other names of nodes do not.

A stage whose rows may differ from run to run has no key. A stage that reads files which the planner
did not cut has none either: a change of these files would not change the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from importlib import metadata
from typing import Any

import msgpack
import polars as pl

from minispark.plan.exchanges import Exchange, Hash, RangeExchange, Stamped
from minispark.plan.markers import uncounted
from minispark.plan.polars_plan import LeafNode, Node, pack, post_order, rewrite
from minispark.plan.relation import Draft, Part, stages_read
from minispark.plan.stages import Label, ScanInput, side_inputs

_DIGEST_BYTES = 16
"""Of a cryptographic hash: no job can be made to collide with the key of another job."""


def name_cached(drafts: Sequence[Draft]) -> None:
    """Give every cached stage its key. ``drafts`` are in order, before pushdown."""
    if all(draft.cached is None for draft in drafts):
        return
    keys: dict[int, str] = {}
    for draft in drafts:
        if draft.label is Label.INDETERMINATE or not _is_pinned(draft, keys):
            continue
        keys[draft.id] = _digest(draft, keys)
        if draft.cached is not None:
            draft.cached = replace(draft.cached, key=keys[draft.id])


def _is_pinned(draft: Draft, keys: Mapping[int, str]) -> bool:
    """Whether the planner knows the version of all files from which the rows come."""
    nodes = post_order(*(part.node for part in draft.parts))
    return stages_read(draft.parts) <= keys.keys() and all(node.kind != "Scan" for node in nodes)


def _digest(draft: Draft, keys: Mapping[int, str]) -> str:
    content = [
        pl.__version__,
        metadata.version("minispark-engine"),
        draft.exchange.kind.value,
        draft.exchange.partitions,
        _order(draft.exchange),
        [_part(part, keys) for part in draft.parts],
    ]
    return blake2b(msgpack.packb(content), digest_size=_DIGEST_BYTES).hexdigest()


def _order(exchange: Exchange) -> list[Any]:
    if isinstance(exchange, RangeExchange):
        return [list(key.identity) for key in exchange.sort_keys]
    stamped = isinstance(exchange, Stamped) or (isinstance(exchange, Hash) and exchange.stamped)
    return [stamped, *(key.meta.serialize() for key in exchange.keys)]


def _part(part: Part, keys: Mapping[int, str]) -> list[Any]:
    leaves: dict[str, int] = {}
    fragment = _fragment(part.node, leaves)
    for leaf in side_inputs(part.scans):
        leaves.setdefault(leaf, len(leaves))
    scans = {scan.leaf: _scan(scan, leaves) for scan in part.scans}
    reads = {
        entry.leaf: [entry.mode.value, keys[entry.stage], *entry.ranges] for entry in part.inputs
    }
    return [part.partitions, fragment, [scans.get(leaf) or reads[leaf] for leaf in leaves]]


def _fragment(root: Node, leaves: dict[str, int]) -> bytes:
    """Return a fragment without names and counters; number its leaves in the order they come."""

    def without_names(node: Node) -> Node:
        if isinstance(node, LeafNode):
            leaf = leaves.setdefault(node.leaf, len(leaves))
            schema = [[name, repr(dtype)] for name, dtype in node.schema.items()]
            return Node(node.kind, [leaf, schema])
        return uncounted(node)

    return pack(rewrite(root, without_names))


def _scan(scan: ScanInput, leaves: Mapping[str, int]) -> list[Any]:
    options = json.dumps(dict(scan.spec.options), sort_keys=True, default=repr)
    quotes = None if scan.quotes is None else leaves[scan.quotes]
    splits = [
        [
            [split.path, split.start, split.end, split.size, split.mtime_ns, dict(split.columns)]
            for split in task
        ]
        for task in scan.tasks
    ]
    return [scan.spec.format.value, options, quotes, splits]
