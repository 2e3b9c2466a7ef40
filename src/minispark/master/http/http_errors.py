"""The one way in which a route says no."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from minispark.errors import ErrorInfo, MinisparkError
from minispark.printable import did_you_mean

_COMPARED = 50
"""Ids that a mistyped one is compared with: it takes 0.05 ms each, and anybody may ask."""
_ID_CHARS = 40


class RefusedError(MinisparkError):
    """A request that is answered with an error and its HTTP status."""

    def __init__(self, status: int, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info
        self.status = status


def no_such_job(job: str, known: Iterable[str] = ()) -> RefusedError:
    """Say that a job is not known (any more); ``known`` are ids, the likeliest first."""
    near = did_you_mean(job[:_ID_CHARS], islice(known, _COMPARED))
    hint = near or "Finished jobs are kept for a while only; minispark jobs lists them."
    return RefusedError(404, ErrorInfo("MS-140", f"there is no job {job[:100]!r}", hint=hint))
