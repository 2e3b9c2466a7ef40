"""The plan of a SQL query: a node of SQL text becomes the nodes that Polars makes of its text.

A query of a `SQLContext` is one node of Polars' binary plan: a text and the tables that it reads.
Polars makes its plan only when it optimizes. ``CREATE TABLE name AS text`` makes the plan at once
and registers it as a table, and a query of that table has the plan as its input. So the nodes are
those of Polars' own SQL, over leaves in the place of the tables.

Covers: one node of a plan, from its text to nodes. Does not cover: what may be in a text
(`minispark.plan.sqltext`), how its nodes are split (the other rules).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import UnsupportedError
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    PlanUnreadableError,
    frame_of,
    leaf_node,
    parse,
    post_order,
    reads_leaf,
    replace_children,
    rewrite,
    schema_of,
    with_body,
)
from minispark.plan.relation import Cutter, Relation, run_whole
from minispark.plan.rules.operators import OperatorText
from minispark.plan.sql_nodes import has_own_name, renumbered, with_plain_values

OPERATORS = (
    OperatorText(
        "SQL: `pl.sql`, `lf.sql`, `pl.SQLContext`",
        "Polars makes the operators of the text; each of them is split as it is elsewhere",
        "`WITH RECURSIVE`, tables of a catalog",
    ),
)

_TABLE = "__minispark_query"
_REFUSED = (OSError, PanicException, PlanUnreadableError, PolarsError, UnsupportedError)


def lower_sql(roots: Sequence[Node]) -> list[Node]:
    """Return plans with the nodes of each of their SQL queries in the place of its text.

    A query that Polars refuses, or whose nodes cannot be read, keeps its text.
    """
    known: dict[Node, LeafNode] = {}
    new: dict[Node, Node] = {}
    for node in post_order(*roots):
        same = replace_children(node, new)
        new[node] = _lowered(same, known) if same.kind == "SQL" else same
    return [new[root] for root in roots]


def sql(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Run a query whole that `lower_sql` left as it is."""
    why = "Polars does not show the plan of this SQL (WITH RECURSIVE, tables of a catalog)"
    return run_whole(cutter, node, relations, why=why)


def _lowered(node: Node, known: dict[Node, LeafNode]) -> Node:
    """Lower one query; ``known`` has leaves with the columns of nodes, and gets those of others."""
    if node.body["catalog_tables"]:
        return node
    tables: dict[str, Node] = dict(node.body["relations"])
    try:
        for table in tables.values():
            if table not in known:
                known[table] = leaf_node(f"node{len(known)}", schema_of(_short(table, known)))
        leaves = {name: known[table] for name, table in tables.items()}
        query = with_body(node, relations=[[name, leaf] for name, leaf in leaves.items()])
        columns = schema_of(query)
        plan = _plan(node.body["query"], leaves)
        if list(schema_of(plan).items()) != list(columns.items()):
            return node
    except _REFUSED:
        return node
    lowered = rewrite(plan, lambda part: _table(part, leaves, tables))
    known.setdefault(lowered, leaf_node(f"node{len(known)}", columns))
    return lowered


def _plan(text: str, tables: Mapping[str, LeafNode]) -> Node:
    plan = _made_table(text, tables)
    schemas = (str(leaf.schema) for leaf in tables.values())
    if not has_own_name([text, *schemas]):
        plan = renumbered(plan)
    return with_plain_values(plan)


def _short(root: Node, known: Mapping[Node, Node]) -> Node:
    """Return a plan with leaves in the place of nodes whose columns are known."""
    new = dict(known)
    for node in post_order(root, skip=known):
        new[node] = replace_children(node, new)
    return new[root]


def _made_table(text: str, tables: Mapping[str, Node]) -> Node:
    name = _TABLE
    while name in tables:
        name += "_"
    frames = {table: frame_of(leaf) for table, leaf in tables.items()}
    statements = pl.SQLContext(frames, register_globals=False, eager=False)
    # The last line of a text may be a comment.
    statements.execute(f"CREATE TABLE {name} AS\n{text}\n")
    table: Node
    ((_, table),) = parse(statements.execute(f"FROM {name}")).body["relations"]
    return table


def _table(part: Node, leaves: Mapping[str, Node], tables: Mapping[str, Node]) -> Node:
    """Return the table that a leaf stands for, any other node as it is."""
    found = (tables[name] for name, leaf in leaves.items() if reads_leaf(part, leaf))
    return next(found, part)
