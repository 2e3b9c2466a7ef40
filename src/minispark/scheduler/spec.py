"""A job as the scheduler sees it: shapes and edges, no plan and no data."""

from __future__ import annotations

from dataclasses import dataclass

from minispark.blocks.meta import Receipt
from minispark.plan.stages import Label, StageInput


@dataclass(frozen=True, slots=True)
class StageBranch:
    """Consecutive partitions of a stage that read the same inputs."""

    partitions: int
    inputs: tuple[StageInput, ...] = ()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage: number of tasks, inputs, and whether its output is delivered to the user.

    ``result`` stages keep their blocks until the job is released; ``sink`` stages deliver files
    at the job's commit (their blocks hold no rows).
    """

    id: int
    branches: tuple[StageBranch, ...]
    label: Label = Label.DETERMINATE
    result: bool = False
    sink: bool = False

    @property
    def partitions(self) -> int:
        """Number of tasks."""
        return sum(branch.partitions for branch in self.branches)


@dataclass(frozen=True, slots=True)
class CachedOutput:
    """The output of a task in a worker's cache, from an earlier job: the task need not run."""

    stage: int
    partition: int
    worker: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job: its stages in topological order."""

    job: str
    stages: tuple[StageSpec, ...]
    weight: float = 1.0
    """Share of the workers relative to other jobs."""
    found: tuple[CachedOutput, ...] = ()
    """Outputs that exist already; only of stages that give the same rows each time."""
