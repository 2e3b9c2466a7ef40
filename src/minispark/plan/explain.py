"""Shows a plan as text: the logical plan, the stages, what moves between them and why."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from minispark.formatting import many
from minispark.plan.exchanges import READS, describe_move, describe_output
from minispark.plan.legend import legend
from minispark.plan.picture import draw
from minispark.plan.stages import Branch, CachedNode, Stage, StageGraph
from minispark.printable import printable


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """A plan as something to look at: text on a terminal, a picture in a notebook.

    Looking at it runs nothing.
    """

    graph: StageGraph
    where: str = ""
    """Where the query runs, and why, if the engine chooses it."""

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [self.where, render(self.graph)]))

    __repr__ = __str__

    @property
    def mermaid(self) -> str:
        """The stages as a Mermaid flow chart."""
        return render_mermaid(self.graph)

    def _repr_html_(self) -> str:
        text = html.escape(str(self))
        return (
            f"<div>{draw(self.graph)}</div>"
            f"<details><summary>logical plan, stages and what was pushed down</summary>"
            f"<pre>{text}</pre></details>"
        )


def render(graph: StageGraph) -> str:
    """Return the plan as text with an explanation of its words."""
    stages = render_stages(graph)
    parts = [f"Logical plan\n{_indented(graph.logical)}"] if graph.logical else []
    return "\n\n".join([*parts, stages, f"Words\n{legend(stages)}"])


def render_stages(graph: StageGraph) -> str:
    """Return the stages as text, one paragraph each, in the order they can run."""
    tasks = sum(stage.partitions for stage in graph.stages)
    head = f"{many(len(graph.stages), 'stage')}, {many(tasks, 'task')}"
    head += f", {graph.input_bytes:,} bytes of input files"
    parts = [f"Physical plan: {head}"]
    parts += ["\n".join(map(printable, _stage_lines(stage, graph))) for stage in graph.stages]
    return "\n\n".join(parts)


def render_mermaid(graph: StageGraph) -> str:
    """Return the stages and what moves between them as a Mermaid flow chart."""
    lines = ["flowchart TD"]
    outputs = {stage.id: stage.output for stage in graph.stages}
    for stage in graph.stages:
        what = " ".join(stage.nodes) or stage.name
        size = f"{many(stage.partitions, 'task')}, {stage.label}"
        shape = f"stage {stage.id}: {_plain(what)}<br>{size}"
        lines.append(f'  s{stage.id}["{shape}"]')
        for number, branch in enumerate(stage.branches):
            for scan in branch.scans:
                files = len({split.path for task in scan.tasks for split in task})
                source = f"f{stage.id}_{number}_{len(lines)}"
                lines.append(f'  {source}[("{scan.spec.format.what}: {many(files, "file")}")]')
                lines.append(f"  {source} --> s{stage.id}")
        for entry, readers in stage.readers:
            move = describe_move(outputs[entry.stage], entry.mode, readers=readers)
            lines.append(f'  s{entry.stage} -->|"{_plain(move)}"| s{stage.id}')
    for result in graph.results:
        lines.append(f'  s{result.stage} --> r{result.stage}(["{_plain(result.node)}"])')
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Write a name so that Mermaid takes it as text."""
    return html.escape(printable(text)).replace("&", "#")


def _indented(text: str) -> str:
    return "\n".join(f"  {printable(line)}" for line in text.splitlines())


def _stage_lines(stage: Stage, graph: StageGraph) -> Iterator[str]:
    yield f"stage {stage.id} ({stage.name}): {many(stage.partitions, 'task')}, {stage.label}"
    if stage.nodes:
        yield f"  nodes:  {', '.join(stage.nodes)}"
    for line in dict.fromkeys(line for branch in stage.branches for line in _reads(branch)):
        yield f"  reads:  {line}"
    yield f"  writes: {describe_output(stage.output)}"
    for pushed in stage.pushed:
        yield f"  pushed: {pushed}"
    if stage.cached is not None:
        yield f"  cached: {_kept(stage.cached)}"
    if stage.why:
        yield f"  whole:  {stage.why}"
    for result in graph.results:
        if result.stage == stage.id:
            yield f"  result: {result.node}"


def _reads(branch: Branch) -> Iterator[str]:
    for scan in branch.scans:
        splits = [split for task in scan.tasks for split in task]
        files = {split.path for split in splits}
        what = scan.spec.format.what + ("" if scan.spec.format.auxiliary else " files")
        yield (
            f"{what}: {many(len(files), 'file')}, "
            f"{many(len(splits), 'split')} in {many(len(scan.tasks), 'task')}"
        )
    for entry in branch.inputs:
        yield f"{READS[entry.mode]} stage {entry.stage}"


def _kept(cached: CachedNode) -> str:
    if cached.key is None:
        return f"{cached.node}, for this job only: its rows may differ each time"
    return f"{cached.node}, for later jobs too, as {cached.key}"
