"""What a second run of a fragment would give, and how to make it give the same.

A fragment is not a pure function: `group_by`, `unique` and joins deliver their rows in an order
that differs from run to run. Where order decides what follows, `settled` makes every
order-losing node keep order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minispark.plan.expressions import is_random, is_separable, walk
from minispark.plan.polars_plan import LeafNode, Node, children, post_order, rewrite, with_body
from minispark.plan.pythons import counted_node
from minispark.plan.stages import Label

_ORDER_FREE_AGGREGATES = frozenset(
    {"Sum", "Min", "Max", "Mean", "Count", "NUnique", "Median", "Std", "Var", "Quantile"}
)
_PLAIN_FUNCTIONS = frozenset({"Explode", "Rename", "Unnest", "Stats"})


def is_order_free(aggregates: Any) -> bool:
    """Whether aggregates give the same whatever the order of a group's rows."""
    for part in walk(aggregates):
        if isinstance(part, dict):
            if "Agg" in part and not part["Agg"].keys() <= _ORDER_FREE_AGGREGATES:
                return False
            if part.keys() & {"Over", "Sort", "SortBy", "Gather", "Slice", "AnonymousFunction"}:
                return False
    return all(_is_under_aggregate(body) for body in aggregates)


def _is_under_aggregate(body: Any) -> bool:
    """Whether every column of an aggregate is read by an aggregate node."""
    if isinstance(body, dict):
        if "Agg" in body:
            return True
        if "Column" in body or "Selector" in body:
            return False
        return all(_is_under_aggregate(inner) for inner in body.values())
    if isinstance(body, list) and not (body and isinstance(body[0], int)):
        return all(_is_under_aggregate(inner) for inner in body)
    return True


def label_of(root: Node, leaves: Mapping[str, Label], labels: dict[Node, Label]) -> Label:
    """Label the rows of a fragment, given the labels of the stages behind its leaves.

    ``labels`` holds what is known of nodes under the same leaves, and is added to.
    """
    for node in post_order(root, known=labels):
        below = [labels[child] for child in children(node)]
        worst = max(below, key=list(Label).index, default=Label.DETERMINATE)
        labels[node] = _own(node, worst, leaves)
    return labels[root]


def _own(node: Node, below: Label, leaves: Mapping[str, Label]) -> Label:  # noqa: C901
    if below is Label.INDETERMINATE or is_random(node.body):
        return Label.INDETERMINATE
    positional = Label.DETERMINATE if below is Label.DETERMINATE else Label.INDETERMINATE
    match node.kind:
        case "DataFrameScan" | "Scan":
            return Label.DETERMINATE
        case "Resolver":
            return _leaf_label(node, leaves)
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
        case "Slice" | "HConcat":
            return positional
        case "GroupBy":
            return _group_label(node, below, positional)
        case "Distinct":
            return _distinct_label(node, below, positional)
        case "Join":
            return _join_label(node, below)
        case "Sort":
            return below if node.body["sort_options"]["maintain_order"] else _loose(below)
        case _:
            return Label.INDETERMINATE


def _loose(below: Label) -> Label:
    return below if below is Label.INDETERMINATE else Label.UNORDERED


def _leaf_label(node: Node, leaves: Mapping[str, Label]) -> Label:
    if isinstance(node, LeafNode):
        return leaves.get(node.leaf, Label.DETERMINATE)
    return Label.INDETERMINATE


def _all_separable(bodies: Any) -> bool:
    return all(is_separable(body) for body in bodies)


def _select_label(bodies: Any, below: Label, positional: Label) -> Label:
    if _all_separable(bodies):
        return below
    return Label.DETERMINATE if is_order_free(bodies) else positional


def _function_label(node: Node, below: Label, positional: Label) -> Label:
    function = node.body["function"]
    if counted_node(node) is not None:
        return below
    if isinstance(function, dict) and function.keys() <= _PLAIN_FUNCTIONS:
        return below
    if isinstance(function, dict) and "Unpivot" in function:
        # The streaming engine unpivots batch by batch.
        return _loose(below)
    known = isinstance(function, dict) and "RowIndex" in function
    return positional if known else Label.INDETERMINATE


def _group_label(node: Node, below: Label, positional: Label) -> Label:
    body = node.body
    if body["apply"] is not None:
        return Label.INDETERMINATE
    rows = below if is_order_free(body["aggs"]) else positional
    if rows is Label.INDETERMINATE or any(body["options"].values()):
        return positional
    return rows if body["maintain_order"] else Label.UNORDERED


def _distinct_label(node: Node, below: Label, positional: Label) -> Label:
    options = node.body["options"]
    chosen = options["subset"] is not None and options["keep_strategy"] != "None"
    if chosen and options["keep_strategy"] == "Any":
        return Label.INDETERMINATE
    rows = positional if chosen else below
    if rows is Label.INDETERMINATE:
        return rows
    return rows if options["maintain_order"] else Label.UNORDERED


def _join_label(node: Node, below: Label) -> Label:
    ordered = node.body["options"]["args"]["maintain_order"] in ("LeftRight", "RightLeft")
    return below if ordered else _loose(below)


def settled(root: Node) -> Node:
    """Make every order-losing node of a fragment deliver its rows in one order."""
    return rewrite(root, settled_node)


def settled_node(node: Node) -> Node:
    """Make one node deliver its rows in one order, and choose the first among equals."""
    if node.kind == "GroupBy" and not node.body["maintain_order"]:
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
        args = {**node.body["options"]["args"], "maintain_order": "LeftRight"}
        return with_body(node, options={**node.body["options"], "args": args})
    return node


def _may_keep_order(node: Node) -> bool:
    """Whether a join can be made to keep order. Polars' optimizer breaks one without equal keys."""
    equal = isinstance(node.body["condition"], dict) and "Equi" in node.body["condition"]
    return equal and node.body["options"]["args"]["maintain_order"] == "None"
