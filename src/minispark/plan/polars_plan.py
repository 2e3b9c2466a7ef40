"""The binary plan of Polars as a graph of `Node` objects, and back.

The only module that knows the layout. `LazyFrame.serialize()` is a header (magic, version,
hash of the plan's schema) and MessagePack: ``root``, ``dataframes`` and a flat arena
``dsl_plans[i]`` of named nodes whose inputs are ``{idx, version}``. Here a node's inputs are
`Node` objects themselves, so rules can cut and join plans, and a subplan that is used twice is one
object. Expressions stay as they are in the plan: nested dicts and lists.

No function changes a node in place: `with_body` and `rewrite` make new nodes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgpack
import polars as pl

from minispark.plan.arena import pack_arena, unpack_arena
from minispark.plan.cuts import SortKey
from minispark.plan.leaves import Leaf, PlanningLeaf
from minispark.plan.node_kinds import KINDS, holds_reference, is_reference
from minispark.plan.serialization import deserialized, serialized

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


class HeldFrame:
    """A DataFrame held by the plan, as the bytes that stand for it there."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value


@cache
def plan_header() -> bytes:
    """Return the header of this Polars' plans: magic, version and schema hash."""
    return pl.LazyFrame().serialize()[:_HEADER_BYTES]


def parse(frame: pl.LazyFrame) -> Node:
    """Return the root node of a LazyFrame's plan.

    Raises
    ------
    PlanUnreadableError
        The plan is too deep or not laid out as expected; it can still run whole.
    UnsupportedError
        Polars cannot write the plan.
    """
    return parse_bytes(serialized(frame))


def parse_bytes(data: bytes) -> Node:
    """Return the root node of a plan that `LazyFrame.serialize` wrote; raises as `parse` does."""
    return _read(data)[0]


def every_node(frame: pl.LazyFrame) -> list[Node]:
    """Return all nodes that a LazyFrame's plan holds, also those that no other node reads.

    Raises
    ------
    PlanUnreadableError
        The plan is too deep or not laid out as expected.
    """
    return _read(frame.serialize())[1]


def _read(data: bytes) -> tuple[Node, list[Node]]:
    """Return the root of a plan, and all nodes, inputs first."""
    try:
        reader = _Reader(unpack_arena(data[_HEADER_BYTES:]))
        return reader.root, post_order(*reader.nodes.values())
    except _UNREADABLE as e:
        msg = f"the binary plan could not be read: {e!r}"
        raise PlanUnreadableError(msg) from e


class _Reader:
    def __init__(self, arena: dict[str, Any]) -> None:
        self.frames = arena["dataframes"]
        self.data: dict[int, HeldFrame] = {}
        values = [slot["value"] for slot in arena["dsl_plans"]]
        self.nodes = {i: Node("", None) for i, value in enumerate(values) if value is not None}
        for index, node in self.nodes.items():
            self._fill(node, values[index])
        self.root = self.nodes[arena["root"]["idx"]]

    def _fill(self, node: Node, value: Any) -> None:
        ((node.kind, body),) = value.items()
        kind = KINDS[node.kind]
        if kind.opaque:
            node.body = body
            return
        node.body = {}
        for field, inner in body.items():
            if field in kind.inputs:
                node.body[field] = self._resolve(inner)
            elif field in kind.inline:
                node.body[field] = [self._inline(plan) for plan in inner]
            elif field in kind.frames:
                node.body[field] = self._frame(inner["idx"])
            elif holds_reference(inner):
                msg = f"{node.kind}.{field} holds a reference of unknown meaning"
                raise ValueError(msg)
            else:
                node.body[field] = inner

    def _inline(self, value: Any) -> Node:
        node = Node("", None)
        self._fill(node, value)
        return node

    def _resolve(self, value: Any) -> Any:
        if is_reference(value):
            return self.nodes[value["idx"]]
        return [self._resolve(inner) for inner in value] if isinstance(value, list) else value

    def _frame(self, index: int) -> HeldFrame:
        if index not in self.data:
            self.data[index] = HeldFrame(self.frames[index]["value"])
        return self.data[index]


def _fields(node: Node) -> tuple[str, ...]:
    """Return the fields of a node's body that hold its inputs."""
    kind = KINDS[node.kind]
    return kind.inputs + kind.inline


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes_in(inner)


def inputs(node: Node) -> tuple[Node, ...]:
    """Return the inputs of a node in the order of its body, an input that is read twice twice."""
    return tuple(child for field in _fields(node) for child in _nodes_in(node.body[field]))


def children(node: Node) -> tuple[Node, ...]:
    """Return the inputs of a node in the order of its body, each once."""
    return tuple(dict.fromkeys(inputs(node)))


