"""LazyFrames -> StageGraph.

The logical plan is walked once, inputs first; each node's rule turns the relations of its
inputs into its own and closes stages where rows must move. Then Polars' optimizer tells what
each stage needs of those it reads, and the stages are written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException

from minispark.plan.check import PlanBrokenError, check
from minispark.plan.exchanges import Sink
from minispark.plan.expressions import is_random
from minispark.plan.fingerprint import name_cached
from minispark.plan.optimizations import changed_flags
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    PlanUnreadableError,
    children,
    executable,
    inputs,
    merge_equal,
    pack,
    parse,
    plan_header,
    post_order,
)
from minispark.plan.pushdown import push_down
from minispark.plan.pythons import (
    cached_node,
    counted_node,
    hinted_partitions,
    is_python,
    uncounted,
)
from minispark.plan.relation import Cutter, Draft, Part, Relation
from minispark.plan.rules.aggregate import group_by
from minispark.plan.rules.distinct import distinct
from minispark.plan.rules.join import join
from minispark.plan.rules.narrow import filter_rows, map_function, select, with_columns
from minispark.plan.rules.order import slice_rows, sort
from minispark.plan.rules.scan import Scans, read_frame, scan, survey
from minispark.plan.rules.union import union
from minispark.plan.rules.whole import run_whole
from minispark.plan.stages import (
    Branch,
    CachedNode,
    Label,
    OptimizerFlags,
    Output,
    OutputKind,
    ResultSpec,
    SinkSpec,
    Stage,
    StageGraph,
)
from minispark.plan.travel import check_columns, check_plan_bytes, serialized
from minispark.settings import PlanSettings

_PANIC = "Polars stopped with an internal error"

Rule = Callable[[Cutter, Node, Mapping[Node, Relation]], Relation]

_RULES: dict[str, Rule] = {
    "Filter": filter_rows,
    "Select": select,
    "HStack": with_columns,
    "MapFunction": map_function,
    "GroupBy": group_by,
    "Join": join,
    "Distinct": distinct,
    "Sort": sort,
    "Slice": slice_rows,
    "Union": union,
}


@dataclass(frozen=True, slots=True)
class PlanOutput:
    """Rows that the user wants: collected, or written to ``sink``."""

    name: str
    frame: pl.LazyFrame
    sink: SinkSpec | None = None


def plan_outputs(
    outputs: Sequence[PlanOutput],
    *,
    settings: PlanSettings | None = None,
    data_root: Path | None = None,
    optimizations: pl.QueryOptFlags | None = None,
    describe: bool = False,
) -> StageGraph:
    """Cut the plans of ``outputs`` into stages.

    Equal subplans are computed once. ``optimizations`` apply to every stage. ``describe`` adds the
    optimized logical plan as text, which costs Polars another look at the files.

    Raises
    ------
    polars.exceptions.PolarsError
        The query is not valid, or an input cannot be read; as `LazyFrame.collect_schema` does.
    UsageError
        An input path matches no file.
    UnsupportedError
        The query, or a column that its stages exchange, cannot go to another process.
    """
    flags = () if optimizations is None else changed_flags(optimizations)
    try:
        graph = _cut(outputs, Cutter(settings or PlanSettings(), data_root, flags))
    except (PlanUnreadableError, PlanBrokenError, RecursionError) as error:
        graph = _whole_graph(outputs, why=f"it could not be cut: {error}", optimizations=flags)
    except PanicException as error:
        why = f"it could not be cut: {_PANIC}: {error}"
        graph = _whole_graph(outputs, why=why, optimizations=flags)
    if not describe:
        return graph
    plans = (f"{output.name}:\n{_described(output.frame)}" for output in outputs)
    return replace(graph, logical="\n".join(plans))


def _described(frame: pl.LazyFrame) -> str:
    try:
        return frame.explain(engine="streaming")
    except PanicException as error:
        return f"{_PANIC}: {error}"


def _cut(outputs: Sequence[PlanOutput], cutter: Cutter) -> StageGraph:
    roots = _roots(outputs)
    nodes = _all_nodes(roots)
    scans = survey(nodes, _wanted(nodes))
    relations = _relations(cutter, nodes, roots, scans)
    results = [
        _close_output(cutter, output, relations[root])
        for output, root in zip(outputs, roots, strict=True)
    ]
    drafts = _reachable(cutter.drafts, results)
    # Before anything is pushed down: what other readers need makes no other rows of a cached one.
    name_cached(drafts)
    fixed = [*results, *(draft for draft in drafts if draft.cached is not None)]
    push_down(drafts, {draft.id for draft in fixed}, cutter.optimizations)
    check(drafts)
    for draft in drafts:
        if draft.exchange.sink is None:
            check_columns(draft.schema)
    return _graph(cutter, drafts, outputs, results, scans.bytes)


def _roots(outputs: Sequence[PlanOutput]) -> list[Node]:
    """Parse all plans as one, so that what they share is planned once."""
    if len(outputs) == 1:
        roots = [parse(outputs[0].frame)]
    else:
        wrapped = [output.frame.select(pl.all()) for output in outputs]
        carrier = parse(pl.concat(wrapped, how="diagonal"))
        roots = [children(wrapper)[0] for wrapper in carrier.body["inputs"]]
    same = merge_equal(_all_nodes(roots), _is_pure)
    return [same[root] for root in roots]


def _is_pure(node: Node) -> bool:
    """Whether two such nodes over the same rows give the same; somebody's function may not."""
    if node.kind == "MapFunction" and is_python(node):
        return any(
            find(node) is not None for find in (counted_node, hinted_partitions, cached_node)
        )
    return node.kind not in ("PythonScan", "Sink") and not is_random(node.body)


