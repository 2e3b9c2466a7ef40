"""What the rules pass to each other while the plan is cut: relations, parts, stage drafts.

A `Relation` is the rows of one logical node as they lie during planning: one or more parts,
each a fragment that is still open at the top, with a number of partitions. `Cutter` closes
relations into stages and opens leaves that read them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from minispark.clock import monotonic_s
from minispark.plan.exchanges import Exchange, Hash
from minispark.plan.labels import label_of, settled
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    PlanUnreadableError,
    frame_of,
    leaf_node,
)
from minispark.plan.stages import (
    Label,
    OptimizerFlags,
    ReadMode,
    ScanInput,
    StageInput,
)
from minispark.settings import PlanSettings


@dataclass(frozen=True, slots=True)
class Part:
    """A fragment, open at the top, and the leaves it reads."""

    node: Node
    partitions: int
    scans: tuple[ScanInput, ...] = ()
    inputs: tuple[StageInput, ...] = ()

    def under(self, node: Node, *others: Part) -> Part:
        """Return this part with ``node``, which also reads ``others``, as its new top."""
        scans, inputs = list(self.scans), list(self.inputs)
        for other in others:
            scans += [scan for scan in other.scans if scan not in scans]
            inputs += [entry for entry in other.inputs if entry not in inputs]
        return replace(self, node=node, scans=tuple(scans), inputs=tuple(inputs))


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows during planning. ``bytes`` are those of the files and frames below, unfiltered."""

    parts: tuple[Part, ...]
    bytes: int

    @property
    def partitions(self) -> int:
        """Partitions of all parts."""
        return sum(part.partitions for part in self.parts)

    @property
    def single(self) -> bool:
        """Whether all rows are in one partition, so that any operation may follow."""
        return len(self.parts) == 1 and self.parts[0].partitions == 1

    @property
    def only(self) -> Part:
        """The part of a relation that has one."""
        (part,) = self.parts
        return part


@dataclass(slots=True)
class Draft:
    """A stage being planned; pushdown and `Cutter.settle` still change it."""

    id: int
    name: str
    parts: list[Part]
    schema: dict[str, pl.DataType]
    label: Label
    exchange: Exchange = field(default_factory=Exchange)
    take: int | None = None
    pushed: list[str] = field(default_factory=list)
    why: str = ""
    cached: str | None = None
    """The DAG node whose rows these are, where they are to be kept for later jobs."""
    fingerprint: str | None = None
    """Of a cached stage: what equal rows have in common (`fingerprint`)."""