def post_order(*roots: Node, skip: Container[Node] = ()) -> list[Node]:
    """Return ``roots`` and all nodes below, inputs first, without ``skip`` and the nodes below it.

    No recursion: chains may be long.

    Raises
    ------
    PlanUnreadableError
        A node is its own input, directly or through others.
    """
    done: dict[Node, None] = {}
    above: set[Node] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if node in done or node in skip:
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
    """Return ``node`` with its direct inputs replaced, itself if none of them is another."""
    if all(new.get(child, child) is child for child in children(node)):
        return node
    return Node(node.kind, _with_inputs(node, lambda child: new.get(child, child)))


def rewrite(root: Node, change: Callable[[Node], Node]) -> Node:
    """Apply ``change`` to every node, inputs first, and return the new root."""
    new: dict[Node, Node] = {}
    for node in post_order(root):
        new[node] = change(replace_children(node, new))
    return new[root]


def merge_equal(nodes: Sequence[Node], is_pure: Callable[[Node], bool]) -> dict[Node, Node]:
    """Return the first equal node of each of ``nodes`` (inputs first), so that it is planned once.

    ``is_pure`` says whether two nodes that equal a node give the same rows.
    """
    first: dict[bytes, Node] = {}
    same: dict[Node, Node] = {}
    for node in nodes:
        merged = replace_children(node, same)
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
    """Return the plan of ``root`` as `LazyFrame.serialize` would write it."""
    references = {node: _reference(number) for number, node in enumerate(post_order(root), start=1)}
    frames: dict[HeldFrame, dict[str, int]] = {}

    def value(node: Node) -> dict[str, Any]:
        kind = KINDS[node.kind]
        if kind.opaque:
            return {node.kind: node.body}
        body = _with_inputs(node, value if kind.inline else references.__getitem__)
        for name in kind.frames:
            body[name] = frames.setdefault(body[name], _reference(len(frames) + 1))
        return {node.kind: body}

    # Slot 0 is empty, as in the plans that Polars writes.
    plans: list[dict[str, Any]] = [{"value": None, "version": 0}]
    plans += ({"value": value(node), "version": 1} for node in references)
    values = [frame.value for frame in frames]
    arena = {"root": references[root], "dataframes": values, "dsl_plans": plans}
    return plan_header() + pack_arena(arena)


def _reference(number: int) -> dict[str, int]:
    return {"idx": number, "version": 1}


def frame_of(root: Node) -> pl.LazyFrame:
    """Return a new LazyFrame of the plan (a LazyFrame caches what its leaves answer)."""
    return deserialized(pack(root))


def schema_of(
    node: Node, inputs: Mapping[Node, Mapping[str, pl.DataType]] | None = None
) -> dict[str, pl.DataType]:
    """Return columns and dtypes of a node, over inputs with the columns ``inputs`` if given."""
    leaves = {child: leaf_node("input", schema) for child, schema in (inputs or {}).items()}
    return dict(frame_of(replace_children(node, leaves)).collect_schema())


def leaf_node(name: str, schema: Mapping[str, pl.DataType]) -> LeafNode:
    """Return the node of a `PlanningLeaf`."""
    node = parse(PlanningLeaf(name, schema).lazy())
    return LeafNode(node.kind, node.body, name, schema)


def reads_leaf(node: Node, leaf: Node) -> bool:
    """Whether a node reads the same rows as ``leaf``; Polars may have added columns to its body."""
    return node.kind == "Resolver" and node.body["resolver"] == leaf.body["resolver"]


def executable(root: Node) -> Node:
    """Return a fragment as it runs: with a `Leaf` for every `PlanningLeaf`."""
    return rewrite(root, _runnable)


def _runnable(node: Node) -> Node:
    return parse(Leaf(node.leaf, node.schema).lazy()) if isinstance(node, LeafNode) else node


def on_top(
    node: Node, schema: Mapping[str, pl.DataType], build: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> Node:
    """Return the plan of ``build``, which is written in Polars' own API, on top of ``node``."""
    plan = parse(build(PlanningLeaf("below", schema).lazy()))
    return rewrite(plan, lambda part: node if part.kind == "Resolver" else part)


def expression(body: Any) -> pl.Expr:
    """Return the expression that a part of a plan stands for."""
    return pl.Expr.deserialize(io.BytesIO(msgpack.packb(body)))


def sort_keys(node: Node) -> tuple[SortKey, ...]:
    """Return the keys of a sort node whose selectors are expanded."""
    options = node.body["sort_options"]
    keys = map(expression, node.body["by_column"])
    return tuple(map(SortKey, keys, options["descending"], options["nulls_last"]))


def expression_body(expr: pl.Expr) -> Any:
    """Return an expression as it stands in a plan."""
    return msgpack.unpackb(expr.meta.serialize(), strict_map_key=False)
