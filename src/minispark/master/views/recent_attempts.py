"""The attempts of all jobs in the last minutes: of running jobs, and of those that have ended."""

from __future__ import annotations

from collections import deque
from itertools import islice

from minispark.master.jobs.job_store import JobStore
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import Attempt
from minispark.ui import MAX_STREAM_ATTEMPTS


class RecentAttempts:
    """Keeps the newest attempts of ended jobs, whose records are only in the journal."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._ended: deque[tuple[str, Attempt]] = deque(maxlen=MAX_STREAM_ATTEMPTS)
        """Attempts with the name of their job."""

    def ended(self, record: JobRecord) -> None:
        """Keep the attempts of a job that has ended."""
        for attempt in reversed(_newest(record)):
            if attempt.finished_at is not None:
                self._ended.append((record.name, attempt))

    def all(self) -> tuple[list[Attempt], dict[str, str]]:
        """Return the attempts, and the names of their jobs."""
        names = {attempt.key.job: name for name, attempt in self._ended}
        attempts = [attempt for _, attempt in self._ended]
        for job, live in self._jobs.live.items():
            names[job] = live.record.name
            attempts += _newest(live.record)
        return attempts, names


def _newest(record: JobRecord) -> list[Attempt]:
    return list(islice(reversed(record.attempts.values()), MAX_STREAM_ATTEMPTS))