def _all_nodes(roots: Sequence[Node]) -> list[Node]:
    return list(dict.fromkeys(node for root in roots for node in post_order(root)))


def _wanted(nodes: Sequence[Node]) -> dict[Node, int]:
    """Numbers of partitions that hints ask of the scans below them."""
    wanted: dict[Node, int] = {}
    for node in nodes:
        partitions = hinted_partitions(node)
        if partitions is None:
            continue
        base = uncounted(children(node)[0])
        if base.kind == "Scan":
            wanted[base] = partitions
    return wanted


def _relations(
    cutter: Cutter, nodes: Sequence[Node], roots: Sequence[Node], scans: Scans
) -> dict[Node, Relation]:
    readers = Counter(child for node in nodes for child in inputs(node))
    readers.update(roots)
    relations: dict[Node, Relation] = {}
    for node in nodes:
        cutter.check_time()
        relation = _relation(cutter, node, relations, scans)
        if readers[node] > 1 and _worth_keeping(cutter, node, relation):
            relation = cutter.materialise(relation, "shared")
        relations[node] = relation
    return relations


def _relation(
    cutter: Cutter, node: Node, relations: Mapping[Node, Relation], scans: Scans
) -> Relation:
    if node.kind == "Scan":
        return scan(cutter, node, scans)
    if node.kind == "DataFrameScan":
        return read_frame(node)
    if node.kind == "Cache":
        return relations[children(node)[0]]
    rule = _RULES.get(node.kind)
    if rule is not None:
        return rule(cutter, node, relations)
    return run_whole(cutter, node, relations, why=f"{node.kind} is not known to split")


def _worth_keeping(cutter: Cutter, node: Node, relation: Relation) -> bool:
    """Whether rows that several nodes read are computed once and kept.

    Reading a file twice is cheaper than keeping it, and what is cached is kept already. Rows in
    one partition are left to Polars, which shares them within a fragment, unless a second
    computation could differ or be counted.
    """
    if node.kind in ("Scan", "DataFrameScan") or cached_node(node) is not None:
        return False
    if not relation.single:
        return True
    counts = any(counted_node(found) is not None for found in post_order(relation.only.node))
    return counts or cutter.label(relation.parts) is not Label.DETERMINATE


def _close_output(cutter: Cutter, output: PlanOutput, relation: Relation) -> Draft:
    draft = cutter.close(relation, "result" if output.sink is None else "write")
    if output.sink is not None:
        draft.exchange = Sink(sink=output.sink)
    return draft


def _reachable(drafts: Sequence[Draft], results: Sequence[Draft]) -> list[Draft]:
    """Drop stages that nobody reads, and number the others anew."""
    needed: set[int] = set()
    todo = [draft.id for draft in results]
    while todo:
        stage = todo.pop()
        if stage not in needed:
            needed.add(stage)
            todo += [entry.stage for part in drafts[stage].parts for entry in part.inputs]
    kept = [draft for draft in drafts if draft.id in needed]
    number = {draft.id: new for new, draft in enumerate(kept)}
    for draft in kept:
        draft.id = number[draft.id]
        draft.parts = [_renumbered(part, number) for part in draft.parts]
    return kept


def _renumbered(part: Part, number: Mapping[int, int]) -> Part:
    entries = tuple(replace(entry, stage=number[entry.stage]) for entry in part.inputs)
    return replace(part, inputs=entries)


def _graph(
    cutter: Cutter,
    drafts: Sequence[Draft],
    outputs: Sequence[PlanOutput],
    results: Sequence[Draft],
    size: int,
) -> StageGraph:
    return StageGraph(
        stages=tuple(_stage(draft, cutter.optimizations) for draft in drafts),
        results=tuple(
            ResultSpec(output.name, draft.id, tuple(draft.schema))
            for output, draft in zip(outputs, results, strict=True)
        ),
        input_bytes=size,
        polars=plan_header().hex(),
    )


def _stage(draft: Draft, optimizations: OptimizerFlags) -> Stage:
    nodes = (counted_node(node) for part in draft.parts for node in post_order(part.node))
    return Stage(
        id=draft.id,
        name=draft.name,
        branches=tuple(_branch(part) for part in draft.parts),
        output=draft.exchange.output(draft.schema, draft.take),
        label=draft.label,
        nodes=tuple(dict.fromkeys(node for node in nodes if node is not None)),
        pushed=tuple(draft.pushed),
        why=draft.why,
        cached=None if draft.cached is None else CachedNode(draft.cached, draft.fingerprint),
        optimizations=optimizations,
    )


def _branch(part: Part) -> Branch:
    for node in post_order(part.node):
        if isinstance(node, LeafNode):
            # A leaf stands in the plan as an empty frame.
            check_columns(node.schema)
    plan = pack(executable(part.node))
    check_plan_bytes(plan)
    return Branch(plan, part.partitions, part.scans, part.inputs)


def _whole_branch(frame: pl.LazyFrame) -> Branch:
    plan = serialized(frame)
    check_plan_bytes(plan)
    return Branch(plan, 1)


def _whole_graph(
    outputs: Sequence[PlanOutput], *, why: str, optimizations: OptimizerFlags = ()
) -> StageGraph:
    """Run plans that could not be read, each in one task."""
    stages = tuple(
        Stage(
            id=number,
            name="result" if output.sink is None else "write",
            branches=(_whole_branch(output.frame),),
            output=Output(
                OutputKind.SINGLE if output.sink is None else OutputKind.SINK, sink=output.sink
            ),
            label=Label.INDETERMINATE,
            why=why,
            optimizations=optimizations,
        )
        for number, output in enumerate(outputs)
    )
    results = tuple(
        ResultSpec(output.name, number, tuple(output.frame.collect_schema()))
        for number, output in enumerate(outputs)
    )
    return StageGraph(stages, results, polars=plan_header().hex())
