"""The one way in which a route says no."""

from __future__ import annotations

from minispark.errors import ErrorInfo, MinisparkError

__all__ = ["RefusedError", "no_such_job"]


class RefusedError(MinisparkError):
    """A request that is answered with an error and its HTTP status."""

    def __init__(self, status: int, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info
        self.status = status


def no_such_job(job: str) -> RefusedError:
    """Say that a job is not known (any more)."""
    return RefusedError(
        404,
        ErrorInfo(
            "MS-140",
            f"there is no job {job[:100]!r}",
            hint="Finished jobs are kept for a while only; minispark jobs lists them.",
        ),
    )
