"""Checks a finished plan: the stages that an operator reads deliver what the operator needs.

The rules build plans; this module checks the outcome without them. An operator that combines rows
may stand in a fragment of several partitions only if an exchange brought its input together by its
keys, or if it is the first of two steps and the second step comes after an exchange.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from minispark.plan.decompositions import PREFIX
from minispark.plan.exchanges import OWN, Partitioning
from minispark.plan.expressions import (
    columns_of,
    fills_by_row,
    is_constant,
    is_elementwise,
    is_row_function,
    is_separable,
    window_keys,
)
from minispark.plan.markers import counted_node
from minispark.plan.polars_plan import LeafNode, Node, children, post_order, sort_keys
from minispark.plan.relation import Draft, Part

_ORDERED = frozenset({"Sort", "Slice"})
_NEVER_EMITTED = {
    "input_right": frozenset({"Inner", "Left", "Semi", "Anti", "Cross"}),
    "input_left": frozenset({"Inner", "Right", "Cross"}),
}
"""Joins that emit no unmatched row of the side: every partition may have all its rows."""


class PlanBrokenError(Exception):
    """The planner made a plan that would give a wrong answer: our bug, never the user's."""


def check(drafts: Sequence[Draft]) -> None:
    """Compare what is delivered and what is needed, along every edge and in every fragment.

    Raises
    ------
    PlanBrokenError
        A stage or fragment does not get what it needs.
    """
    for number, draft in enumerate(drafts):
        _require(draft.id == number, draft, "is out of order")
        for part in draft.parts:
            for scan in part.scans:
                _require(len(scan.tasks) == part.partitions, draft, f"cuts {scan.leaf} wrongly")
            for entry in part.inputs:
                _require(entry.stage < draft.id, draft, "reads a later stage")
                source = drafts[entry.stage].exchange
                tasks = sum(below.partitions for below in drafts[entry.stage].parts)
                fits = source.fits(entry, tasks=tasks, readers=part.partitions)
                problem = f"reads stage {entry.stage} as {entry.mode}, which delivers {source.kind}"
                _require(fits, draft, problem)
            if part.partitions > 1 and not draft.sample:
                _Fragment(drafts, draft, part).check()


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
        # A rule puts own rows between those of other partitions, and a filter drops these again.
        nodes = post_order(self.part.node)
        everywhere = self._is_everywhere(self.part.node)
        _require(not everywhere, self.draft, "gives the same rows in each task")
        between = post_order(
            *(node.body["input"] for node in nodes if _keeps_own_rows(node)),
            *(node.body["input_right"] for node in nodes if self._joins_ranges(node)),
        )
        for node in post_order(self.part.node, skip=set(between)):
            if _keeps_own_rows(node) or self._is_everywhere(node):
                continue
            match node.kind:
                case "HConcat":
                    fits = self._beside(node.body["inputs"])
                case "GroupBy":
                    fits = self._group(node.body)
                case "Join":
                    fits = self._join(node.body) or self._joins_ranges(node)
                case "MergeSorted":
                    left, right = self._cuts(node)
                    fits = left == right and len(left) == 1 and (None, ()) not in left
                case "Distinct":
                    again = self._runs_again({"Distinct"})
                    fits = again or self._hashed(children(node)[0]) is not None
                case "Pivot":
                    fits = self._pivot(node.body)
                case "Sort":
                    fits = self._runs_again(_ORDERED) or self._is_ordered(node)
                case "Slice":
                    fits = self._runs_again(_ORDERED)
                case "Filter" | "HStack" | "Select":
                    fits = _is_rowwise(node) or self._windows(node)
                case _:
                    fits = _is_rowwise(node)
            _require(fits, self.draft, f"runs {node.kind} on a part of the rows")

    def _group(self, body: Any) -> bool:
        partial = all(_is_partial(aggregate) for aggregate in body["aggs"])
        # The partial windows of `group_by_dynamic` are filtered, for an error, before the groups.
        again = {"GroupBy", "Filter"} if body["options"]["dynamic"] else {"GroupBy"}
        if partial and self._runs_again(again):
            return True
        if self._is_everywhere(body["input"]):
            return True
        keys = self._hashed(body["input"])
        return keys is not None and keys <= {
            name for key in body["keys"] for name in columns_of(key)
        }

    def _pivot(self, body: Any) -> bool:
        keys = self._hashed(body["input"])
        return keys is not None and keys <= set(body["index"]["ByName"]["names"])

    def _join(self, body: Any) -> bool:
        how = body["options"]["args"]["how"]
        for side, allowed in _NEVER_EMITTED.items():
            if isinstance(how, str) and how in allowed and self._is_everywhere(body[side]):
                return True
        if not isinstance(how, str) and self._is_everywhere(body["input_right"]):
            return True
        left, right = (self._exchanged(body[side]) for side in ("input_left", "input_right"))
        if left.keys is None or right.keys is None:
            return False
        return len(left.keys) == len(right.keys) and left.ranges == right.ranges

    def _beside(self, frames: Sequence[Node]) -> bool:
        """Whether all frames but one are everywhere, or have rows that were cut as those of one."""
        others = [frame for frame in frames if not self._is_everywhere(frame)]
        ordered = [
            any(source.ordered is not None for source in self._sources(frame)) for frame in others
        ]
        return len(others) - sum(ordered) <= 1

    def _joins_ranges(self, node: Node) -> bool:
        """Whether an as-of join has a range of both sides, and the ends of all other ranges."""
        if node.kind != "Join" or isinstance(node.body["options"]["args"]["how"], str):
            return False
        left, right = self._cuts(node)
        cuts = {cut for cut in left if cut[0] is not None}
        return len(cuts) == 1 and right == {*cuts, (None, ())}

    def _cuts(self, node: Node) -> list[set[tuple[str | None, tuple[tuple[int, int], ...]]]]:
        """Return where the ranges of the left and of the right input are cut."""
        return [
            {(source.cuts, source.ranges) for source in self._sources(node.body[side])}
            for side in ("input_left", "input_right")
        ]

    def _runs_again(self, kinds: Collection[str]) -> bool:
        """Whether every reader of this stage first runs a node of these kinds over its rows.

        The check of the reader's fragment looks whether these nodes have the rows that they need.
        """
        first: set[str] = set()
        for draft in self.drafts:
            for part in draft.parts:
                leaves = [entry.leaf for entry in part.inputs if entry.stage == self.draft.id]
                first.update(*(_first_above(part.node, leaf) for leaf in leaves))
        return bool(first) and first <= set(kinds)

    def _sources(self, node: Node) -> list[Partitioning]:
        """Return the partitioning of each leaf of this input; leaves of files have any rows."""
        leaves = (leaf for leaf in post_order(node) if isinstance(leaf, LeafNode))
        return [self.sources.get(leaf.leaf, Partitioning()) for leaf in leaves]

    def _is_everywhere(self, node: Node) -> bool:
        """Whether every partition has all rows of this input."""
        sources = self._sources(node)
        return bool(sources) and all(source.everywhere for source in sources)

    def _exchanged(self, node: Node) -> Partitioning:
        """Return the partitioning of the first leaf whose rows an exchange brought together."""
        exchanged = (source for source in self._sources(node) if source.keys is not None)
        return next(exchanged, Partitioning())

    def _windows(self, node: Node) -> bool:
        """Whether every window of a node has all rows with its keys."""
        fields = {"Filter": "predicate", "HStack": "exprs", "Select": "expr"}
        given = node.body[fields[node.kind]]
        found = window_keys(given if isinstance(given, list) else [given])
        keys = self._hashed(node.body["input"])
        if found is None or keys is None:
            return False
        return keys <= {name for key in found for name in columns_of(key)}

    def _is_ordered(self, node: Node) -> bool:
        """Whether a range exchange with the keys of this sort brought its rows together."""
        wanted = [key.identity for key in sort_keys(node)]
        ordered = [source.ordered for source in self._sources(children(node)[0])]
        return any(
            keys is not None and [key.identity for key in keys] == wanted for keys in ordered
        )

    def _hashed(self, node: Node) -> set[str] | None:
        """Return the columns that decide in which partition a row of this input is."""
        keys = self._exchanged(node).keys
        return None if keys is None else {name for key in keys for name in key.meta.root_names()}


