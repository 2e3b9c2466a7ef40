"""Why the scheduler decided something, with its evidence; part of the decision.

Covers: the reasons. Does not cover: sentences about them (`minispark.observe.story_words`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from minispark.ids import TaskKey


class Why(StrEnum):
    """A rule. Each names the fields of `Reason` that are its evidence."""

    # Launches.
    FIRST = "first"
    SPECULATIVE = "speculative"
    RESENT = "resent"
    """The master restarted and repeats open commands."""
    FAILED = "failed"
    """worker, key: the attempt that failed."""
    ATTEMPT_LOST = "attempt_lost"
    """worker, key: it did not know the attempt."""
    WORKER_DOWN = "worker_down"
    """worker, key: the attempt that ran on it."""
    INPUT_LOST = "input_lost"
    """worker, key: the block that the attempt could not read."""
    INPUT_MOVED = "input_moved"
    """key: the block that was moved after the attempt began."""
    OUTPUT_LOST = "output_lost"
    """worker, key: the block that was lost with it."""
    OUTPUT_UNREADABLE = "output_unreadable"
    """worker, key: the block that another task could not read."""

    # Launches and cancels.
    ROLLED_BACK = "rolled_back"
    """key: the block that was lost, or came out with other rows."""
    SLOT_FREE_ELSEWHERE = "slot_free_elsewhere"
    PREEMPTED = "preempted"
    """worker: another job, which had nothing, gets its slots."""
    WORKER_FULL = "worker_full"
    WORKER_EXCLUDED = "worker_excluded"
    WORKER_DRAINING = "worker_draining"
    DRAIN_TIMEOUT = "drain_timeout"
    """limit: seconds. Also why a worker is dismissed."""

    # Cancels, reports that are dropped.
    JOB_ENDED = "job_ended"
    OTHER_FIRST = "other_first"
    """Another attempt of the task was accepted."""
    NOT_LEASED = "not_leased"
    """The attempt was given up."""
    REPEATED = "repeated"
    NOT_REGISTERED = "not_registered"

    # Workers.
    NO_HEARTBEAT = "no_heartbeat"
    """limit: seconds."""
    GOODBYE = "goodbye"
    DRAINED = "drained"
    REGISTERED_AGAIN = "registered_again"

    # Ends of jobs.
    COMPLETE = "complete"
    CANCEL_REQUESTED = "cancel_requested"
    COMMIT_FAILED = "commit_failed"
    BROKEN_PLAN = "broken_plan"
    NO_WORKER = "no_worker"
    """limit: seconds."""
    NO_ROOM = "no_room"
    """limit: seconds."""
    NO_RETRY = "no_retry"
    """The failure is certain to come again."""
    SAME_ERROR = "same_error"
    """It came a second time in the same words, or no other worker could be tried."""
    MAX_ATTEMPTS = "max_attempts"
    """limit: attempts of a task."""
    MAX_LOSSES = "max_losses"
    """limit: attempts of a task that were lost with their workers."""
    MAX_FETCH_FAILURES = "max_fetch_failures"
    """limit: of a job, or of a task."""
    MAX_GENERATIONS = "max_generations"
    """limit: of a stage."""
    DELIVERED = "delivered"
    """A rollback would change output that is already delivered."""


_NO_RETRY: Final = frozenset(
    (
        Why.FIRST,
        Why.SPECULATIVE,
        Why.RESENT,
        Why.SLOT_FREE_ELSEWHERE,
        Why.PREEMPTED,
        Why.WORKER_FULL,
        Why.WORKER_EXCLUDED,
        Why.WORKER_DRAINING,
        Why.DRAIN_TIMEOUT,
    )
)
"""Launches of a task of which nothing was lost: it is its first, or only its worker changes."""


class Reason(NamedTuple):
    """Why something was decided. A tuple, as each launch of a task has one."""

    why: Why
    worker: str = ""
    key: TaskKey | None = None
    limit: float = 0

    @property
    def is_retry(self) -> bool:
        """Whether a launch for this reason takes the place of work that was lost."""
        return self.why not in _NO_RETRY

    @property
    def plain(self) -> list[str | float]:
        """The reason as JSON-able values, without the empty ones at the end."""
        if self.key is None and not self.limit and not self.worker:
            return [self.why]
        block = "" if self.key is None else self.key.block_id
        values: list[str | float] = [self.why, self.worker, block, self.limit]
        while not values[-1]:
            values.pop()
        return values

    @classmethod
    def of(cls, why: str, worker: str = "", block: str = "", limit: float = 0) -> Reason:
        """Return the reason whose `plain` values these are."""
        return cls(Why(why), worker, TaskKey.parse(block) if block else None, limit)


FIRST: Final = Reason(Why.FIRST)
SPECULATIVE: Final = Reason(Why.SPECULATIVE)
RESENT: Final = Reason(Why.RESENT)


def down_words(reason: Reason | None) -> str:
    """Return why a worker is gone, for the failures of its attempts.

    Journals have these words in failures, which a replay compares.
    """
    match reason:
        case Reason(Why.NO_HEARTBEAT, limit=limit):
            return f"no heartbeat for {limit:g} s"
        case Reason(Why.DRAINED):
            return "it was drained"
        case Reason(Why.REGISTERED_AGAIN):
            return "it registered anew"
        case _:
            return "it said goodbye"
