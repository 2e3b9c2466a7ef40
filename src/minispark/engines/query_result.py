"""The result of a query that stays where it is: on the cluster, or in blocks of this machine."""

from __future__ import annotations

import polars as pl

from minispark.engines.base import JobOutcome

_HEAD_ROWS = 5


class StoredResult:
    """A `polars.QueryResult` of a job.

    The rows stay as long as the cluster keeps the results of the job; on the embedded engine, as
    long as this object lives.
    """

    def __init__(self, outcome: JobOutcome, node: str) -> None:
        self._outcome = outcome
        self._node = node

    @property
    def head(self) -> pl.DataFrame:
        """The first five rows."""
        return self.lazy().head(_HEAD_ROWS).collect(engine="streaming")

    @property
    def n_rows_total(self) -> int:
        """The number of rows."""
        count = self.lazy().select(pl.len()).collect(engine="streaming")
        return int(count.item())

    def lazy(self) -> pl.LazyFrame:
        """Return the rows as a LazyFrame, which reads them each time it is collected."""
        return self._outcome.scan(self._node)

    def __repr__(self) -> str:
        return f"QueryResult of {self._outcome.job_id}; head:\n{self.head}"

    def _repr_html_(self) -> str:
        return f"<div>QueryResult of {self._outcome.job_id}; head:{self.head._repr_html_()}</div>"
