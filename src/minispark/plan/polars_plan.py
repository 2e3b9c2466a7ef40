"""The binary plan of Polars as a graph of `Node` objects, and back.

The only module that knows the layout. `LazyFrame.serialize()` is a header (magic, version,
hash of the plan's schema) and MessagePack: ``root``, ``dataframes`` and a flat arena
``dsl_plans[i]`` of named nodes whose inputs are ``{idx, version}``. Here a node's inputs are
the `Node` objects themselves, so cutting and joining is plain object surgery, and a subplan
that is used twice is one object. Expressions stay as they are: nested dicts and lists.

Nothing here is changed in place: `with_body` and `substitute` make new nodes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgpack
import polars as pl

from minispark.plan.leaves import Leaf, PlanningLeaf

__all__ = [
    "LeafNode",
    "Node",
    "PlanUnreadableError",
    "children",
    "every_node",
    "executable",
    "expression",
    "expression_body",
    "frame_of",
    "inputs",
    "leaf_node",
    "merge_equal",
    "on_top",
    "pack",
    "parse",
    "parse_bytes",
    "plain_body",
    "plan_header",
    "post_order",
    "replace_children",
    "rewrite",
    "substitute",
    "with_body",
]

_HEADER_BYTES = 79
_INLINE_INPUTS = ("Union", "HConcat", "SinkMultiple")
"""Kinds whose ``inputs`` are plans in place, not references."""
_SOURCES = ("Resolver", "Scan")
"""Kinds without inputs and with large bodies, in which nothing needs to be looked for."""
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    RecursionError,
    msgpack.exceptions.UnpackException,
)


class PlanUnreadableError(Exception):
    """The binary plan is not laid out as this module knows it."""


class Node:
    """One node: its kind and its body, in which inputs are `Node` objects."""

    __slots__ = ("body", "kind")

    def __init__(self, kind: str, body: Any) -> None:
        self.kind = kind
        self.body = body

    def __repr__(self) -> str:
        return f"Node({self.kind})"


class LeafNode(Node):
    """The node of one of our own leaves."""

    __slots__ = ("leaf", "schema")

    def __init__(self, kind: str, body: Any, leaf: str, schema: Mapping[str, pl.DataType]) -> None:
        super().__init__(kind, body)
        self.leaf = leaf
        self.schema = schema


class _Data:
    """A DataFrame held by the plan, as opaque bytes."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


@cache
def plan_header() -> bytes:
    """Return the header of this Polars' plans: magic, version and schema hash."""
    return pl.LazyFrame().serialize()[:_HEADER_BYTES]


def parse(frame: pl.LazyFrame) -> Node:
    """Read a LazyFrame's plan.

    Raises
    ------
    PlanUnreadableError
        The plan is too deep or not laid out as expected; it can still run whole.
    """
    return parse_bytes(frame.serialize())


def parse_bytes(data: bytes) -> Node:
    """Read a plan as `LazyFrame.serialize` has written it; else as `parse`."""
    try:
        arena = msgpack.unpackb(data[_HEADER_BYTES:], strict_map_key=False)
        return _Reader(arena).root()
    except _UNREADABLE as e:
        msg = f"the binary plan could not be read: {e!r}"
        raise PlanUnreadableError(msg) from e


def every_node(frame: pl.LazyFrame) -> list[Node]:
    """Return all nodes that a LazyFrame's plan holds, also such as nothing seems to read.

    Raises
    ------
    PlanUnreadableError
        The plan is too deep or not laid out as expected.
    """
    try:
        reader = _Reader(msgpack.unpackb(frame.serialize()[_HEADER_BYTES:], strict_map_key=False))
        reader.root()
        return list(dict.fromkeys(n for top in reader.nodes.values() for n in post_order(top)))
    except _UNREADABLE as e:
        msg = f"the binary plan could not be read: {e!r}"
        raise PlanUnreadableError(msg) from e


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"idx", "version"}