def _keeps_own_rows(node: Node) -> bool:
    return node.kind == "Filter" and node.body["predicate"] == {"Column": OWN}


def _first_above(root: Node, leaf: str) -> set[str]:
    """Return the kinds of the first nodes that read rows of a leaf; counters do not count."""
    first: set[str] = set()
    below: set[Node] = set()
    for node in post_order(root):
        if isinstance(node, LeafNode) and node.leaf == leaf:
            below.add(node)
        elif not below.isdisjoint(children(node)):
            if counted_node(node) is None:
                first.add(node.kind)
            else:
                below.add(node)
    return first | {"nothing"} if root in below else first


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
            return is_row_function(function) or counted_node(node) is not None
        case "MatchToSchema":
            return fills_by_row(node.body["per_column"])
        case kind:
            return kind in ("Resolver", "Cache")


def _is_rowwise_selection(bodies: Sequence[Any]) -> bool:
    if bodies and all(_is_partial(body) for body in bodies):
        return True
    if len(bodies) == 1:
        return is_separable(bodies[0]) and not is_constant(bodies[0])
    return all(is_elementwise(body) for body in bodies)


def _is_partial(body: Any) -> bool:
    """Whether the name of its column says that an aggregate is the first of two steps."""
    match body:
        case {"Alias": [_, str(name)]}:
            return name.startswith(PREFIX)
        case _:
            return False


def _require(holds: bool, draft: Draft, problem: str) -> None:  # noqa: FBT001
    if not holds:
        msg = f"stage {draft.id} ({draft.name}) {problem}"
        raise PlanBrokenError(msg)
