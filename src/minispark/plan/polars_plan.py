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
from minispark.plan.node_kinds import KINDS, holds_reference, is_reference
from minispark.plan.travel import deserialized, serialized

_HEADER_BYTES = 79
_UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
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
    UnsupportedError
        Polars cannot write it down.
    """
    return parse_bytes(serialized(frame))


def parse_bytes(data: bytes) -> Node:
    """Read a plan as `LazyFrame.serialize` has written it; else as `parse`."""
    try:
        arena = msgpack.unpackb(data[_HEADER_BYTES:], strict_map_key=False)
        root = _Reader(arena).root()
        post_order(root)
    except _UNREADABLE as e:
        msg = f"the binary plan could not be read: {e!r}"
        raise PlanUnreadableError(msg) from e
    return root


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
        ((node.kind, body),) = value.items()
        kind = KINDS[node.kind]
        if kind.opaque:
            node.body = body
            return
        found: dict[str, Any] = {}
        for field, inner in body.items():
            if field in kind.inputs:
                found[field] = self._resolve(inner)
            elif field in kind.inline:
                found[field] = [self._inline(plan) for plan in inner]
            elif field in kind.frames:
                found[field] = self._frame(inner["idx"])
            elif holds_reference(inner):
                msg = f"{node.kind}.{field} holds a reference of unknown meaning"
                raise ValueError(msg)
            else:
                found[field] = inner
        node.body = found

    def _inline(self, value: Any) -> Node:
        node = Node("", None)
        self._fill(node, value)
        return node

    def _resolve(self, value: Any) -> Any:
        if is_reference(value):
            return self.nodes[value["idx"]]
        return [self._resolve(inner) for inner in value] if isinstance(value, list) else value

    def _frame(self, index: int) -> _Data:
        if index not in self.data:
            self.data[index] = _Data(self.arena["dataframes"][index]["value"])
        return self.data[index]


def _fields(node: Node) -> tuple[str, ...]:
    """Fields of a node's body in which its inputs are."""
    kind = KINDS[node.kind]
    return kind.inputs + kind.inline


def _found(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner)


def children(node: Node) -> tuple[Node, ...]:
    """Inputs of a node in the order of its body, each once."""
    return tuple(dict.fromkeys(inputs(node)))


def inputs(node: Node) -> tuple[Node, ...]:
    """Inputs of a node, one that is read twice twice."""
    return tuple(found for field in _fields(node) for found in _found(node.body[field]))


def post_order(root: Node, *, known: Container[Node] = ()) -> list[Node]:
    """All nodes below and with ``root``, inputs first, except those ``known`` and what is below.

    No recursion: chains may be long.

    Raises
    ------
    PlanUnreadableError
        A node is its own input, directly or through others.
    """
    done: dict[Node, None] = {}
    above: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if node in done or node in known:
            continue
        if expanded:
            done[node] = None
            continue
        if node in above:
            msg = f"a {node.kind} node of the binary plan is its own input"
            raise PlanUnreadableError(msg)
        above.add(node)
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(children(node)) if child not in done)
    return list(done)


def with_body(node: Node, **fields: Any) -> Node:
    """Return a copy of ``node`` with some fields of its body replaced."""
    return Node(node.kind, {**node.body, **fields})


def _mapped(value: Any, change: Callable[[Node], Any]) -> Any:
    """Return the value of a field of inputs with something else in the place of each node."""
    if isinstance(value, Node):
        return change(value)
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value


def _with_inputs(node: Node, change: Callable[[Node], Any]) -> dict[str, Any]:
    return {**node.body, **{name: _mapped(node.body[name], change) for name in _fields(node)}}


def replace_children(node: Node, new: Mapping[Node, Node]) -> Node:
    """Return ``node`` with its direct inputs replaced."""
    return Node(node.kind, _with_inputs(node, lambda child: new.get(child, child)))


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
    frames = {name: node.body[name].value for name in KINDS[node.kind].frames}
    return {**_with_inputs(node, lambda child: ["input", number[child]]), **frames}


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
            "root": self._reference(root),
            "dataframes": self.data,
            "dsl_plans": self.slots,
        }

    def _value(self, node: Node) -> Any:
        kind = KINDS[node.kind]
        if kind.opaque:
            return {node.kind: node.body}
        body = _with_inputs(node, self._value if kind.inline else self._reference)
        return {node.kind: {**body, **{name: self._data(body[name]) for name in kind.frames}}}

    def _reference(self, node: Node) -> dict[str, int]:
        return {"idx": self.index[node], "version": 1}

    def _data(self, data: _Data) -> dict[str, int]:
        if data not in self.data_index:
            self.data_index[data] = len(self.data)
            self.data.append({"value": data.value, "version": 1})
        return {"idx": self.data_index[data], "version": 1}


def frame_of(root: Node) -> pl.LazyFrame:
    """Return a fresh LazyFrame of the plan (a leaf's answer is cached in its LazyFrame)."""
    return deserialized(pack(root))


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
