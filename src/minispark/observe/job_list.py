"""The columns of the list of jobs."""

from __future__ import annotations

from minispark.observe.listing import ListColumns
from minispark.observe.views import JobView

JOB_COLUMNS: ListColumns[JobView] = ListColumns(
    key=lambda job: job.job_id,
    status=lambda job: job.status.value,
    texts=lambda job: (
        job.name,
        job.job_id,
        job.status.value,
        job.submitted_by,
        job.waiting,
        job.error.message if job.error else None,
        job.error.code if job.error else None,
    ),
    sorts={
        "name": lambda job: job.name,
        "status": lambda job: job.status.value,
        "progress": lambda job: job.progress,
        "tasks": lambda job: sum(stage.tasks for stage in job.stages),
        "submitted": lambda job: job.submitted_at,
        "by": lambda job: job.submitted_by,
        "took": lambda job: job.duration_s,
    },
)
