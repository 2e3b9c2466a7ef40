"""Union: the partitions of one input after those of the other; no row moves."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.names import exact_column
from minispark.plan.polars_plan import Node, children, frame_of, leaf_node, on_top, replace_children
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.rules.whole import merge


def union(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Concatenate, each input brought to the columns and dtypes of the result."""
    inputs = [relations[child] for child in node.body["inputs"]]
    total = sum(relation.bytes for relation in inputs)
    if all(relation.single for relation in inputs) and total <= cutter.settings.single_task_bytes:
        return merge(node, relations)
    schemas = {child: cutter.schema(relations[child]) for child in children(node)}
    leaves = {child: leaf_node(f"input{i}", schemas[child]) for i, child in enumerate(schemas)}
    result = dict(frame_of(replace_children(node, leaves)).collect_schema())
    parts: list[Part] = []
    for child in node.body["inputs"]:
        # Beside frames with columns, Polars takes no rows from one without.
        if result and not schemas[child]:
            continue
        parts += [_shaped(part, schemas[child], result) for part in relations[child].parts]
    return Relation(tuple(parts), total)


def _shaped(part: Part, schema: dict[str, pl.DataType], result: dict[str, pl.DataType]) -> Part:
    if list(schema.items()) == list(result.items()):
        return part
    columns = [
        exact_column(name).cast(dtype) if name in schema else pl.lit(None, dtype).alias(name)
        for name, dtype in result.items()
    ]
    return part.under(on_top(part.node, schema, lambda rows: rows.select(columns)))
