"""What really happened in a history, and whether the ends of the jobs agree with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    FetchFailed,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.ids import TaskKey
from minispark.plan.stages import Label
from minispark.scheduler.commands import FinishJob, JobStatus
from minispark.scheduler.policy import POLICY, Charge, cause_of
from minispark.scheduler.spec import JobSpec
from minispark.settings import SchedulerSettings
from minispark.testing.sim.blocks import Block, Place, check_whole
from minispark.testing.sim.faults import Faults

NO_SPACE: Final = TaskError(ErrorInfo("MS-214", "no space left"), transient=True)

_GONE: Final = frozenset(
    (
        *("crash", "goodbye", "hang", "clock", "cut", "one-way", "lost", "late", "drain"),
        *("restart", "power", "disk-full", "disk-slow", "twin", "wipe"),
    )
)
"""Kinds after which a worker is gone, or seems to be."""
_UNREAD: Final = _GONE | {"vanish", "corrupt", "peer", "full"}
"""Kinds that lose a block."""


_OWN_REASONS: Final[Mapping[str, frozenset[str]]] = {
    "MS-221": _UNREAD,
    "MS-222": _UNREAD,
    "MS-223": _GONE,
    "MS-224": _GONE | {"failing"},
    "MS-225": frozenset({"failing"}),
}
"""Failures that the scheduler itself decides, and the kinds of faults that explain each."""


class Truth:
    """Has every fault, every block and every end of a job."""

    def __init__(self, faults: Faults, settings: SchedulerSettings) -> None:
        self.faults = faults
        self.settings = settings
        self.specs: dict[str, JobSpec] = {}
        self.written: dict[TaskKey, dict[str, Block]] = {}
        """The block of each attempt, by each worker that ever had it."""
        self.accepted_from: dict[TaskKey, str] = {}
        """The worker whose files a commit publishes, by attempt."""
        self.failures: Counter[tuple[str, int, int]] = Counter()
        """Failures that attempts of a task reported, without cancellations and lost input."""
        self.cancelled: dict[str, None] = {}
        self.published: dict[str, dict[Place, TaskKey]] = {}
        """Files under their final names."""
        self.success: dict[str, None] = {}
        """Jobs with a ``_SUCCESS``."""
        self.failed_commits: dict[str, None] = {}
        self.ended: dict[str, FinishJob] = {}
        self.submissions: Counter[str] = Counter()
        """Number of masters that took a job in."""
        self._cached: dict[TaskKey, None] = {}
        self._salts = 0

    def salt(self) -> int:
        """Return a number that makes a version unlike any other."""
        self._salts += 1
        return self._salts

    def wrote(self, block: Block, worker: str) -> None:
        """Note a block; an attempt runs once, so it writes once.

        A job that two masters took in is an exception: in a real cluster it would have two names.
        """
        blocks = self.written.setdefault(block.key, {})
        single_name = self.submissions[block.key.job] <= 1
        assert not blocks or block.key in self._cached or not single_name, (
            f"an attempt ran twice: {block.key}"
        )
        blocks[worker] = block

    def cached(self, block: Block, worker: str) -> None:
        """Note a block that a worker has cached from an earlier job.

        If the scheduler does not use it, the first attempt of the task has the same name elsewhere.
        """
        self.written[block.key] = {worker: block}
        self._cached[block.key] = None

    def is_cached(self, key: TaskKey) -> bool:
        """Whether a block is of an earlier job."""
        return key in self._cached

    def moved(self, block: Block, worker: str) -> None:
        """Note that a worker has copied a block of another worker."""
        self.written[block.key][worker] = block

    def block(self, key: TaskKey, worker: str) -> Block:
        """Return the block of an attempt, as a worker has it or had it."""
        return self.written[key][worker]

    def failed(self, key: TaskKey, failure: Failure) -> None:
        """Note a failure that an attempt reports."""
        if not isinstance(failure, Cancelled | FetchFailed):
            self.failures[key.job, key.stage, key.partition] += 1

    def publishes(self, key: TaskKey) -> None:
        """Note that a file gets its final name."""
        files = self.published.setdefault(key.job, {})
        place = (key.stage, key.partition)
        assert files.setdefault(place, key) == key, f"two attempts publish {place} of {key.job}"

    def withdrawn(self, job: str) -> None:
        """Note that a commit failed, and removed the files that it or an earlier one published."""
        self.failed_commits[job] = None
        self.published.pop(job, None)
        self.success.pop(job, None)

    def finished(self, finish: FinishJob) -> None:
        """Note the end of a job, and check it against what really happened.

        A restarted master may report the same end again.
        """
        first = self.ended.setdefault(finish.job, finish)
        if first is not finish:
            assert _alike(first, finish), f"{finish.job} ended twice: {first}, {finish}"
            return
        spec = self.specs[finish.job]
        match finish.status:
            case JobStatus.SUCCEEDED:
                self._check_answer(spec, finish)
            case JobStatus.CANCELLED:
                assert finish.job in self.cancelled, f"nobody asked for the end of {finish.job}"
            case _:
                contradiction = self._find_unexplained(spec, finish)
                assert contradiction is None, (
                    f"{finish.job} failed without a reason: {contradiction}: {finish}"
                )
        if finish.status is not JobStatus.SUCCEEDED:
            # A job that was published can still fail to give its results.
            whole = not spec_sinks(spec) or finish.job in self.success
            assert whole or finish.job not in self.published, f"{finish.job} left some files"

    def _check_answer(self, spec: JobSpec, finish: FinishJob) -> None:
        results = [self.block(ref.key, ref.worker) for ref in finish.results]
        expected = [(s.id, p) for s in spec.stages if s.result for p in range(s.partitions)]
        places = [(block.key.stage, block.key.partition) for block in results]
        assert places == expected, "result is not whole"
        files = self.published.get(finish.job, {})
        assert list(files) == spec_sinks(spec), "output is not whole"
        assert not spec_sinks(spec) or finish.job in self.success, "no _SUCCESS"
        written = [self.block(key, self.accepted_from[key]) for key in files.values()]
        check_whole(spec, [*results, *written])

    def _find_unexplained(self, spec: JobSpec, finish: FinishJob) -> str | None:
        """Return why no fault explains a failure, None if one does."""
        failure, key = finish.failure, finish.key
        if failure is None:
            return "no failure is named"
        if isinstance(failure, TaskError) and failure.error.code in _OWN_REASONS:
            rolled_back = failure.error.code in ("MS-221", "MS-222")
            doubtful = any(stage.label is Label.INDETERMINATE for stage in spec.stages)
            if rolled_back and not doubtful and not self.faults.counts["lying"]:
                return "every stage is repeatable"
            return self._without(_OWN_REASONS[failure.error.code])
        if failure == NO_SPACE and key is None:
            return None if finish.job in self.failed_commits else "its commit did not fail"
        if isinstance(failure, FetchFailed):
            return self._without(_UNREAD)
        if key is None:
            return "no attempt is named"
        failures = self.failures[key.job, key.stage, key.partition]
        return None if failures >= self._needed(failure) else f"its task failed {failures} times"

    def _needed(self, failure: Failure) -> int:
        rule = POLICY[cause_of(failure)]
        if rule.fatal or rule.fatal_if_repeated or rule.charge is not Charge.ATTEMPT:
            return 1
        return self.settings.max_attempts

    def _without(self, kinds: frozenset[str]) -> str | None:
        if any(self.faults.counts[kind] for kind in kinds):
            return None
        return f"none of {', '.join(sorted(kinds))} happened"


def spec_sinks(spec: JobSpec) -> list[Place]:
    """Return the places of a job whose files are published."""
    return [(s.id, p) for s in spec.stages if s.sink for p in range(s.partitions)]


def _alike(first: FinishJob, second: FinishJob) -> bool:
    same = (first.status, first.failure, first.key) == (second.status, second.failure, second.key)
    return same and [ref.key for ref in first.results] == [ref.key for ref in second.results]


FAILURES: Final[tuple[Failure, ...]] = (
    TaskError(ErrorInfo("MS-214", "disk full"), transient=True),
    OutOfMemory(1),
    TimedOut(1.0),
    WorkerLost("executor died"),
    Cancelled(),
)
"""Failures that an attempt may report, besides errors of its own."""
