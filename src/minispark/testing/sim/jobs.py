"""Random jobs of any shape that the scheduler must be able to run."""

from __future__ import annotations

from random import Random

from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec

_LABELS = (
    Label.DETERMINATE,
    Label.DETERMINATE,
    Label.UNORDERED,
    Label.INDETERMINATE,
)


def draw_job(rng: Random, name: str) -> JobSpec:
    """Draw a job of a few stages: chains, unions of branches, forks, sinks, results, both."""
    stages: list[StageSpec] = []
    count = rng.randint(2, 6)
    kind = rng.choice(("result", "result", "sink", "both"))
    written = count - 2 if kind == "both" else None
    for number in range(count):
        branches = tuple(_branch(rng, stages) for _ in range(rng.choice((1, 1, 1, 2))))
        last = number == count - 1
        stages.append(
            StageSpec(
                number,
                branches,
                rng.choice(_LABELS),
                result=last and kind != "sink",
                sink=number == written or (last and kind == "sink"),
            )
        )
    weight = rng.choice((1.0, 1.0, 1.0, 0.5, 4.0))
    return JobSpec(name, tuple(stages), weight)


def repeatable_stages(spec: JobSpec) -> list[StageSpec]:
    """Return the stages that give the same rows in every run, as do all their inputs."""
    indeterminate: dict[int, None] = {}
    for stage in spec.stages:
        reads = {edge.stage for branch in stage.branches for edge in branch.inputs}
        if stage.label is Label.INDETERMINATE or not reads.isdisjoint(indeterminate):
            indeterminate[stage.id] = None
    return [stage for stage in spec.stages if stage.id not in indeterminate and not stage.sink]


def _branch(rng: Random, stages: list[StageSpec]) -> StageBranch:
    width = rng.randint(0 if rng.random() < 0.05 else 1, 5)
    edges: list[StageInput] = []
    readable = [stage for stage in stages if not stage.sink]
    for source in rng.sample(readable, min(len(readable), rng.choice((1, 1, 2)))):
        modes = [ReadMode.ALL, ReadMode.PARTITION]
        if source.partitions >= width:
            modes.append(ReadMode.FORWARD)
        mode = rng.choice(modes)
        # A generator of its own: the jobs of a seed are the same with and without ranges.
        own = Random(f"{len(stages)}/{source.id}/{width}")  # noqa: S311 - a simulation
        ranges = _ranges(own, width) if mode is ReadMode.PARTITION else ()
        edges.append(StageInput(f"l{source.id}", source.id, mode, ranges=ranges))
    return StageBranch(width, tuple(edges))


def _ranges(rng: Random, width: int) -> tuple[tuple[int, int], ...]:
    """Draw the first and last partition that each task reads; none in half of all cases."""
    if not width or rng.random() < 0.5:
        return ()
    cuts = sorted(rng.sample(range(3 * width), width))
    return tuple(zip(cuts, [*(cut - 1 for cut in cuts[1:]), 3 * width - 1], strict=True))
