"""The shape of a job: edges that fit the nodes, and an order in which inputs come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minispark.errors import UsageError
from minispark.jobs.operators import Join, Operator, Read, Sql, Union, Write
from minispark.jobs.suggest import did_you_mean, listed, shown


def order_nodes(
    nodes: Sequence[Operator], edges: Sequence[tuple[str, str]]
) -> tuple[list[Operator], dict[str, tuple[str, ...]]]:
    """Return the nodes inputs first, and the inputs of each in the order of the edges.

    Raises
    ------
    UsageError
        An id is there twice, an edge leads nowhere, there is a cycle, or a node has more or fewer
        inputs than it takes.
    """
    known = _by_id(nodes)
    inputs: dict[str, list[str]] = {name: [] for name in known}
    for above, below in edges:
        for name in (above, below):
            if name not in known:
                raise _nowhere(name, (above, below), known)
        inputs[below].append(above)
    ordered = _in_order(known, inputs)
    for node in nodes:
        _check_inputs(node, inputs[node.id])
    for above, below in edges:
        if isinstance(known[above], Write):
            msg = f"an edge leads from {shown(above)} to {shown(below)}, but a write gives no rows"
            hint = f"draw the edge from what {shown(above)} reads"
            raise UsageError(msg, code="MS-162", node=above, field="dag.edges", hint=hint)
    return [known[name] for name in ordered], {name: tuple(inputs[name]) for name in ordered}


def _by_id(nodes: Sequence[Operator]) -> dict[str, Operator]:
    known: dict[str, Operator] = {}
    for node in nodes:
        if node.id in known:
            msg = f"two nodes have the id {shown(node.id)}"
            raise UsageError(msg, code="MS-162", node=node.id, field="id")
        known[node.id] = node
    return known


def _nowhere(name: str, edge: tuple[str, str], known: Mapping[str, Operator]) -> UsageError:
    msg = f"the edge [{shown(edge[0])}, {shown(edge[1])}] names {shown(name)}, which is no node"
    hint = did_you_mean(name, known, else_list="nodes are")
    return UsageError(msg, code="MS-162", node=name, field="dag.edges", hint=hint)


def _in_order(known: Mapping[str, Operator], inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort inputs first, otherwise as the nodes are listed. No recursion: chains may be long."""
    done: dict[str, None] = {}
    path: dict[str, None] = {}
    for start in known:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in done:
                stack.pop()
                continue
            path[name] = None
            waiting = [above for above in inputs[name] if above not in done]
            if not waiting:
                done[name] = None
                path.pop(name)
                stack.pop()
                continue
            if waiting[0] in path:
                raise _cycle(list(path), waiting[0])
            stack.append(waiting[0])
    return list(done)


def _cycle(path: list[str], name: str) -> UsageError:
    """Name the nodes on the cycle in the direction in which rows would flow."""
    around = [*reversed(path[path.index(name) :])]
    around = [name, *around]
    shown_nodes = " -> ".join(shown(node) for node in around[:10])
    more = " -> ..." if len(around) > 10 else ""
    msg = f"the edges form a cycle: {shown_nodes}{more}"
    return UsageError(msg, code="MS-162", node=name, field="dag.edges", hint="remove one edge")


def _check_inputs(node: Operator, inputs: Sequence[str]) -> None:
    count = len(inputs)
    if isinstance(node, Read):
        if count:
            _wrong(node, f"reads files and takes no input, but {listed(inputs)} leads to it")
    elif count == 0:
        takes = "two inputs" if isinstance(node, Join) else "an input"
        _wrong(node, f"needs {takes}, but no edge leads to it")
    elif isinstance(node, Join):
        if count != 2:
            _wrong(node, f"takes exactly two inputs (left, then right), but has {count}")
    elif isinstance(node, Sql):
        if len(set(inputs)) != count:
            _wrong(node, "has the same input twice; one edge is enough")
    elif count > 1 and not isinstance(node, Union):
        _wrong(node, f"takes one input, but has {count}: {listed(inputs)}")


def _wrong(node: Operator, what: str) -> None:
    msg = f"node {shown(node.id)} ({node.op}) {what}"
    raise UsageError(msg, code="MS-162", node=node.id, field="dag.edges")