class _Reader:
    def __init__(self, arena: dict[str, Any]) -> None:
        self.arena = arena
        self.nodes: dict[int, Node] = {}
        self.data: dict[int, _Data] = {}

    def root(self) -> Node:
        for index, slot in enumerate(self.arena["dsl_plans"]):
            if slot["value"] is not None:
                self.nodes[index] = Node("", None)
        for index, node in self.nodes.items():
            self._fill(node, self.arena["dsl_plans"][index]["value"])
        return self.nodes[self.arena["root"]["idx"]]

    def _fill(self, node: Node, value: Any) -> None:
        if isinstance(value, str):
            node.kind, node.body = value, None
            return
        ((node.kind, body),) = value.items()
        if node.kind == "DataFrameScan":
            index = body["df"]["idx"]
            if index not in self.data:
                self.data[index] = _Data(self.arena["dataframes"][index]["value"])
            node.body = {**body, "df": self.data[index]}
        elif node.kind in _INLINE_INPUTS:
            inputs = [self._inline(value) for value in body["inputs"]]
            node.body = {
                key: inputs if key == "inputs" else self._resolve(inner)
                for key, inner in body.items()
            }
        else:
            node.body = body if node.kind in _SOURCES else self._resolve(body)

    def _inline(self, value: Any) -> Node:
        node = Node("", None)
        self._fill(node, value)
        return node

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            if _is_reference(value):
                return self.nodes[value["idx"]]
            return {key: self._resolve(inner) for key, inner in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], int):
            return [self._resolve(inner) for inner in value]
        return value


def _found(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _found(inner)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, int):
                return
            yield from _found(inner)


def children(node: Node) -> tuple[Node, ...]:
    """Inputs of a node in the order of its body, each once."""
    return tuple(dict.fromkeys(inputs(node)))


def inputs(node: Node) -> tuple[Node, ...]:
    """Inputs of a node, one that is read twice twice."""
    return () if node.kind in _SOURCES else tuple(_found(node.body))


def post_order(root: Node, *, known: Container[Node] = ()) -> list[Node]:
    """All nodes below and with ``root``, inputs first, but for those ``known`` and what is below.

    No recursion: chains may be long.
    """
    done: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if node in done or node in known:
            continue
        if expanded:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(children(node)) if child not in done)
    return list(done)


def with_body(node: Node, **fields: Any) -> Node:
    """Return a copy of ``node`` with some fields of its body replaced."""
    return Node(node.kind, {**node.body, **fields})


def _swap(value: Any, new: Mapping[Node, Node]) -> Any:
    if isinstance(value, Node):
        return new.get(value, value)
    if isinstance(value, dict):
        return {key: _swap(inner, new) for key, inner in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return [_swap(inner, new) for inner in value]
    return value


def replace_children(node: Node, new: Mapping[Node, Node]) -> Node:
    """Return ``node`` with its direct inputs replaced."""
    return Node(node.kind, _swap(node.body, new))


def rewrite(root: Node, change: Callable[[Node], Node]) -> Node:
    """Apply ``change`` to every node, inputs first, and return the new root."""
    new: dict[Node, Node] = {}
    for node in post_order(root):
        kept = all(new[child] is child for child in children(node))
        new[node] = change(node if kept else replace_children(node, new))
    return new[root]


def substitute(root: Node, new: Mapping[Node, Node]) -> Node:
    """Put other nodes in the place of some nodes anywhere below ``root``."""
    made: dict[Node, Node] = dict(new)
    for node in post_order(root):
        if node in made:
            continue
        changed = any(made[child] is not child for child in children(node))
        made[node] = replace_children(node, made) if changed else node
    return made[root]


def merge_equal(nodes: Sequence[Node], is_pure: Callable[[Node], bool]) -> dict[Node, Node]:
    """Give each node (inputs first) the first one that is the same, so that it is planned once.

    ``is_pure`` says of a node whether two of it give the same rows.
    """
    first: dict[bytes, Node] = {}
    same: dict[Node, Node] = {}
    for node in nodes:
        below = {child: same[child] for child in children(node)}
        changed = any(old is not new for old, new in below.items())
        merged = replace_children(node, below) if changed else node
        same[node] = first.setdefault(_digest(merged), merged) if is_pure(merged) else merged
    return same


def _digest(node: Node) -> bytes:
    def default(value: Any) -> Any:
        if isinstance(value, Node):
            return ["node", id(value)]
        return ["data", id(value.value)]

    digest: bytes = msgpack.packb([node.kind, node.body], default=default)
    return digest


def pack(root: Node) -> bytes:
    """Write the plan of ``root`` as `LazyFrame.serialize` would."""
    writer = _Writer()
    for node in post_order(root):
        writer.add(node)
    packed: bytes = msgpack.packb(writer.arena(root))
    return plan_header() + packed


def plain_body(node: Node, number: Mapping[Node, int]) -> Any:
    """Return the body of a node with the numbers of its inputs in their place."""

    def plain(value: Any) -> Any:
        if isinstance(value, Node):
            return ["input", number[value]]
        if isinstance(value, _Data):
            return value.value
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], int):
            return [plain(inner) for inner in value]
        return value

    return plain(node.body)


