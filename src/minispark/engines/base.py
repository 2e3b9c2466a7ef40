"""What every engine offers: run a StageGraph, say how it went, hand the rows over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from minispark.errors import (
    ErrorInfo,
    JobCancelledError,
    JobFailedError,
    UsageError,
)
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import OutputKind, StageGraph
from minispark.scheduler.commands import JobStatus

if TYPE_CHECKING:
    import polars as pl

OnChange = Callable[[JobView], None]


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job did. ``workers`` is how many could take part: processes, where it ran here."""

    metrics: JobMetrics
    stages: tuple[StageRow, ...]
    workers: int


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A job that succeeded.

    ``nodes`` are the results that `frame` can give, ``sinks`` the directories of those that were
    written as files instead.
    """

    job_id: str
    view: JobView
    nodes: tuple[str, ...]
    sinks: Mapping[str, str]
    read: Callable[[str], pl.DataFrame] = field(repr=False)
    figures: Callable[[], JobSummary] = field(repr=False)
    """What few ask for and a cluster must be asked again for."""

    def frame(self, node: str | None = None) -> pl.DataFrame:
        """Return the rows of a result, in partition order; the only one, if ``node`` is None.

        Raises
        ------
        UsageError
            There is no such result, or several where none is named, or it was written as files.
        """
        if node is None and len(self.nodes) == 1:
            return self.read(self.nodes[0])
        if node is not None and node in self.nodes:
            return self.read(node)
        if node is not None and node in self.sinks:
            msg = f"the rows of {node!r} were written to {self.sinks[node]}"
            raise UsageError(msg, node=node)
        known = ", ".join(self.nodes) or "none"
        msg = f"the job has no single result {node!r}" if node else "the job has no single result"
        raise UsageError(msg, node=node, hint=f"Results are: {known}.")


class Runner(Protocol):
    """Runs a plan to its end."""

    def run(self, graph: StageGraph, *, name: str, progress: OnChange | None = None) -> JobOutcome:
        """Run a job; ``progress`` is called in this thread whenever its view has changed.

        An interrupt (KeyboardInterrupt) cancels the job before it is passed on.

        Raises
        ------
        JobFailedError, JobCancelledError
            The job did not succeed.
        """

    def close(self) -> None:
        """Give everything back; doing it twice is fine."""


def raise_unless_succeeded(view: JobView) -> None:
    """Raise the exception that stands for a job's end, if it was not a good one."""
    if view.status is JobStatus.SUCCEEDED:
        return
    if view.status is JobStatus.CANCELLED:
        info = view.error or ErrorInfo("MS-301", f"the job {view.job_id} was cancelled")
        raise JobCancelledError.from_info(info)
    info = view.error or ErrorInfo("MS-201", f"the job {view.job_id} failed")
    error = JobFailedError.from_info(info)
    error.job_id = view.job_id
    raise error


def sinks_of(graph: StageGraph) -> dict[str, str]:
    """Return the results that are written as files, and where."""
    stages = {stage.id: stage for stage in graph.stages}
    return {
        result.node: sink.path
        for result in graph.results
        if (output := stages[result.stage].output).kind is OutputKind.SINK
        and (sink := output.sink) is not None
    }


def concatenated(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put partitions together without a copy; where all are empty, one tells the columns."""
    import polars as pl

    filled = [part for part in parts if part.height] or [part for part in parts if part.width][:1]
    return pl.concat(filled, rechunk=False) if filled else pl.DataFrame()
