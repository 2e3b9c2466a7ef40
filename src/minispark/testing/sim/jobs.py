"""Random jobs: any shape that the scheduler has to be able to run."""

from __future__ import annotations

from random import Random

from minispark.scheduler.spec import (
    InputEdge,
    JobSpec,
    Read,
    StageBranch,
    StageLabel,
    StageSpec,
)

__all__ = ["draw_job", "steady"]

_LABELS = (
    StageLabel.DETERMINATE,
    StageLabel.DETERMINATE,
    StageLabel.UNORDERED,
    StageLabel.INDETERMINATE,
)


def draw_job(chance: Random, name: str) -> JobSpec:
    """Draw a job of a few stages: chains, unions of branches, forks, sinks, results, both."""
    stages: list[StageSpec] = []
    count = chance.randint(2, 6)
    kind = chance.choice(("result", "result", "sink", "both"))
    written = count - 2 if kind == "both" else None
    for number in range(count):
        branches = tuple(_branch(chance, stages) for _ in range(chance.choice((1, 1, 1, 2))))
        last = number == count - 1
        stages.append(
            StageSpec(
                number,
                branches,
                chance.choice(_LABELS),
                result=last and kind != "sink",
                sink=number == written or (last and kind == "sink"),
            )
        )
    weight = chance.choice((1.0, 1.0, 1.0, 0.5, 4.0))
    return JobSpec(name, tuple(stages), weight)


def steady(spec: JobSpec) -> list[StageSpec]:
    """Return the stages that give the same rows each time, as all that they are made of does."""
    shaky: dict[int, None] = {}
    for stage in spec.stages:
        reads = {edge.stage for branch in stage.branches for edge in branch.inputs}
        if stage.label is StageLabel.INDETERMINATE or not reads.isdisjoint(shaky):
            shaky[stage.id] = None
    return [stage for stage in spec.stages if stage.id not in shaky and not stage.sink]


def _branch(chance: Random, stages: list[StageSpec]) -> StageBranch:
    width = chance.randint(0 if chance.random() < 0.05 else 1, 5)
    edges: list[InputEdge] = []
    readable = [stage for stage in stages if not stage.sink]
    for source in chance.sample(readable, min(len(readable), chance.choice((1, 1, 2)))):
        modes = [Read.ALL, Read.PARTITION]
        if source.partitions >= width:
            modes.append(Read.FORWARD)
        edges.append(InputEdge(f"l{source.id}", source.id, chance.choice(modes)))
    return StageBranch(width, tuple(edges))
