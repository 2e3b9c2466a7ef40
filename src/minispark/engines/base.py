"""The interface of every engine: run a StageGraph, return how it went and its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from minispark.errors import (
    ErrorInfo,
    JobCancelledError,
    JobFailedError,
    MinisparkError,
    UsageError,
)
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import OutputKind, StageGraph
from minispark.program import as_typed
from minispark.scheduler.commands import JobStatus

if TYPE_CHECKING:
    import polars as pl

OnChange = Callable[[JobView], None]
OnStart = Callable[[str], None]
"""Called with the id of a job when the job has started."""


@dataclass(frozen=True, slots=True)
class JobSummary:
    """The metrics and stages of a job.

    ``workers`` is how many workers could take part; on the embedded engine, how many processes.
    """

    metrics: JobMetrics
    stages: tuple[StageRow, ...]
    workers: int


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A job that succeeded.

    ``nodes`` are the results that `frame` can return, ``sinks`` the directories of results that
    were written as files instead. ``scan`` returns a result as a LazyFrame that reads the rows from
    where they are, as often as it is collected. ``summary`` and ``report`` (the page of the job as
    one HTML file) ask a cluster again.
    """

    job_id: str
    view: JobView
    nodes: tuple[str, ...]
    sinks: Mapping[str, str]
    read: Callable[[str], pl.DataFrame] = field(repr=False)
    scan: Callable[[str], pl.LazyFrame] = field(repr=False)
    summary: Callable[[], JobSummary] = field(repr=False)
    report: Callable[[], str] = field(repr=False)

    def frame(self, node: str | None = None) -> pl.DataFrame:
        """Return the rows of a result, in partition order.

        Raises
        ------
        UsageError
            There is no such result, ``node`` is None and there are several, or the result was
            written as files.
        """
        if node is None and len(self.nodes) == 1:
            return self.read(self.nodes[0])
        if node is not None and node in self.nodes:
            return self.read(node)
        if node is not None and node in self.sinks:
            msg = f"the rows of {node!r} were written to {self.sinks[node]}"
            raise UsageError(msg, node=node)
        msg = f"the job has no single result {node!r}" if node else "the job has no single result"
        raise UsageError(msg, node=node, hint=f"Results are: {', '.join(self.nodes) or 'none'}.")


class Runner(Protocol):
    """An engine: runs a plan to its end."""

    def run(
        self,
        graph: StageGraph,
        *,
        name: str,
        progress: OnChange | None = None,
        started: OnStart | None = None,
        keep: bool = False,
    ) -> JobOutcome:
        """Run a job; ``progress`` is called in this thread each time the job's view has changed.

        With ``keep``, other jobs may read the results where they are, as long as the outcome, or a
        LazyFrame of `JobOutcome.scan`, exists. A cluster keeps results anyway, as it is set up to.

        A KeyboardInterrupt cancels the job before it is raised again.

        Raises
        ------
        JobFailedError, JobCancelledError
            The job did not succeed.
        """

    def cancel(self, job_id: str) -> None:
        """Cancel a job that another thread runs; if the job has ended, do nothing."""

    def close(self) -> None:
        """Release all resources; a second call does nothing."""


def raise_unless_succeeded(view: JobView, *, page: str | None = None) -> None:
    """Raise the exception of a job that did not succeed; ``page`` is the URL of its page."""
    if view.status is JobStatus.SUCCEEDED:
        return
    error: MinisparkError
    if view.status is JobStatus.CANCELLED:
        info = view.error or ErrorInfo("MS-301", f"the job {view.job_id} was cancelled")
        error = JobCancelledError.from_info(info)
    else:
        info = view.error or ErrorInfo("MS-201", f"the job {view.job_id} failed")
        error = JobFailedError.from_info(info.map_texts(as_typed, names=("hint",)))
    error.job_id, error.job_url = view.job_id, page
    raise error


def sinks_of(graph: StageGraph) -> dict[str, str]:
    """Return the directory of each result that is written as files, by node."""
    stages = {stage.id: stage for stage in graph.stages}
    return {
        result.node: sink.path
        for result in graph.results
        if (output := stages[result.stage].output).kind is OutputKind.SINK
        and (sink := output.sink) is not None
    }


def concatenated(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return partitions as one frame, without a copy; if all are empty, with the columns of one."""
    import polars as pl

    filled = [part for part in parts if part.height] or [part for part in parts if part.width][:1]
    return pl.concat(filled, rechunk=False) if filled else pl.DataFrame()
