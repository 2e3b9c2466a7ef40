"""Labels: whether a second run of a fragment gives the same rows, and how to make it give the same.

A fragment is not a pure function: `group_by`, `unique` and joins deliver their rows in an order
that differs from run to run. Where the order of rows decides about later results, `settled` makes
every node that loses the order keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minispark.plan.expressions import fills_by_row, is_order_free, is_random, is_separable
from minispark.plan.markers import counted_node, stored_rows
from minispark.plan.polars_plan import LeafNode, Node, children, post_order, rewrite, with_body
from minispark.plan.stages import Label

_PLAIN_FUNCTIONS = frozenset({"Explode", "FillNan", "Hint", "Rename", "Unnest", "Stats"})

_KEPT_ORDERS = {"None": "LeftRight", "Left": "LeftRight", "Right": "RightLeft"}
"""The whole order that a join can keep instead of a part of it."""


def label_of(root: Node, leaves: Mapping[str, Label], labels: dict[Node, Label]) -> Label:
    """Return the label of the rows of a fragment; ``leaves`` has those of the stages that it reads.

    ``labels`` has the labels of nodes over the same leaves; the function adds to it.
    """
    for node in post_order(root, skip=labels):
        below = worst_label(labels[child] for child in children(node))
        labels[node] = _label(node, below, leaves)
    return labels[root]


def worst_label(labels: Iterable[Label]) -> Label:
    """Return the label of rows that consist of rows with these labels."""
    return max(labels, key=list(Label).index, default=Label.DETERMINATE)


def _label(node: Node, below: Label, leaves: Mapping[str, Label]) -> Label:  # noqa: C901
    if below is Label.INDETERMINATE or is_random(node.body):
        return Label.INDETERMINATE
    positional = Label.DETERMINATE if below is Label.DETERMINATE else Label.INDETERMINATE
    match node.kind:
        case "DataFrameScan" | "Scan":
            return Label.DETERMINATE
        case "PipeWithSchema" if stored_rows(node) is not None:
            return Label.DETERMINATE
        case "Resolver" if isinstance(node, LeafNode):
            return leaves.get(node.leaf, Label.DETERMINATE)
        case "Cache" | "Union":
            return below
        case "Select":
            return _select_label(node.body["expr"], below, positional)
        case "HStack":
            return below if _all_separable(node.body["exprs"]) else positional
        case "Filter":
            return below if is_separable(node.body["predicate"]) else positional
        case "MapFunction":
            return _function_label(node, below, positional)
        case "HConcat" if node.body["options"]["broadcast_unit_length"]:
            # All frames but one have one row, or a rule has brought their rows into one order.
            return below
        case "Slice" | "HConcat":
            return positional
        case "GroupBy":
            return _group_label(node, below, positional)
        case "MatchToSchema":
            return below if fills_by_row(node.body["per_column"]) else positional
        case "Pivot":
            rows = below if is_order_free(node.body["agg"]) else positional
            ordered = node.body["maintain_order"] or rows is Label.INDETERMINATE
            return rows if ordered else Label.UNORDERED
        case "Distinct":
            return _distinct_label(node, below, positional)
        case "Join":
            args = node.body["options"]["args"]
            if not isinstance(args["how"], str):
                # An as-of join keeps the order of its left side, and chooses one of equal rows.
                return positional
            order = args["maintain_order"]
            return below if order in ("LeftRight", "RightLeft") else Label.UNORDERED
        case "MergeSorted":
            return below if node.body["maintain_order"] else Label.UNORDERED
        case "Sort":
            return below if node.body["sort_options"]["maintain_order"] else Label.UNORDERED
        case _:
            return Label.INDETERMINATE


def _all_separable(bodies: Any) -> bool:
    return all(is_separable(body) for body in bodies)


def _select_label(bodies: Any, below: Label, positional: Label) -> Label:
    if _all_separable(bodies):
        return below
    return Label.DETERMINATE if is_order_free(bodies) else positional


def _function_label(node: Node, below: Label, positional: Label) -> Label:
    if counted_node(node) is not None:
        return below
    match node.body["function"]:
        case dict(function) if function.keys() <= _PLAIN_FUNCTIONS:
            return below
        case {"Unpivot": _}:
            # The streaming engine unpivots batch by batch.
            return Label.UNORDERED
        case {"RowIndex": _}:
            return positional
        case _:
            return Label.INDETERMINATE


def _group_label(node: Node, below: Label, positional: Label) -> Label:
    body = node.body
    if body["apply"] is not None:
        return Label.INDETERMINATE
    aggregates = [*body["aggs"], *body["predicates"]]
    rows = below if is_order_free(aggregates) else positional
    if rows is Label.INDETERMINATE or any(body["options"].values()):
        return positional
    return rows if body["maintain_order"] else Label.UNORDERED


def _distinct_label(node: Node, below: Label, positional: Label) -> Label:
    options = node.body["options"]
    chooses = options["subset"] is not None and options["keep_strategy"] != "None"
    if chooses and options["keep_strategy"] == "Any":
        return Label.INDETERMINATE
    rows = positional if chooses else below
    if rows is Label.INDETERMINATE or options["maintain_order"]:
        return rows
    return Label.UNORDERED


def settled(root: Node) -> Node:
    """Return a fragment in which every node delivers its rows in one order."""
    return rewrite(root, settled_node)


def settled_node(node: Node) -> Node:
    """Return a node that delivers its rows in one order, and keeps the first of equal rows."""
    if node.kind == "Pivot" and not node.body["maintain_order"]:
        return with_body(node, maintain_order=True)
    if node.kind in ("GroupBy", "MergeSorted") and not node.body["maintain_order"]:
        return with_body(node, maintain_order=True)
    if node.kind == "Sort" and not node.body["sort_options"]["maintain_order"]:
        options = {**node.body["sort_options"], "maintain_order": True}
        return with_body(node, sort_options=options)
    if node.kind == "Distinct":
        options = {**node.body["options"], "maintain_order": True}
        if options["keep_strategy"] == "Any":
            options["keep_strategy"] = "First"
        return with_body(node, options=options)
    if node.kind == "Join" and _may_keep_order(node):
        args = node.body["options"]["args"]
        args = {**args, "maintain_order": _KEPT_ORDERS[args["maintain_order"]]}
        return with_body(node, options={**node.body["options"], "args": args})
    return node


def _may_keep_order(node: Node) -> bool:
    """Whether a join can keep order. Polars' optimizer breaks one that has no equal keys."""
    equal = isinstance(node.body["condition"], dict) and "Equi" in node.body["condition"]
    args = node.body["options"]["args"]
    return equal and isinstance(args["how"], str) and args["maintain_order"] in _KEPT_ORDERS
