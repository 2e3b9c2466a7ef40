"""What went wrong in a job, alike failures once, with the user's own traceback."""

from __future__ import annotations

from pydantic import BaseModel

from minispark.errors import Cancelled, ErrorInfo
from minispark.observe.record import JobRecord

_MAX_PROBLEMS = 50
"""More different ones are no help; the list of attempts has them all."""


class Problem(BaseModel):
    """Attempts that failed in the same way."""

    error: ErrorInfo
    count: int
    task: str
    """The first of them."""
    worker: str
    at: float
    workers: list[str]


def problems(record: JobRecord) -> list[Problem]:
    """Return the failures of a job, in the order in which they first came."""
    found: dict[tuple[int, str, str], Problem] = {}
    for key, attempt in record.attempts.items():
        if attempt.failure is None or isinstance(attempt.failure, Cancelled):
            continue
        error = record.explain(attempt.failure, key)
        # The sentence of a failure that is not the user's names its partition.
        alike = (key.stage, error.code, error.message.partition(" (stage ")[0])
        known = found.get(alike)
        if known is not None:
            known.count += 1
            if attempt.worker not in known.workers:
                known.workers.append(attempt.worker)
        elif len(found) < _MAX_PROBLEMS:
            found[alike] = Problem(
                error=error,
                count=1,
                task=key.block_id,
                worker=attempt.worker,
                at=attempt.finished_at or attempt.started_at,
                workers=[attempt.worker],
            )
    return list(found.values())
