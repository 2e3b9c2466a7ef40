"""Sort by ranges of the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from minispark.plan.cuts import chosen_cuts, sampled
from minispark.plan.exchanges import RangeExchange
from minispark.plan.expressions import expand_all, is_constant, is_elementwise, names_of
from minispark.plan.polars_plan import Node, sort_keys, with_body
from minispark.plan.relation import Cutter, Relation, Schema
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.scalars import read_twice
from minispark.plan.stages import ReadMode

OPERATORS = (
    OperatorText(
        "`sort`",
        "samples of the keys say where to cut; rows are exchanged by ranges of the keys, and each "
        "range is sorted",
        "a key that is not an expression by row",
    ),
)

_ONE_INPUT = ("Filter", "HStack", "Select", "Sort")


def sort(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Sample the keys, exchange rows by ranges of them, sort each range."""
    if not sorts_by_row(node):
        return _sort_by_position(cutter, node, relations)
    node = without_constants(node)
    relation = relations[node.body["input"]]
    width = cutter.order_width(relation)
    expanded = _expanded(node, cutter.schema(relation))
    if relation.single or width == 1 or expanded is None:
        why = "" if expanded else "a sort key is not a column or an expression of columns"
        return cutter.gather(relation, "sort", why=why).under(node)
    return _sort_ranges(cutter, expanded, relation, width)


def _sort_by_position(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Sort by a key that depends on positions (a rank), which needs its rows in one order.

    Polars' optimizer makes one sort of two, and computes the keys of both over the rows below. So a
    sort below stays in the same fragment, where it may do that here too.
    """
    chain = [node]
    below = node.body["input"]
    while below.kind in _ONE_INPUT:
        chain.append(below)
        below = below.body["input"]
    last = max((n for n, step in enumerate(chain) if step.kind == "Sort"), default=0)
    relation = cutter.settle(relations[chain[last].body["input"]])
    relation = cutter.gather(relation, "sort", why="a sort key needs all rows")
    for step in reversed(chain[: last + 1]):
        relation = relation.under(step)
    return relation


def sorts_by_row(node: Node) -> bool:
    """Whether each key of a sort is computed from its row alone."""
    return all(is_elementwise(body) for body in node.body["by_column"])


def without_constants(node: Node) -> Node:
    """Return a sort without the keys that are equal in all rows, as long as others are left.

    Polars (2.1.0) fails at such a key under the flags of a fragment.
    """
    keys, options = node.body["by_column"], node.body["sort_options"]
    kept = [number for number, key in enumerate(keys) if not is_constant(key)]
    if len(kept) in (0, len(keys)):
        return node
    orders = {
        name: [flags[number] for number in kept] if len(flags) == len(keys) else flags
        for name in ("descending", "nulls_last")
        for flags in [options[name]]
    }
    return with_body(node, by_column=[keys[n] for n in kept], sort_options={**options, **orders})


def _expanded(node: Node, schema: Schema) -> Node | None:
    """Return a sort with one key for each column of a selector; None if it cannot be split."""
    options = node.body["sort_options"]
    bodies = expand_all(node.body["by_column"], schema)
    if not bodies or any(map(is_constant, bodies)) or node.body["slice"] is not None:
        return None
    orders = {name: options[name] for name in ("descending", "nulls_last")}
    for name, flags in orders.items():
        orders[name] = flags * len(bodies) if len(flags) == 1 else flags
    if any(len(flags) != len(bodies) for flags in orders.values()):
        return None
    if any(len(names_of([body], schema) or ()) != 1 for body in bodies):
        return None  # A field("*") is several keys.
    return with_body(node, by_column=bodies, sort_options={**options, **orders})


def _sort_ranges(cutter: Cutter, node: Node, relation: Relation, ranges: int) -> Relation:
    """Sort in several partitions, in the order of the keys; stable, so always the same."""
    relation = cutter.settle(relation)
    relation, seen = read_twice(cutter, relation, "sort input")
    keys = sort_keys(node)
    samples = cutter.close(cutter.then(seen, lambda r: sampled(r, keys, ranges)), "sample")
    samples.sample = True
    cuts = cutter.close(
        cutter.then(cutter.read(samples), lambda r: chosen_cuts(r, keys, ranges)), "cuts"
    )
    (side,) = cutter.read(cuts).only.inputs
    exchange = RangeExchange(
        ranges,
        tuple(key.key for key in keys),
        side_input=side.leaf,
        descending=tuple(key.descending for key in keys),
        nulls_last=tuple(key.nulls_last for key in keys),
    )
    rows = relation.with_parts(lambda part: replace(part, inputs=(*part.inputs, side)))
    draft = cutter.close(rows, "sort", exchange=exchange)
    samples.label = cuts.label = draft.label
    sorted_rows = cutter.read(draft, ReadMode.PARTITION, partitions=ranges)
    return sorted_rows.under(stable_sort(node))


def stable_sort(node: Node) -> Node:
    """Return a sort that keeps rows with equal keys in their order."""
    return with_body(node, sort_options={**node.body["sort_options"], "maintain_order": True})
