"""Relations, parts and stage drafts: what the rules pass to each other while the plan is cut.

A `Relation` is the rows of one logical node during planning: one or more parts, each a fragment
that is still open at the top, with a number of partitions. `Cutter` closes relations into stages
and opens leaves that read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from minispark.clock import monotonic_s
from minispark.plan.exchanges import Exchange, Hash
from minispark.plan.labels import label_of, settled, worst_label
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    PlanUnreadableError,
    children,
    leaf_node,
    on_top,
    replace_children,
    schema_of,
    with_body,
)
from minispark.plan.scans import ScanSource
from minispark.plan.stages import CachedNode, Label, OptimizerFlags, ReadMode, ScanInput, StageInput
from minispark.settings import PlanSettings

Schema = dict[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class Part:
    """A fragment, open at the top, and the leaves it reads."""

    node: Node
    partitions: int
    scans: tuple[ScanInput, ...] = ()
    inputs: tuple[StageInput, ...] = ()
    why: str = ""
    """Why a source that it reads is not split, if one is not."""

    def under(self, node: Node, *others: Part) -> Part:
        """Return this part with ``node``, which also reads ``others``, as its new top."""
        scans, inputs = list(self.scans), list(self.inputs)
        why = dict.fromkeys(part.why for part in (self, *others) if part.why)
        for other in others:
            scans += [scan for scan in other.scans if scan not in scans]
            inputs += [entry for entry in other.inputs if entry not in inputs]
        return replace(
            self, node=node, scans=tuple(scans), inputs=tuple(inputs), why="; ".join(why)
        )

    def then(self, schema: Schema, build: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Part:
        """Return this part, which has the columns ``schema``, with a query on top of its rows."""
        return replace(self, node=on_top(self.node, schema, build))


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows during planning.

    ``bytes`` is the size of the files and frames below, unfiltered, unless fewer rows are known; of
    Parquet files the size in memory of the columns that the query needs. ``kept`` is a guess: the
    part of the rows that pass the filters.
    """

    parts: tuple[Part, ...]
    bytes: int
    kept: float = 1.0

    @property
    def kept_bytes(self) -> float:
        """The size of the rows that pass filters, as a guess."""
        return self.bytes * self.kept

    @property
    def partitions(self) -> int:
        """Number of partitions of all parts."""
        return sum(part.partitions for part in self.parts)

    @property
    def single(self) -> bool:
        """Whether all rows are in one partition, so that any operation may follow."""
        return len(self.parts) == 1 and self.parts[0].partitions == 1

    @property
    def only(self) -> Part:
        """The part of a relation that has one part."""
        (part,) = self.parts
        return part

    def with_parts(self, change: Callable[[Part], Part]) -> Relation:
        """Return this relation with each part changed."""
        return replace(self, parts=tuple(map(change, self.parts)))

    def under(self, node: Node) -> Relation:
        """Return this relation with ``node``, which has one input, on top of each part."""
        return self.with_parts(lambda part: part.under(with_body(node, input=part.node)))


@dataclass(slots=True)
class Draft:
    """A stage at planning time; pushdown and `Cutter.settle` still change it."""

    id: int
    name: str
    parts: list[Part]
    schema: Schema
    label: Label
    bytes: int = 0
    kept: float = 1.0
    exchange: Exchange = field(default_factory=Exchange)
    take: int | None = None
    pushed: list[str] = field(default_factory=list)
    why: str = ""
    sample: bool = False
    """Whether its rows only say where an exchange cuts, so that each task may look at its own."""
    cached: CachedNode | None = None
    """The DAG node whose rows the stage gives, if they are kept for later jobs."""


def stages_read(parts: Iterable[Part]) -> set[int]:
    """Return the stages that parts read directly."""
    return {entry.stage for part in parts for entry in part.inputs}


def with_inputs(drafts: Sequence[Draft], stages: set[int]) -> list[Draft]:
    """Return the drafts of ``stages`` and of all stages that they read, also through others."""
    needed = set(stages)
    for draft in reversed(drafts):
        if draft.id in needed:
            needed |= stages_read(draft.parts)
    return [draft for draft in drafts if draft.id in needed]


