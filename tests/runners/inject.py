"""An embedded engine that deletes blocks on purpose, each after a task has read it.

Of every stage with readers, the first accepted block of partition 0 is deleted when a task that
read it is accepted. Later tasks cannot fetch the block, and the recovery is the real one. If the
recomputed block had other rows, the job would end with rows of both versions.

If the block has only one reader, no task notices the loss (`Loss.noticed`), unless the reader's
own block is deleted and the reader runs again.
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
    """A deleted block."""

    key: TaskKey
    stage: str
    """The name of the block's stage in the plan."""
    reader: TaskKey
    """The task that had read the block."""
    readers_left: int
    """Number of tasks that read the stage and were not accepted yet."""
    noticed: int = 0
    """Number of attempts that failed because the block was gone."""


class InjectingRunner(LocalRunner):
    """A `LocalRunner` whose jobs lose a block of every exchange."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._losses: dict[TaskKey, Loss] = {}

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The deleted blocks, oldest first."""
        return tuple(self._losses.values())

    async def _new_master(self) -> EmbeddedMaster:
        return _LosingMaster(
            await self._new_pool(),
            losses=self._losses,
            slots=self.slots,
            block_dirs=self._block_dirs,
            data_root=self._data_root,
            settings=self._settings,
            cache=self._cache,
        )


class _LosingMaster(EmbeddedMaster):
    def __init__(self, pool: Executors, *, losses: dict[TaskKey, Loss], **options: Any) -> None:
        self._losses = losses
        self._read: dict[TaskKey, tuple[TaskKey, ...]] = {}
        self._lost: set[tuple[str, int]] = set()
        super().__init__(pool, **options)

    def _launch(self, launch: c.LaunchTask) -> None:
        blocks = (ref.key for leaf in launch.inputs for ref in leaf.blocks)
        self._read[launch.key] = tuple(key for key in blocks if key.partition == 0)
        super()._launch(launch)

    def _accept(self, job: Any, report: TaskReport) -> None:
        super()._accept(job, report)
        for key in self._read.pop(report.key):
            if (key.job, key.stage) not in self._lost:
                self._lost.add((key.job, key.stage))
                self._delete(job, key, report.key)

    def _delete(self, job: Any, key: TaskKey, reader: TaskKey) -> None:
        graph = job.record.graph
        accepted = {(task.stage, task.partition) for task in job.reports}
        left = sum(
            (stage.id, partition) not in accepted
            for stage in graph.stages
            for partition in range(stage.partitions)
            if any(leaf.stage == key.stage for leaf in stage.branch_of(partition)[0].inputs)
        )
        name = next(stage.name for stage in graph.stages if stage.id == key.stage)
        self._losses[key] = Loss(key, name, reader, left)
        self._block_dirs.delete([key])

    def _step(self, message: e.Event | Evidence) -> None:
        failure = message.report.failure if isinstance(message, FailureRow) else None
        if isinstance(failure, FetchFailed) and failure.key in self._losses:
            self._losses[failure.key].noticed += 1
        super()._step(message)