class _Writer:
    def __init__(self) -> None:
        self.slots: list[Any] = [{"value": None, "version": 0}]
        self.data: list[Any] = [{"value": None, "version": 0}]
        self.index: dict[Node, int] = {}
        self.data_index: dict[_Data, int] = {}

    def add(self, node: Node) -> None:
        self.index[node] = len(self.slots)
        self.slots.append({"value": self._value(node), "version": 1})

    def arena(self, root: Node) -> dict[str, Any]:
        return {
            "root": {"idx": self.index[root], "version": 1},
            "dataframes": self.data,
            "dsl_plans": self.slots,
        }

    def _value(self, node: Node) -> Any:
        if node.body is None:
            return node.kind
        if node.kind in _SOURCES:
            return {node.kind: node.body}
        if node.kind in _INLINE_INPUTS:
            body = {
                key: [self._value(child) for child in inner]
                if key == "inputs"
                else self._plain(inner)
                for key, inner in node.body.items()
            }
            return {node.kind: body}
        return {node.kind: self._plain(node.body)}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Node):
            return {"idx": self.index[value], "version": 1}
        if isinstance(value, _Data):
            return self._data(value)
        if isinstance(value, dict):
            return {key: self._plain(inner) for key, inner in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], int):
            return [self._plain(inner) for inner in value]
        return value

    def _data(self, data: _Data) -> dict[str, int]:
        if data not in self.data_index:
            self.data_index[data] = len(self.data)
            self.data.append({"value": data.value, "version": 1})
        return {"idx": self.data_index[data], "version": 1}


def frame_of(root: Node) -> pl.LazyFrame:
    """Return a fresh LazyFrame of the plan (a leaf's answer is cached in its LazyFrame)."""
    return pl.LazyFrame.deserialize(io.BytesIO(pack(root)))


def leaf_node(name: str, schema: Mapping[str, pl.DataType]) -> LeafNode:
    """Return the node of a `PlanningLeaf`."""
    node = parse(PlanningLeaf(name, schema).lazy())
    return LeafNode(node.kind, node.body, name, schema)


def executable(root: Node) -> Node:
    """Return a fragment as it runs: with a `Leaf` for every `PlanningLeaf`."""
    leaves = (node for node in post_order(root) if isinstance(node, LeafNode))
    return substitute(root, {node: parse(Leaf(node.leaf, node.schema).lazy()) for node in leaves})


def on_top(
    node: Node, schema: Mapping[str, pl.DataType], build: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> Node:
    """Put what ``build`` does, written in Polars' own words, on top of ``node``."""
    below = PlanningLeaf("below", schema).lazy()
    plan = parse(build(below))
    leaves = (found for found in post_order(plan) if found.kind == "Resolver")
    return substitute(plan, dict.fromkeys(leaves, node))


def expression(body: Any) -> pl.Expr:
    """Make an expression of a part of a plan."""
    return pl.Expr.deserialize(io.BytesIO(msgpack.packb(body)))


def expression_body(expr: pl.Expr) -> Any:
    """Return an expression as it stands in a plan."""
    return msgpack.unpackb(expr.meta.serialize(), strict_map_key=False)
