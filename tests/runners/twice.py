"""An embedded engine that runs every task twice and compares the rows, to find wrong labels.

Both attempts read the same blocks at the same time, in the executor processes of two pools. The
executors of the second pool have more Polars threads, since two threads may change an order that
one thread keeps. The job uses the block of the first attempt; that of the second is deleted.

- Any stage that is not indeterminate: the receipts agree (rows and row checksums per partition).
- A determinate stage: the rows have the same order too.

Floats may differ in their last bits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polars.testing import assert_frame_equal

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.blocks.store import BlockStore
from minispark.engines.base import JobOutcome, OnChange, OnStart
from minispark.engines.local import LocalRunner
from minispark.ids import TaskKey
from minispark.plan.stages import Label, StageGraph
from minispark.task.sinks import sink_directory
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.executors import ExecutorPool

_SECOND = 1_000_000
"""Added to the number of an attempt; tasks have fewer attempts, so the block's name is free."""
_SECOND_THREADS = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two attempts of a task. ``same_order`` is None if the receipts differ."""

    key: TaskKey
    same_receipts: bool
    same_order: bool | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A task whose two attempts differ more than the label of its stage allows."""

    key: TaskKey
    stage: str
    label: Label
    what: str


@dataclass(slots=True)
class _Findings:
    """Comparisons of running jobs, and the results of ended jobs."""

    open: dict[str, list[Comparison]] = field(default_factory=dict)
    compared: int = 0
    allowed: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)


class TwiceRunner(LocalRunner):
    """A `LocalRunner` that runs every task twice."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._findings = _Findings()

    @property
    def compared(self) -> int:
        """Number of tasks that succeeded twice."""
        return self._findings.compared

    @property
    def allowed(self) -> int:
        """Number of tasks whose attempts differed as the label of their stage allows."""
        return self._findings.allowed

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """The tasks whose attempts differed more than the label of their stage allows."""
        return tuple(self._findings.disagreements)

    def run(
        self,
        graph: StageGraph,
        *,
        name: str,
        progress: OnChange | None = None,
        started: OnStart | None = None,
        keep: bool = False,
    ) -> JobOutcome:
        """Run a job as `LocalRunner` does, and check its comparisons against the labels."""
        outcome = super().run(graph, name=name, progress=progress, started=started, keep=keep)
        for comparison in self._findings.open.pop(outcome.job_id, ()):
            self._check(graph, comparison)
        return outcome

    def _check(self, graph: StageGraph, comparison: Comparison) -> None:
        findings = self._findings
        stage = next(stage for stage in graph.stages if stage.id == comparison.key.stage)
        findings.compared += 1
        if comparison.same_receipts and comparison.same_order:
            return
        what = "other rows" if not comparison.same_receipts else "another order"
        if stage.label is Label.INDETERMINATE or (
            stage.label is Label.UNORDERED and comparison.same_receipts
        ):
            findings.allowed += 1
        else:
            findings.disagreements.append(
                Disagreement(comparison.key, stage.name, stage.label, what)
            )

    async def _new_pool(self) -> ExecutorPool:
        second = ExecutorPool(self.slots, threads_per_slot=_SECOND_THREADS, fetch=self._fetch)
        pool = _TwicePool(
            self.slots,
            threads_per_slot=self._threads_per_slot,
            fetch=self._fetch,
            task_timeout_s=self._task_timeout_s,
            memory_limit_bytes=self._memory_limit_bytes,
            second=second,
            findings=self._findings,
        )
        await pool.start()
        return pool


class _TwicePool(ExecutorPool):
    def __init__(
        self, slots: int, *, second: ExecutorPool, findings: _Findings, **options: Any
    ) -> None:
        super().__init__(slots, **options)
        self._second = second
        self._findings = findings

    async def start(self) -> None:
        await asyncio.gather(super().start(), self._second.start())

    async def close(self) -> None:
        await asyncio.gather(super().close(), self._second.close())

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        again = replace(spec, key=spec.key._replace(attempt=spec.key.attempt + _SECOND))
        first, second = await asyncio.gather(super().run(spec), self._second.run(again))
        try:
            if isinstance(first, TaskReport) and isinstance(second, TaskReport):
                comparison = await asyncio.to_thread(_compare, spec, first, second, self._fetch)
                self._findings.open.setdefault(spec.key.job, []).append(comparison)
        finally:
            _discard(again, second)
        return first

    async def cancel(self, key: TaskKey) -> None:
        again = key._replace(attempt=key.attempt + _SECOND)
        await asyncio.gather(super().cancel(key), self._second.cancel(again))


def _compare(
    spec: TaskSpec, first: TaskReport, second: TaskReport, fetch: FetchSettings
) -> Comparison:
    alike = _receipt(first.block) == _receipt(second.block)
    if first.sink is not None and second.sink is not None:
        alike = first.sink.rows == second.sink.rows
        return Comparison(spec.key, alike, alike and _same_files(spec, first, second))
    return Comparison(spec.key, alike, alike and _same_blocks(spec, first, second, fetch))


def _receipt(block: BlockMeta) -> list[tuple[int, int | None]]:
    return [(part.rows, part.rows_checksum) for part in block.partitions]


def _same_files(spec: TaskSpec, *reports: TaskReport) -> bool:
    sink = spec.output.sink
    assert sink is not None
    folder = sink_directory(sink, spec.data_root)
    files = [report.sink.staged for report in reports if report.sink is not None]
    one, other = ((folder / name).read_bytes() for name in files)
    return one == other


def _same_blocks(
    spec: TaskSpec, first: TaskReport, second: TaskReport, fetch: FetchSettings
) -> bool:
    for number, (one, other) in enumerate(
        zip(first.block.partitions, second.block.partitions, strict=True)
    ):
        if one.checksum == other.checksum:
            continue
        frames = [
            read_block(
                BlockSource(key, number, part, fetch.host, spec.block_directory), settings=fetch
            )
            for key, part in ((first.key, one), (second.key, other))
        ]
        try:
            assert_frame_equal(*frames)
        except AssertionError:
            return False
    return True


def _discard(spec: TaskSpec, outcome: TaskReport | TaskFailure) -> None:
    BlockStore(Path(spec.block_directory)).delete([spec.key])
    if (
        isinstance(outcome, TaskReport)
        and outcome.sink is not None
        and spec.output.sink is not None
    ):
        (sink_directory(spec.output.sink, spec.data_root) / outcome.sink.staged).unlink()
