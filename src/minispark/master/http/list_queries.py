"""The parameters of lists: how a request says which rows it wants."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from minispark.observe.job_list import JOB_COLUMNS
from minispark.observe.listing import ListQuery
from minispark.observe.task_list import ATTEMPT_COLUMNS
from minispark.scheduler.commands import JobStatus

ROWS_ON_A_PAGE = 50
Search = Annotated[str, Query(max_length=200, description="Words that a row contains.")]
_STATUSES = "|".join(JobStatus)


def _job_query(
    after: str | None = None,
    q: Search = "",
    status: Annotated[str, Query(pattern=f"^({_STATUSES})?$")] = "",
    sort: Annotated[str, Query(pattern=JOB_COLUMNS.pattern())] = "",
) -> ListQuery:
    return ListQuery(ROWS_ON_A_PAGE, after, q, status or None, sort)


def _task_query(
    after: str | None = None,
    q: Search = "",
    status: Annotated[str, Query(pattern="^(RUNNING|SUCCEEDED|FAILED|CANCELLED)?$")] = "",
    sort: Annotated[str, Query(pattern=ATTEMPT_COLUMNS.pattern())] = "",
) -> ListQuery:
    return ListQuery(ROWS_ON_A_PAGE, after, q, status or None, sort)


JobQuery = Annotated[ListQuery, Depends(_job_query)]
TaskQuery = Annotated[ListQuery, Depends(_task_query)]
