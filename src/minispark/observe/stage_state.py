"""The attempts of a job, and the state of a stage, from launches and reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.observe.stage_totals import StageTotals
from minispark.observe.views import ENDED, RowStatus
from minispark.plan.stages import ScanInput, Stage
from minispark.scheduler.commands import JobStatus
from minispark.task.spec import TaskReport, TaskUsage


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one task."""

    key: TaskKey
    worker: str
    started_at: float
    finished_at: float | None = None
    status: str = "RUNNING"
    failure: Failure | None = None
    speculative: bool = False
    """The attempt ran beside a slow one of the same task."""
    log: tuple[str, ...] = ()
    """The last lines that a failed attempt printed."""
    took_s: float | None = None
    """Time that it ran, by the worker's clock; None without a report of its end."""
    waited_s: float | None = None
    """Time that it waited on the worker, by the worker's clock."""
    usage: TaskUsage | None = None

    @property
    def queued_s(self) -> float | None:
        """Time between its launch and its start, None if no worker reported how long it ran.

        For reports of earlier releases, all of its time in which it did not run.
        """
        if self.waited_s is not None or self.took_s is None or self.finished_at is None:
            return self.waited_s
        return max(0.0, self.finished_at - self.started_at - self.took_s)


class StageState:
    """The state of one physical stage, from its launches and reports."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.reports: dict[int, TaskReport] = {}
        self.totals = StageTotals(tasks=stage.partitions, scans_rows=self.scans_rows)
        self.first_launch: float | None = None
        self.last_success: float | None = None
        self.running: dict[int, int] = {}
        """Live attempts of each task that has one."""
        self.generation = 0
        """How often it was rolled back."""
        self.attempts = 0
        """Launches of all tasks together."""
        self._launched: set[int] = set()
        self._relaunched: set[int] = set()
        self._failed = False
        self.cached_blocks: dict[int, BlockMeta] = {}
        """Blocks of a cache by partition, while readers use them."""
        self.unneeded: set[int] = set()
        """Tasks that need not run: only tasks with cached blocks would read them."""

    def add_cached(self, hits: Iterable[CacheHit], *, to_run: Collection[int]) -> None:
        """Note the cached blocks and the tasks that have to run."""
        self.cached_blocks = {hit.key.partition: hit.meta for hit in hits}
        unread = set(range(self.stage.partitions)) - set(to_run)
        self.unneeded = unread - self.cached_blocks.keys()

    @cached_property
    def file_bytes(self) -> int:
        """Bytes of input files that its tasks read. A split of a Parquet file is in rows."""
        return sum(
            (split.size if split.start == 0 else 0)
            if scan.spec.format.in_rows
            else split.end - split.start
            for scan in self._scans()
            for splits in scan.tasks
            for split in splits
        )

    @property
    def relaunches(self) -> int:
        """Number of finished tasks that must run again now."""
        return len(self._relaunched)

    def is_done(self, partition: int) -> bool:
        """Whether a task has ended well, and need not run again."""
        return partition in self.reports and partition not in self._relaunched

    @property
    def ran_whole(self) -> bool:
        """Whether every task had to run, so the counts are complete."""
        return not self.cached_blocks and not self.unneeded

    @property
    def misses(self) -> int:
        """Tasks that ran because no cache had their block."""
        cached = self.stage.cached
        return 0 if cached is None or cached.key is None else len(self._launched)

    def launched(self, key: TaskKey, now: float) -> bool:
        """Note a launch; return whether the task was launched before."""
        partition = key.partition
        self.running[partition] = self.running.get(partition, 0) + 1
        self.generation = max(self.generation, key.generation)
        self.attempts += 1
        self.cached_blocks.pop(partition, None)
        self.unneeded.discard(partition)
        if self.first_launch is None:
            self.first_launch = now
        if partition in self.reports:
            self._relaunched.add(partition)
        before = partition in self._launched
        self._launched.add(partition)
        return before

    def accepted(self, report: TaskReport, now: float) -> None:
        """Note an accepted report."""
        partition = report.key.partition
        self._ended(partition)
        self.totals.add(report, replaces=self.reports.get(partition))
        self.reports[partition] = report
        self._relaunched.discard(partition)
        self.last_success = now

    def failed(self, key: TaskKey) -> None:
        """Note a failure; the stage has failed if the task never succeeds."""
        self._ended(key.partition)
        self._failed = self._failed or key.partition not in self.reports

    def _ended(self, partition: int) -> None:
        left = self.running.pop(partition, 0) - 1
        if left > 0:
            self.running[partition] = left

    @property
    def tasks_there(self) -> int:
        """Number of tasks that need not run: their output exists, or no task reads it."""
        present = len(self.reports) + len(self.cached_blocks) + len(self.unneeded)
        return present - len(self._relaunched)

    def tasks_done(self, job: JobStatus) -> int:
        """Return the number of tasks with output; at the end of the job, of all that had output."""
        relaunched = len(self._relaunched) if job not in ENDED else 0
        return len(self.reports) + len(self.cached_blocks) - relaunched

    def status(self, job: JobStatus) -> RowStatus:
        """Return the status of the stage."""
        if len(self.cached_blocks) + len(self.unneeded) == self.stage.partitions:
            return "SKIPPED"
        if self.tasks_done(job) + len(self.unneeded) == self.stage.partitions:
            return "SUCCEEDED"
        if job in ENDED:
            if not self._launched or job is JobStatus.SUCCEEDED:
                return "SKIPPED"
            return "FAILED" if job is JobStatus.FAILED and self._failed else "CANCELLED"
        return "RUNNING" if self._launched else "PENDING"

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first launch to the last success."""
        if self.first_launch is None or self.last_success is None:
            return None
        return max(0.0, self.last_success - self.first_launch)

    @property
    def rows_out(self) -> int:
        """Rows in the written or cached blocks, or in the written files."""
        return self.totals.rows_out + self.cached_rows

    @property
    def cached_rows(self) -> int:
        """Rows in the cached blocks."""
        return sum(meta.rows for meta in self.cached_blocks.values())

    @property
    def scans_rows(self) -> bool:
        """Whether the stage reads rows of input files."""
        return any(not scan.spec.format.auxiliary for scan in self._scans())

    @property
    def counts_quotes(self) -> bool:
        """Whether the stage only finds where records of a file begin: its rows are not records."""
        return any(scan.spec.format.auxiliary for scan in self._scans())

    def _scans(self) -> Iterable[ScanInput]:
        return (scan for branch in self.stage.branches for scan in branch.scans)
