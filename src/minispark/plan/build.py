"""LazyFrames -> StageGraph.

The planner walks the logical plan once, inputs first: the rule of each node turns the relations of
its inputs into a relation, and closes stages if rows must move. Then Polars' optimizer says what
each stage needs of the stages that it reads, and the stages are written as plain data.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PerformanceWarning

from minispark.errors import UnsupportedError, UsageError
from minispark.plan.check import PlanBrokenError, check
from minispark.plan.estimates import bytes_of_rows, most_rows
from minispark.plan.exchanges import Exchange, Sink
from minispark.plan.expressions import is_random
from minispark.plan.fingerprint import name_cached
from minispark.plan.markers import (
    CacheHint,
    PartitionHint,
    counted_node,
    is_python,
    marker_of,
    stored_rows,
    uncounted,
)
from minispark.plan.needed import with_estimates
from minispark.plan.node_counts import Flow, count_nodes
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    PlanUnreadableError,
    executable,
    inputs,
    merge_equal,
    pack,
    parse,
    plan_header,
    post_order,
)
from minispark.plan.pushdown import push_down
from minispark.plan.relation import Cutter, Draft, Part, Relation, run_whole, with_inputs
from minispark.plan.rules.aggregate import group_by
from minispark.plan.rules.beside import beside
from minispark.plan.rules.distinct import distinct
from minispark.plan.rules.join import join
from minispark.plan.rules.merge_sorted import merge_sorted
from minispark.plan.rules.narrow import (
    filter_rows,
    map_function,
    match_to_schema,
    select,
    union,
    with_columns,
)
from minispark.plan.rules.order import sort
from minispark.plan.rules.pivot import pivot
from minispark.plan.rules.scan import python_scan, read_frame, scan, survey
from minispark.plan.rules.scan_steps import lower_scans
from minispark.plan.rules.slices import slice_rows
from minispark.plan.rules.sql import lower_sql, sql
from minispark.plan.rules.stored import is_sink, piped, sink_refused
from minispark.plan.serialization import changed_flags, check_columns, check_plan_bytes, serialized
from minispark.plan.stages import (
    Branch,
    Label,
    OptimizerFlags,
    ResultSpec,
    SinkSpec,
    Stage,
    StageGraph,
)
from minispark.settings import PlanSettings

_PANIC = "Polars stopped with an internal error"

Rule = Callable[[Cutter, Node, Mapping[Node, Relation]], Relation]


@dataclass(frozen=True, slots=True)
class PlanOutput:
    """Rows that the user wants: collected, or written to ``sink``."""

    name: str
    frame: pl.LazyFrame
    sink: SinkSpec | None = None

    @property
    def stage_name(self) -> str:
        """Name of the stage that gives the rows."""
        return "result" if self.sink is None else "write"

    @property
    def exchange(self) -> Exchange:
        """The exchange after that stage."""
        return Exchange() if self.sink is None else Sink(sink=self.sink)


def plan_outputs(
    outputs: Sequence[PlanOutput],
    *,
    settings: PlanSettings | None = None,
    data_root: Path | None = None,
    optimizations: pl.QueryOptFlags | None = None,
    describe: bool = False,
    count: bool = False,
) -> StageGraph:
    """Cut the plans of ``outputs`` into stages.

    Equal subplans are computed once. ``optimizations`` apply to every stage. ``describe`` adds the
    optimized logical plan as text; for that, Polars reads the metadata of the files once more.
    ``count`` counts the rows of every node; filters do not pass the counters.

    Raises
    ------
    polars.exceptions.PolarsError
        The query is not valid, or an input cannot be read; as `LazyFrame.collect_schema` does.
    UsageError
        An input path matches no file.
    UsageError
        Also: a large input would be gathered and ``settings.fallback`` is "raise".
    UnsupportedError
        The query, or a column that its stages exchange, cannot go to another process.
    """
    settings = settings or PlanSettings()
    flags = () if optimizations is None else changed_flags(optimizations)
    try:
        graph = _cut(outputs, Cutter(settings, data_root, flags), count=count)
    except (PlanUnreadableError, PlanBrokenError, RecursionError, PanicException) as error:
        panic = f"{_PANIC}: " if isinstance(error, PanicException) else ""
        why = f"it could not be cut: {panic}{error}"
        _report_gathers([f"the query runs whole: {why}"], settings)
        graph = _whole_graph(outputs, why, flags)
    if not describe:
        return graph
    plans = (f"{output.name}:\n{_described(output.frame)}" for output in outputs)
    return replace(graph, logical="\n".join(plans))


def _described(frame: pl.LazyFrame) -> str:
    try:
        return frame.explain(engine="streaming")
    except PanicException as error:
        return f"{_PANIC}: {error}"


def _cut(outputs: Sequence[PlanOutput], cutter: Cutter, *, count: bool) -> StageGraph:
    roots = _roots(outputs)
    flow: Flow = {}
    if count:
        roots, flow = count_nodes(roots)
    nodes = post_order(*roots)
    cutter.sources, cutter.hints = survey(nodes), _hinted_partitions(nodes)
    cutter.stored_bytes = sum(rows.bytes for rows in map(stored_rows, nodes) if rows is not None)
    if cutter.input_bytes > cutter.settings.single_task_bytes:
        cutter.sources = with_estimates(roots, cutter.sources, cutter.optimizations)
    relations = _relations(cutter, nodes, roots)
    results = [
        cutter.close(relations[root], output.stage_name, exchange=output.exchange)
        for output, root in zip(outputs, roots, strict=True)
    ]
    drafts = _reachable(cutter.drafts, results)
    large = cutter.settings.large_bytes
    gathers = [
        f"stage {draft.id} ({draft.name}) gathers {draft.bytes:,} bytes: {draft.why}"
        for draft in drafts
        if draft.why and draft.bytes >= large
    ]
    _report_gathers(gathers, cutter.settings)
    # Before pushdown: what other readers need changes no row of a cached stage.
    name_cached(drafts)
    fixed = [*results, *(draft for draft in drafts if draft.cached is not None)]
    push_down(drafts, {draft.id for draft in fixed}, cutter.optimizations)
    check(drafts)
    for draft in drafts:
        if draft.exchange.sink is None:
            check_columns(draft.schema)
    return StageGraph(
        stages=tuple(_stage(draft, cutter.optimizations) for draft in drafts),
        results=tuple(
            ResultSpec(output.name, draft.id, tuple(draft.schema))
            for output, draft in zip(outputs, results, strict=True)
        ),
        flow=flow,
        input_bytes=cutter.input_bytes,
        polars=plan_header().hex(),
    )


def _report_gathers(gathers: Sequence[str], settings: PlanSettings) -> None:
    """Warn of large inputs that are gathered, or refuse them, as the settings say."""
    if not gathers or settings.fallback == "silent":
        return
    if settings.fallback == "raise":
        raise UsageError(
            f"a large input would be gathered in one task: {'; '.join(gathers)}",
            code="MS-171",
            hint='Write the query with operators that are split, or use fallback="warn".',
        )
    for gather in gathers:
        warnings.warn(gather, PerformanceWarning, stacklevel=2)


def _refuse_sink(_cutter: Cutter, _node: Node, _relations: Mapping[Node, Relation]) -> Relation:
    raise sink_refused()


_RULES: dict[str, Rule] = {
    "Scan": scan,
    "DataFrameScan": read_frame,
    "PythonScan": python_scan,
    "PipeWithSchema": piped,
    "Cache": lambda _cutter, node, relations: relations[node.body["input"]],
    "Filter": filter_rows,
    "Select": select,
    "HStack": with_columns,
    "MapFunction": map_function,
    "GroupBy": group_by,
    "Join": join,
    "MergeSorted": merge_sorted,
    "Distinct": distinct,
    "Sort": sort,
    "Slice": slice_rows,
    "Union": union,
    "SQL": sql,
    "HConcat": beside,
    "MatchToSchema": match_to_schema,
    "Pivot": pivot,
    "Sink": _refuse_sink,
    "SinkMultiple": _refuse_sink,
}


def _roots(outputs: Sequence[PlanOutput]) -> list[Node]:
    """Parse all plans as one, so that a subplan which they share is planned once."""
    if len(outputs) == 1:
        roots = [parse(outputs[0].frame)]
    else:
        selections = [output.frame.select(pl.all()) for output in outputs]
        combined = parse(pl.concat(selections, how="diagonal"))
        roots = [selection.body["input"] for selection in combined.body["inputs"]]
    roots = lower_scans(lower_sql(roots))
    same = merge_equal(post_order(*roots), _is_pure)
    return [same[root] for root in roots]


def _is_pure(node: Node) -> bool:
    """Whether two such nodes over the same rows give the same; a function of a user may not."""
    if is_python(node):
        return marker_of(node) is not None
    return node.kind not in ("PythonScan", "Sink") and not is_random(node.body)


def _hinted_partitions(nodes: Sequence[Node]) -> dict[Node, int]:
    """Return the numbers of partitions that hints ask of the scans below them."""
    markers = ((node, marker_of(node)) for node in nodes)
    return {
        uncounted(node.body["input"]): hint.partitions
        for node, hint in markers
        if isinstance(hint, PartitionHint)
    }


def _relations(
    cutter: Cutter, nodes: Sequence[Node], roots: Sequence[Node]
) -> dict[Node, Relation]:
    readers = Counter(child for node in nodes for child in inputs(node))
    readers.update(roots)
    relations: dict[Node, Relation] = {}
    for node in nodes:
        cutter.check_time()
        if node.kind in _RULES:
            relation = _RULES[node.kind](cutter, node, relations)
        else:
            why = f"{node.kind} cannot be split"
            relation = run_whole(cutter, node, relations, why=why)
        relation = _bounded(cutter, node, relation)
        if readers[node] > 1 and _worth_keeping(cutter, node, relation):
            relation = cutter.materialise(relation, "shared")
        relations[node] = relation
    return relations


def _bounded(cutter: Cutter, node: Node, relation: Relation) -> Relation:
    """Return a relation without more bytes than the rows have that its node gives at most."""
    rows = most_rows(node)
    if rows is None:
        return relation
    most = bytes_of_rows(rows, cutter.schema(relation))
    return relation if relation.bytes <= most else replace(relation, bytes=most)


def _worth_keeping(cutter: Cutter, node: Node, relation: Relation) -> bool:
    """Whether rows that several nodes read are computed once and kept.

    Reading a file twice is cheaper than keeping its rows, and cached rows are kept already. Polars
    shares rows in one partition within a fragment, so they are kept only if a second computation
    could differ or would be counted.
    """
    if node.kind in ("Scan", "DataFrameScan") or isinstance(marker_of(node), CacheHint):
        return False
    if stored_rows(node) is not None:
        return False
    if not relation.single:
        return True
    counts = any(counted_node(part) is not None for part in post_order(relation.only.node))
    return counts or cutter.label(relation.parts) is not Label.DETERMINATE


def _reachable(drafts: Sequence[Draft], results: Sequence[Draft]) -> list[Draft]:
    """Drop stages that no other stage reads, and number the rest from 0."""
    needed = with_inputs(drafts, {draft.id for draft in results})
    number = {draft.id: new for new, draft in enumerate(needed)}
    for draft in needed:
        draft.id = number[draft.id]
        draft.parts = [_renumbered(part, number) for part in draft.parts]
    return needed


def _renumbered(part: Part, number: Mapping[int, int]) -> Part:
    entries = tuple(replace(entry, stage=number[entry.stage]) for entry in part.inputs)
    return replace(part, inputs=entries)


def _stage(draft: Draft, optimizations: OptimizerFlags) -> Stage:
    nodes = map(counted_node, post_order(*(part.node for part in draft.parts)))
    return Stage(
        id=draft.id,
        name=draft.name,
        branches=tuple(_branch(part) for part in draft.parts),
        output=draft.exchange.output(draft.schema, draft.take),
        label=draft.label,
        nodes=tuple(dict.fromkeys(node for node in nodes if node is not None)),
        pushed=tuple(draft.pushed),
        why=draft.why,
        cached=draft.cached,
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


def _whole_graph(
    outputs: Sequence[PlanOutput], why: str, optimizations: OptimizerFlags
) -> StageGraph:
    """Run plans that could not be read, each in one task."""
    stages: list[Stage] = []
    results: list[ResultSpec] = []
    for number, output in enumerate(outputs):
        plan = serialized(output.frame)
        check_plan_bytes(plan)
        stage = Stage(
            id=number,
            name=output.stage_name,
            branches=(Branch(plan, 1),),
            output=output.exchange.output({}, None),
            label=Label.INDETERMINATE,
            why=why,
            optimizations=optimizations,
        )
        stages.append(stage)
        results.append(ResultSpec(output.name, number, _column_names(output.frame)))
    return StageGraph(tuple(stages), tuple(results), polars=plan_header().hex())


def _column_names(frame: pl.LazyFrame) -> tuple[str, ...]:
    try:
        if is_sink(frame):
            raise sink_refused()
        return tuple(frame.collect_schema())
    except PanicException as error:
        msg = f"the columns of the query are not known: {_PANIC}: {error}"
        raise UnsupportedError(msg, hint='What works: collect(engine="streaming").') from error
