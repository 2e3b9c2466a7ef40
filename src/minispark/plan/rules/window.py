"""Windows: rows with equal keys meet in one partition and return to their order.

Each row is stamped with its place, exchanged by the keys that all windows share, and exchanged
again by ranges of its stamp. Whatever a window computes it computes over whole groups in their
order, so every function, `order_by` and mapping that keeps rows in their places is split.
"""

from __future__ import annotations

from minispark.plan.exchanges import STAMP
from minispark.plan.expressions import expand_all, names_of, window_keys
from minispark.plan.polars_plan import Node, expression, with_body
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.places import in_order, stamped
from minispark.plan.rules.window_groups import windows_of_few_groups

OPERATORS = (
    OperatorText(
        "`.over(...)` in `select`, `with_columns`, `filter`",
        "rows are exchanged by the keys that all windows of the step share, and return to their "
        "order",
        '`mapping_strategy="explode"`; a constant key, unless the aggregate decomposes',
    ),
)


def windows(cutter: Cutter, node: Node, relation: Relation, field: str) -> Relation | None:
    """Split the windows in ``field`` of a node; None if they must run whole."""
    given = node.body[field]
    schema = cutter.schema(relation)
    width = cutter.order_width(relation)
    bodies = expand_all(given if isinstance(given, list) else [given], schema)
    if relation.single or width == 1 or not bodies:
        return None
    few = windows_of_few_groups(cutter, node, relation, field, bodies)
    keys = window_keys(bodies)
    if few is not None or keys is None:
        return few
    names = names_of(bodies, schema)
    if names is None or STAMP in names or STAMP in schema:
        return None
    by = [expression(key) for key in keys]
    tasks = relation.partitions
    rows = stamped(cutter, cutter.settle(relation), by, width=width, name="window")
    if node.kind == "Select":
        bodies = [*bodies, {"Column": STAMP}]
    rows = rows.under(with_body(node, **{field: bodies if isinstance(given, list) else bodies[0]}))
    return in_order(cutter, rows, tasks=tasks, width=width)