class Cutter:
    """Holds the drafts of one plan; the rules call it to move rows."""

    def __init__(
        self,
        settings: PlanSettings,
        data_root: Path | None,
        optimizations: OptimizerFlags = (),
    ) -> None:
        self.settings = settings
        self.optimizations = optimizations
        self.data_root = data_root
        self.drafts: list[Draft] = []
        self._deadline_s = monotonic_s() + settings.planning_s
        self.scans = 0
        self._labels: dict[Node, Label] = {}

    def check_time(self) -> None:
        """Look whether planning has taken longer than it may.

        Raises
        ------
        PlanUnreadableError
            It has.
        """
        if monotonic_s() > self._deadline_s:
            msg = f"planning took longer than {self.settings.planning_s:g} s"
            raise PlanUnreadableError(msg)

    def schema(self, relation: Relation) -> dict[str, pl.DataType]:
        """Columns and dtypes of a relation (every part delivers the same)."""
        node = relation.parts[0].node
        return dict(node.schema if isinstance(node, LeafNode) else frame_of(node).collect_schema())

    def label(self, parts: Sequence[Part]) -> Label:
        """Label of what these parts deliver."""
        stages = {
            entry.leaf: self.drafts[entry.stage].label for part in parts for entry in part.inputs
        }
        labels = (label_of(part.node, stages, self._labels) for part in parts)
        return max(labels, key=list(Label).index)

    def close(self, relation: Relation, name: str, *, why: str = "") -> Draft:
        """End a stage here; its rows go to one partition unless the caller says otherwise."""
        draft = Draft(
            id=len(self.drafts),
            name=name,
            parts=list(relation.parts),
            schema=self.schema(relation),
            label=self.label(relation.parts),
            why=why,
        )
        self.drafts.append(draft)
        return draft

    def read(
        self, draft: Draft, mode: ReadMode, *, partitions: int = 1, take: int | None = None
    ) -> Part:
        """Open a leaf that reads a stage."""
        leaf = f"stage{draft.id}"
        return Part(
            node=leaf_node(leaf, draft.schema),
            partitions=partitions,
            inputs=(StageInput(leaf, draft.id, mode, take),),
        )

    def gather(self, relation: Relation, name: str, *, why: str = "") -> Relation:
        """Bring all rows into one partition, in partition order."""
        if relation.single:
            return relation
        part = self.read(self.close(relation, name, why=why), ReadMode.ALL)
        return Relation((part,), relation.bytes)

    def gather_some(self, relation: Relation, name: str, take: int) -> Relation:
        """Bring the first rows into one partition, the last ones where ``take`` is negative.

        What fails over rows that are not among these fails nothing.
        """
        draft = self.close(relation, name)
        draft.take = take
        return Relation((self.read(draft, ReadMode.ALL, take=take),), relation.bytes)

    def broadcast(self, relation: Relation, name: str) -> Part:
        """Let every task of a stage read all rows of ``relation``."""
        return self.read(self.close(relation, name), ReadMode.ALL)

    def exchange(
        self, relation: Relation, keys: Sequence[pl.Expr], *, partitions: int, name: str
    ) -> Relation:
        """Bring rows with equal keys into one partition of ``partitions``."""
        if partitions == 1:
            return self.gather(relation, name)
        draft = self.close(relation, name)
        draft.exchange = Hash(partitions, tuple(keys))
        part = self.read(draft, ReadMode.PARTITION, partitions=partitions)
        return Relation((part,), relation.bytes)

    def materialise(self, relation: Relation, name: str) -> Relation:
        """Compute rows that several nodes read once; no row moves."""
        count = relation.partitions
        mode = ReadMode.ALL if relation.single else ReadMode.FORWARD
        part = self.read(self.close(relation, name), mode, partitions=count)
        return Relation((part,), relation.bytes)

    def keep(self, relation: Relation, node: str) -> Relation:
        """Compute rows once that later jobs may find again; no row moves."""
        kept = self.materialise(relation, "cache")
        self.drafts[-1].cached = node
        return kept

    def settle(self, relation: Relation) -> Relation:
        """Make rows come in the same order every time, where positions are about to count."""
        if self.label(relation.parts) is Label.DETERMINATE:
            return relation
        self._labels.clear()
        for draft in self._below(relation):
            draft.parts = [replace(part, node=settled(part.node)) for part in draft.parts]
            draft.label = self.label(draft.parts)
        parts = tuple(replace(part, node=settled(part.node)) for part in relation.parts)
        return Relation(parts, relation.bytes)

    def _below(self, relation: Relation) -> list[Draft]:
        """Stages that a relation reads, also through others, in order."""
        found: set[int] = set()
        todo = [entry.stage for part in relation.parts for entry in part.inputs]
        while todo:
            stage = todo.pop()
            if stage not in found:
                found.add(stage)
                todo += [entry.stage for part in self.drafts[stage].parts for entry in part.inputs]
        return [self.drafts[stage] for stage in sorted(found)]

    def exchange_width(self, *relations: Relation) -> int:
        """Partitions after an exchange of these relations together."""
        if self.settings.parallelism is not None:
            return self.settings.parallelism
        if all(relation.single for relation in relations):
            return 1
        total = sum(relation.bytes for relation in relations)
        wanted = math.ceil(total / self.settings.reduce_bytes)
        return max(1, min(wanted, self.settings.max_partitions))
