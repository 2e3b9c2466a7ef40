"""Checks the edges of a job, and sorts its nodes so that inputs come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minispark.errors import UsageError
from minispark.jobs.errors import node_error
from minispark.jobs.operators import Join, Operator, Read, Sql, Union, Write
from minispark.printable import did_you_mean, listed, shown


def order_nodes(
    nodes: Sequence[Operator], edges: Sequence[tuple[str, str]]
) -> tuple[list[Operator], dict[str, tuple[str, ...]]]:
    """Return the nodes inputs first, and the inputs of each in the order of the edges.

    Raises
    ------
    UsageError
        Two nodes have one id, an edge names no node, there is a cycle, or a node has more or fewer
        inputs than it takes.
    """
    by_id: dict[str, Operator] = {}
    for node in nodes:
        if node.id in by_id:
            msg = f"two nodes have the id {shown(node.id)}"
            raise UsageError(msg, code="MS-162", node=node.id, field="id")
        by_id[node.id] = node
    inputs: dict[str, list[str]] = {name: [] for name in by_id}
    for source, reader in edges:
        for name in (source, reader):
            if name not in by_id:
                msg = f"the edge [{shown(source)}, {shown(reader)}] names {shown(name)}"
                hint = did_you_mean(name, by_id, else_list="nodes are")
                raise _edge_error(name, f"{msg}, which is no node", hint)
        inputs[reader].append(source)
    ordered = _sort(inputs)
    for node in nodes:
        _check_inputs(node, inputs[node.id])
    for source, reader in edges:
        if isinstance(by_id[source], Write):
            msg = (
                f"an edge leads from {shown(source)} to {shown(reader)}, but a write gives no rows"
            )
            raise _edge_error(source, msg, f"draw the edge from what {shown(source)} reads")
    return [by_id[name] for name in ordered], {name: tuple(inputs[name]) for name in ordered}


def _edge_error(node: str, message: str, hint: str | None) -> UsageError:
    return UsageError(message, code="MS-162", node=node, field="dag.edges", hint=hint)


def _sort(inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each node after its inputs, else in the given order. No recursion: paths are long."""
    done: dict[str, None] = {}
    path: dict[str, None] = {}
    for start in inputs:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in done:
                stack.pop()
                continue
            path[name] = None
            pending = next((source for source in inputs[name] if source not in done), None)
            if pending is None:
                done[name] = None
                path.pop(name)
                stack.pop()
                continue
            if pending in path:
                raise _cycle(list(path), pending)
            stack.append(pending)
    return list(done)


def _cycle(path: list[str], name: str) -> UsageError:
    """Return an error that names the nodes of a cycle in the direction of the edges."""
    cycle = [name, *reversed(path[path.index(name) :])]
    names = " -> ".join(shown(node) for node in cycle[:10])
    more = " -> ..." if len(cycle) > 10 else ""
    return _edge_error(name, f"the edges form a cycle: {names}{more}", "remove one edge")


def _check_inputs(node: Operator, inputs: Sequence[str]) -> None:
    count = len(inputs)
    if isinstance(node, Read):
        if count:
            _refuse(node, f"reads files and takes no input, but {listed(inputs)} leads to it")
    elif count == 0:
        takes = "two inputs" if isinstance(node, Join) else "an input"
        _refuse(node, f"needs {takes}, but no edge leads to it")
    elif isinstance(node, Join):
        if count != 2:
            _refuse(node, f"takes exactly two inputs (left, then right), but has {count}")
    elif isinstance(node, Sql):
        if len(set(inputs)) != count:
            _refuse(node, "has the same input twice; one edge is enough")
    elif count > 1 and not isinstance(node, Union):
        _refuse(node, f"takes one input, but has {count}: {listed(inputs)}")


def _refuse(node: Operator, problem: str) -> None:
    raise node_error(node, f" {problem}", field="dag.edges", code="MS-162")
