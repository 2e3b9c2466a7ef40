"""An embedded engine that loses blocks on purpose, each after somebody has read it.

Of every stage that others read, the first accepted block of partition 0 is deleted as soon as a
task that read it is accepted: tasks that come later find it gone, and all that follows is the
real thing. Were a block to come out otherwise when it is made again, the job would end up with
rows of both versions.

Where its reader was the only one, nobody can notice (`Loss.noticed`), unless the reader's own
block is lost in turn and it has to read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minispark.engines.embedded import EmbeddedMaster
from minispark.engines.local import LocalRunner
from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.journal.rows import Evidence, FailureRow
from minispark.scheduler import commands as c
from minispark.scheduler import events as e
from minispark.task.spec import TaskReport
from minispark.worker.executors import Executors


@dataclass(slots=True)
class Loss:
    """A block that was deleted."""

    key: TaskKey
    stage: str
    """What the stage is called in the plan."""
    reader: TaskKey
    """The task that had read it."""
    readers_left: int
    """How many tasks of the plan read the stage and were not accepted yet."""
    noticed: int = 0
    """How many attempts failed because it was gone."""


class InjectingRunner(LocalRunner):
    """A `LocalRunner` whose jobs lose a block of every exchange; its parameters are the same."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._losses: dict[TaskKey, Loss] = {}

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Every block that was deleted so far, oldest first."""
        return tuple(self._losses.values())

    def _new_driver(self, pool: Executors) -> EmbeddedMaster:
        return _LosingDriver(
            pool,
            losses=self._losses,
            slots=self.slots,
            places=self._places,
            data_root=self._data_root,
            settings=self._settings,
            cache=self._cache,
        )


class _LosingDriver(EmbeddedMaster):
    def __init__(self, pool: Executors, *, losses: dict[TaskKey, Loss], **options: Any) -> None:
        self._losses = losses
        self._read: dict[TaskKey, tuple[TaskKey, ...]] = {}
        self._lost: set[tuple[str, int]] = set()
        super().__init__(pool, **options)

    def _launch(self, launch: c.LaunchTask) -> None:
        blocks = (ref.key for leaf in launch.inputs for ref in leaf.blocks)
        self._read[launch.key] = tuple(key for key in blocks if key.partition == 0)
        super()._launch(launch)

    def _keep(self, job: Any, report: TaskReport) -> None:
        super()._keep(job, report)
        for key in self._read.pop(report.key):
            if (key.job, key.stage) not in self._lost:
                self._lost.add((key.job, key.stage))
                self._lose(job, key, report.key)

    def _lose(self, job: Any, key: TaskKey, reader: TaskKey) -> None:
        graph = job.record.graph
        accepted = {(kept.stage, kept.partition) for kept in job.reports}
        left = sum(
            (stage.id, partition) not in accepted
            for stage in graph.stages
            for partition in range(stage.partitions)
            if any(leaf.stage == key.stage for leaf in stage.branch_of(partition)[0].inputs)
        )
        name = next(stage.name for stage in graph.stages if stage.id == key.stage)
        self._losses[key] = Loss(key, name, reader, left)
        self._places.delete([key])

    def _step(self, happening: e.Event | Evidence) -> None:
        failure = happening.report.failure if isinstance(happening, FailureRow) else None
        if isinstance(failure, FetchFailed) and failure.key in self._losses:
            self._losses[failure.key].noticed += 1
        super()._step(happening)
