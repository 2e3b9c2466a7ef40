"""What a simulated world is made of: how bad it is, its workers and blocks, the jobs it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from minispark.ids import TaskKey
from minispark.scheduler.commands import LaunchTask, ReleaseBlocks, ReleaseJob
from minispark.scheduler.spec import (
    InputEdge,
    JobSpec,
    Read,
    StageBranch,
    StageLabel,
    StageSpec,
)


@dataclass
class Faults:
    """How bad this history is. Zeroed when the world heals."""

    lost: float
    doubled: float
    late: float
    crash_every_s: float
    goodbye: float
    vanish: float
    failing: float
    lying: float
    drain_every_s: float

    @classmethod
    def drawn(cls, chance: Random) -> Faults:
        def rate(most: float) -> float:
            return chance.choice((0.0, most / 10, most)) * chance.random()

        return cls(
            lost=rate(0.3),
            doubled=rate(0.5),
            late=rate(0.5),
            crash_every_s=chance.choice((0.0, 60.0, 20.0, 8.0)),
            goodbye=rate(0.5),
            vanish=rate(0.3),
            failing=rate(0.2),
            lying=rate(0.5),
            drain_every_s=chance.choice((0.0, 60.0, 15.0)),
        )

    def heal(self) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, 0.0)


@dataclass
class Block:
    """What an attempt wrote: its version, and the version of every block that went into it."""

    version: int
    made_from: dict[tuple[int, int], int]
    torn: bool


@dataclass
class FakeWorker:
    """A worker process. ``life`` tells messages for an earlier process from its own."""

    name: str
    slots: int
    alive: bool = True
    life: int = 0
    epoch: int | None = None
    draining: bool = False
    queued: list[LaunchTask] = field(default_factory=list)
    running: dict[TaskKey, LaunchTask] = field(default_factory=dict)
    taken: dict[TaskKey, None] = field(default_factory=dict)
    blocks: dict[TaskKey, Block] = field(default_factory=dict)

    def release(self, command: ReleaseBlocks | ReleaseJob) -> None:
        if isinstance(command, ReleaseJob):
            keys = tuple(key for key in self.blocks if key.job == command.job)
        else:
            keys = command.keys
        for key in keys:
            self.blocks.pop(key, None)

    def forget(self) -> None:
        self.epoch = None
        self.draining = False
        self.queued.clear()
        self.running.clear()


def draw_job(chance: Random, name: str) -> JobSpec:
    """A job of a few stages, of any shape that may run."""
    stages: list[StageSpec] = []
    count = chance.randint(2, 6)
    kind = chance.choice(("result", "result", "sink", "both"))
    written = count - 2 if kind == "both" else None
    for number in range(count):
        branches: list[StageBranch] = []
        for _ in range(chance.choice((1, 1, 1, 2))):
            width = chance.randint(0 if chance.random() < 0.05 else 1, 5)
            edges: list[InputEdge] = []
            readable = [stage for stage in stages if not stage.sink]
            for source in chance.sample(readable, min(len(readable), chance.choice((1, 1, 2)))):
                modes = [Read.ALL, Read.PARTITION]
                if source.partitions >= width:
                    modes.append(Read.FORWARD)
                edges.append(InputEdge(f"l{source.id}", source.id, chance.choice(modes)))
            branches.append(StageBranch(width, tuple(edges)))
        label = chance.choice(
            (
                StageLabel.DETERMINATE,
                StageLabel.DETERMINATE,
                StageLabel.UNORDERED,
                StageLabel.INDETERMINATE,
            )
        )
        sink = number == written
        stages.append(StageSpec(number, tuple(branches), label, sink=sink))
    last = stages[-1]
    stages[-1] = StageSpec(
        last.id, last.branches, last.label, result=kind != "sink", sink=kind == "sink"
    )
    return JobSpec(name, tuple(stages))


def steady(spec: JobSpec) -> list[StageSpec]:
    """Return the stages that give the same rows each time, as all that they are made of does."""
    shaky: set[int] = set()
    for stage in spec.stages:
        reads = {edge.stage for branch in stage.branches for edge in branch.inputs}
        if stage.label is StageLabel.INDETERMINATE or reads & shaky:
            shaky.add(stage.id)
    return [stage for stage in spec.stages if stage.id not in shaky and not stage.sink]


def true_version(spec: JobSpec, number: int, partition: int) -> int:
    """Return the version of a block that nobody has lied about."""
    stage, place = spec.stages[number], partition
    for branch in stage.branches:
        if place < branch.partitions:
            break
        place -= branch.partitions
    read: list[int] = []
    for edge in branch.inputs:
        forward = edge.read is Read.FORWARD
        parts = [place] if forward else range(spec.stages[edge.stage].partitions)
        read += [true_version(spec, edge.stage, part) for part in parts]
    return hash((number, partition, *read))
