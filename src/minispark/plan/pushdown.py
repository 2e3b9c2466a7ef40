"""Carries what a stage needs down to the stages it reads.

Polars' own optimizer runs over each fragment and asks its leaves for columns and filters: exactly
the rows and columns that the stage below may drop before it ships them. The planner visits the last
stage first, so the stages above a stage have narrowed it before it asks its own leaves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.expressions import is_random, is_separable
from minispark.plan.file_filters import has_file_columns, without_files
from minispark.plan.leaves import LeafRequest, collect_requests
from minispark.plan.polars_plan import LeafNode, Node, expression_body, frame_of, inputs, post_order
from minispark.plan.relation import Draft, Part
from minispark.plan.serialization import query_flags
from minispark.plan.stages import OptimizerFlags, side_inputs

_Uses = list[LeafRequest | None]
"""What each use of the rows of a stage requests; None is everything."""


def push_down(drafts: Sequence[Draft], fixed: set[int], optimizations: OptimizerFlags = ()) -> None:
    """Reduce every stage's rows to what its readers request, except stages that are ``fixed``."""
    uses: defaultdict[int, _Uses] = defaultdict(list)
    for draft in reversed(drafts):
        if draft.id not in fixed and uses[draft.id]:
            _narrow(draft, uses[draft.id])
        for number, part in enumerate(draft.parts):
            by_leaf = _uses(part, optimizations)
            for entry in part.inputs:
                uses[entry.stage] += by_leaf.get(entry.leaf) or [None]
            filters = {leaf: _filters(requests) for leaf, requests in by_leaf.items()}
            draft.parts[number] = without_files(part, filters)


def _uses(part: Part, flags: OptimizerFlags) -> dict[str, _Uses]:
    """Let Polars optimize a fragment; return what it requests of its leaves.

    A use below a filter that is never true requests nothing. Over the rows themselves the optimizer
    may not notice such a filter, so the filters of a leaf that has several uses are not simplified.
    """
    side = side_inputs(part.scans)
    if all(entry.leaf in side for entry in part.inputs) and not has_file_columns(part):
        return {}
    uses = requests_of(part.node, flags)
    if _reads_twice(part.node):
        not_simplified = (*flags, ("simplify_expression", False))
        for leaf, requests in requests_of(part.node, not_simplified).items():
            if len(requests) > len(uses[leaf]):
                uses[leaf] = requests
    return {leaf: [*requests] for leaf, requests in uses.items()}


def requests_of(node: Node, flags: OptimizerFlags) -> defaultdict[str, list[LeafRequest]]:
    """Return what the optimizer asks of the leaves of a plan, for each use of a leaf."""
    with collect_requests() as requests:
        frame_of(node).explain(engine="streaming", optimizations=query_flags(flags))
    by_leaf: defaultdict[str, list[LeafRequest]] = defaultdict(list)
    for request in requests:
        by_leaf[request.leaf].append(request)
    return by_leaf


def _reads_twice(root: Node) -> bool:
    """Whether the fragment may read a leaf more than once. SQL may read any number of times."""
    nodes = post_order(root)
    leaves = Counter(node.leaf for node in nodes if isinstance(node, LeafNode))
    shared = sum(len(inputs(node)) for node in nodes) >= len(nodes)
    return shared or max(leaves.values(), default=0) > 1 or any(n.kind == "SQL" for n in nodes)


def _narrow(draft: Draft, uses: _Uses) -> None:
    columns = _columns(draft, uses)
    filters = _filters(uses)
    if not filters and columns == list(draft.schema):
        return

    def build(rows: pl.LazyFrame) -> pl.LazyFrame:
        return (rows.filter(*filters) if filters else rows).select(exact_columns(columns))

    draft.parts = [part.then(draft.schema, build) for part in draft.parts]
    if columns != list(draft.schema):
        draft.schema = {name: draft.schema[name] for name in columns}
        draft.pushed.append(f"columns {', '.join(columns)}")
    draft.pushed += [f"filter {expr}" for expr in filters]


def _columns(draft: Draft, uses: _Uses) -> list[str]:
    """Return the columns that a reader or the exchange needs; at least one column."""
    needed = {name for key in draft.exchange.keys for name in key.meta.root_names()}
    for request in uses:
        if request is None or request.columns is None:
            return list(draft.schema)
        needed.update(request.columns)
    return [name for name in draft.schema if name in needed] or _narrowest(draft.schema)


def _narrowest(schema: dict[str, pl.DataType]) -> list[str]:
    """Return one column that has the number of rows, a cheap one if there is one."""
    fixed = [name for name, dtype in schema.items() if dtype.is_numeric() or dtype == pl.Boolean]
    return (fixed or list(schema))[:1]


def _filters(uses: _Uses) -> list[pl.Expr]:
    """Return the filters of the only reader; of several, one may need what another drops."""
    if len(uses) != 1 or uses[0] is None:
        return []
    bodies = ((expr, expression_body(expr)) for expr in uses[0].filters)
    return [expr for expr, body in bodies if is_separable(body) and not is_random(body)]
