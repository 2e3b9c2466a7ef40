"""Checks a finished plan: what each operator needs is what the stages it reads deliver.

The rules build plans; this looks at the outcome with other eyes. An operator that combines rows
may stand in a fragment of several partitions only if its input was brought together by its keys,
or if it is the first of two steps whose second one comes after an exchange.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minispark.plan.aggregates import PREFIX
from minispark.plan.exchanges import Partitioning
from minispark.plan.expressions import columns_of, is_constant, is_elementwise, is_separable
from minispark.plan.polars_plan import LeafNode, Node, children, expression_body, post_order
from minispark.plan.pythons import counted_node
from minispark.plan.relation import Draft, Part
from minispark.plan.stages import StageInput

_ROW_KINDS = frozenset({"Resolver", "Cache", "Filter", "Select", "HStack", "MapFunction"})
_ROW_FUNCTIONS = frozenset({"Explode", "Rename", "Unnest"})
_ORDERED = frozenset({"Sort", "Slice"})
_NEVER_EMITTED = {
    "input_right": frozenset({"Inner", "Left", "Semi", "Anti", "Cross"}),
    "input_left": frozenset({"Inner", "Right", "Cross"}),
}
"""Joins that emit no unmatched row of the side: it may be there in every partition."""


class PlanBrokenError(Exception):
    """The planner made a plan that would give a wrong answer: a bug of ours, never the user's."""


def check(drafts: Sequence[Draft]) -> None:
    """Compare what is delivered and what is needed, along every edge and in every fragment.

    Raises
    ------
    PlanBrokenError
        Something does not fit.
    """
    for number, draft in enumerate(drafts):
        _require(draft.id == number, draft, "is out of order")
        for part in draft.parts:
            for scan in part.scans:
                _require(len(scan.tasks) == part.partitions, draft, f"cuts {scan.leaf} wrongly")
            for entry in part.inputs:
                _require(entry.stage < draft.id, draft, "reads a later stage")
                _check_edge(drafts[entry.stage], entry, part, draft)
            if part.partitions > 1:
                _Fragment(drafts, draft, part).check()


def _check_edge(source: Draft, entry: StageInput, part: Part, draft: Draft) -> None:
    count = sum(below.partitions for below in source.parts)
    fits = source.exchange.fits(entry, tasks=count, readers=part.partitions)
    what = f"reads stage {source.id} as {entry.mode}, which delivers {source.exchange.kind}"
    _require(fits, draft, what)


class _Fragment:
    """The nodes of a part that runs in several partitions."""

    def __init__(self, drafts: Sequence[Draft], draft: Draft, part: Part) -> None:
        self.drafts = drafts
        self.draft = draft
        self.part = part
        self.sources = {
            entry.leaf: drafts[entry.stage].exchange.delivers(entry) for entry in part.inputs
        }

    def check(self) -> None:
        for node in post_order(self.part.node):
            match node.kind:
                case "GroupBy":
                    fits = self._group(node.body)
                case "Join":
                    fits = self._join(node.body)
                case "Distinct":
                    again = self._runs_again({"Distinct"})
                    fits = again or self._hashed(children(node)[0]) is not None
                case "Sort" | "Slice":
                    fits = self._runs_again(_ORDERED)
                case _:
                    fits = node.kind in _ROW_KINDS and _is_rowwise(node)
            _require(fits, self.draft, f"runs {node.kind} on a part of the rows")

    def _group(self, body: Any) -> bool:
        partial = all(_is_partial(aggregate) for aggregate in body["aggs"])
        if partial and self._runs_again({"GroupBy"}):
            return True
        keys = self._hashed(body["input"])
        return keys is not None and keys <= {
            name for key in body["keys"] for name in columns_of(key)
        }

    def _join(self, body: Any) -> bool:
        how = body["options"]["args"]["how"]
        for side, allowed in _NEVER_EMITTED.items():
            if how in allowed and self._is_everywhere(body[side]):
                return True
        left, right = (self._placing(body[side]) for side in ("input_left", "input_right"))
        return left is not None and left == right

    def _runs_again(self, kinds: Collection[str]) -> bool:
        """Whether all that read this stage first run a node of these kinds over its rows.

        That these nodes have the rows that they need is checked where they stand.
        """
        readers = [
            (part, entry.leaf)
            for draft in self.drafts
            for part in draft.parts
            for entry in part.inputs
            if entry.stage == self.draft.id
        ]
        first = {kind for part, leaf in readers for kind in _first_above(part.node, leaf)}
        return bool(first) and first <= set(kinds)

    def _leaves(self, node: Node) -> list[LeafNode]:
        return [found for found in post_order(node) if isinstance(found, LeafNode)]

    def _is_everywhere(self, node: Node) -> bool:
        """Whether every partition has all rows of this input."""
        found = self._leaves(node)
        read = [self.sources[leaf.leaf] for leaf in found if leaf.leaf in self.sources]
        return len(read) == len(found) and all(source.everywhere for source in read)

    def _exchanged(self, node: Node) -> Partitioning | None:
        """How the first input that was brought together by keys lies."""
        read = (self.sources.get(leaf.leaf) for leaf in self._leaves(node))
        return next((one for one in read if one is not None and one.keys is not None), None)

    def _hashed(self, node: Node) -> set[str] | None:
        """Columns that say in which partition a row of this input is."""
        found = self._exchanged(node)
        if found is None or found.keys is None:
            return None
        return {name for key in found.keys for name in columns_of(expression_body(key))}

    def _placing(self, node: Node) -> tuple[int, tuple[tuple[int, int], ...]] | None:
        """What must agree on both sides of a join: how many keys, and which task has which hash."""
        found = self._exchanged(node)
        return None if found is None else (len(found.keys or ()), found.ranges)


def _first_above(root: Node, leaf: str) -> set[str]:
    """Return the kinds of the first nodes that rows of a leaf meet; markers let them pass."""
    nodes = post_order(root)
    below: set[Node] = {node for node in nodes if isinstance(node, LeafNode) and node.leaf == leaf}
    first = set() if root not in below else {"nothing"}
    for node in nodes:
        if below.isdisjoint(children(node)):
            continue
        if counted_node(node) is None:
            first.add(node.kind)
            continue
        below.add(node)
        first |= {"nothing"} if node is root else set()
    return first


def _is_rowwise(node: Node) -> bool:
    match node.kind:
        case "Filter":
            return is_separable(node.body["predicate"])
        case "HStack":
            return all(is_elementwise(body) for body in node.body["exprs"])
        case "Select":
            return _is_rowwise_selection(node.body["expr"])
        case "MapFunction":
            function = node.body["function"]
            plain = isinstance(function, Mapping) and function.keys() <= _ROW_FUNCTIONS
            return plain or counted_node(node) is not None
        case _:
            return True


def _is_rowwise_selection(bodies: Sequence[Any]) -> bool:
    if bodies and all(_is_partial(body) for body in bodies):
        return True
    if len(bodies) == 1:
        return is_separable(bodies[0]) and not is_constant(bodies[0])
    return all(is_elementwise(body) for body in bodies)


def _is_partial(body: Any) -> bool:
    """Whether an aggregate is the first of two steps, by the name of its column."""
    return (
        isinstance(body, dict)
        and body.keys() == {"Alias"}
        and str(body["Alias"][1]).startswith(PREFIX)
    )


def _require(holds: bool, draft: Draft, what: str) -> None:  # noqa: FBT001
    if not holds:
        msg = f"stage {draft.id} ({draft.name}) {what}"
        raise PlanBrokenError(msg)