@dataclass(slots=True)
class Cutter:
    """Holds the drafts of one plan; the rules call it to move rows.

    ``sources`` has the scans, and for those that cannot be cut why; ``hints`` has the numbers of
    partitions that a user asks of scans, ``stored_bytes`` is the size of results that are read.
    """

    settings: PlanSettings
    data_root: Path | None
    optimizations: OptimizerFlags = ()
    sources: Mapping[Node, ScanSource | str] = field(default_factory=dict)
    hints: Mapping[Node, int] = field(default_factory=dict)
    stored_bytes: int = 0
    drafts: list[Draft] = field(default_factory=list)
    _started_s: float = field(default_factory=monotonic_s)
    _labels: dict[Node, Label] = field(default_factory=dict)

    @property
    def input_bytes(self) -> int:
        """Size of the files of all scans that can be cut, and of the results that are read."""
        sources = self.sources.values()
        files = sum(source.bytes for source in sources if isinstance(source, ScanSource))
        return files + self.stored_bytes

    def check_time(self) -> None:
        """Raise if planning takes longer than it may.

        Raises
        ------
        PlanUnreadableError
            Planning takes longer than ``settings.planning_s``.
        """
        if monotonic_s() - self._started_s > self.settings.planning_s:
            msg = f"planning took longer than {self.settings.planning_s:g} s"
            raise PlanUnreadableError(msg)

    def schema(self, relation: Relation) -> Schema:
        """Return columns and dtypes of a relation (every part delivers the same)."""
        node = relation.parts[0].node
        return dict(node.schema) if isinstance(node, LeafNode) else schema_of(node)

    def label(self, parts: Sequence[Part]) -> Label:
        """Return the label of the rows of these parts."""
        stages = {
            entry.leaf: self.drafts[entry.stage].label for part in parts for entry in part.inputs
        }
        return worst_label(label_of(part.node, stages, self._labels) for part in parts)

    def _stage_label(self, draft: Draft) -> Label:
        label = self.label(draft.parts)
        if draft.exchange.by_place and label is not Label.DETERMINATE:
            return Label.INDETERMINATE
        return label

    def then(self, relation: Relation, build: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Relation:
        """Put a query on top of the rows of every part."""
        schema = self.schema(relation)
        return relation.with_parts(lambda part: part.then(schema, build))

    def close(
        self,
        relation: Relation,
        name: str,
        *,
        exchange: Exchange | None = None,
        take: int | None = None,
        why: str = "",
    ) -> Draft:
        """End a stage here; without ``exchange`` each task writes its rows to one partition."""
        draft = Draft(
            id=len(self.drafts),
            name=name,
            parts=list(relation.parts),
            schema=self.schema(relation),
            label=Label.INDETERMINATE,
            bytes=relation.bytes,
            kept=relation.kept,
            exchange=exchange or Exchange(),
            take=take,
            why=why or "; ".join(dict.fromkeys(part.why for part in relation.parts if part.why)),
        )
        draft.label = self._stage_label(draft)
        self.drafts.append(draft)
        return draft

    def read(self, draft: Draft, mode: ReadMode = ReadMode.ALL, *, partitions: int = 1) -> Relation:
        """Open a leaf that reads a stage."""
        leaf = f"stage{draft.id}"
        entry = StageInput(leaf, draft.id, mode, draft.take)
        part = Part(leaf_node(leaf, draft.schema), partitions, inputs=(entry,))
        return Relation((part,), draft.bytes, draft.kept)

    def gather(
        self, relation: Relation, name: str, *, take: int | None = None, why: str = ""
    ) -> Relation:
        """Bring all rows into one partition, in partition order.

        ``take`` is the number of rows that are needed, the last rows if negative. An error over
        other rows then does not fail the job.
        """
        if relation.single:
            return relation
        return self.read(self.close(relation, name, take=take, why=why))

    def broadcast(self, relation: Relation, name: str) -> Part:
        """Let every task of a stage read all rows of ``relation``."""
        return self.read(self.close(relation, name)).only

    def exchange(
        self, relation: Relation, keys: Sequence[pl.Expr], *, partitions: int, name: str
    ) -> Relation:
        """Bring rows with equal keys into one partition of ``partitions``."""
        if partitions == 1:
            return self.gather(relation, name)
        draft = self.close(relation, name, exchange=Hash(partitions, tuple(keys)))
        return self.read(draft, ReadMode.PARTITION, partitions=partitions)

    def materialise(self, relation: Relation, name: str) -> Relation:
        """Compute rows that several nodes read once; no row moves."""
        mode = ReadMode.ALL if relation.single else ReadMode.FORWARD
        return self.read(self.close(relation, name), mode, partitions=relation.partitions)

    def keep(self, relation: Relation, node: str) -> Relation:
        """Compute rows once that later jobs may find again; no row moves."""
        cached = self.materialise(relation, "cache")
        self.drafts[-1].cached = CachedNode(node, None)
        return cached

    def settle(self, relation: Relation) -> Relation:
        """Make rows come in the same order in every run, before positions count."""
        if self.label(relation.parts) is Label.DETERMINATE:
            return relation
        self._labels.clear()
        for draft in with_inputs(self.drafts, stages_read(relation.parts)):
            draft.parts = [replace(part, node=settled(part.node)) for part in draft.parts]
            draft.label = self._stage_label(draft)
        return relation.with_parts(lambda part: replace(part, node=settled(part.node)))

    def exchange_width(self, *relations: Relation) -> int:
        """Return the number of partitions after an exchange of these relations together."""
        if self.settings.parallelism is not None:
            return self.settings.parallelism
        if all(relation.single for relation in relations):
            return 1
        total = sum(relation.bytes for relation in relations)
        wanted = math.ceil(total / self.settings.reduce_bytes)
        return max(1, min(wanted, self.settings.max_partitions))

    def order_width(self, relation: Relation) -> int:
        """Return the number of partitions after an exchange that keeps an order of the rows.

        It takes several stages more than a gather, which a small input is not worth.
        """
        small = relation.bytes <= self.settings.single_task_bytes
        return 1 if small else self.exchange_width(relation)


def merge(node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Put a node on top of inputs that are all in one partition."""
    inputs = {child: relations[child].only for child in children(node)}
    top = replace_children(node, {child: part.node for child, part in inputs.items()})
    first, *others = inputs.values() or [Part(top, 1)]
    return Relation((first.under(top, *others),), sum(relations[child].bytes for child in inputs))


def run_whole(
    cutter: Cutter, node: Node, relations: Mapping[Node, Relation], *, why: str
) -> Relation:
    """Bring every input into one partition, in one order in every run, and run ``node`` there.

    Rows that are in one partition already do not move.
    """
    inputs = {
        child: cutter.gather(cutter.settle(relations[child]), "gather", why=why)
        for child in children(node)
    }
    return merge(node, inputs)
