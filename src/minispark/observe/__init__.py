"""Watches: what a job did, as records, views and a journal. Never writes back to the scheduler."""

from minispark.observe.failures import error_of
from minispark.observe.found import FoundTask, find_kept
from minispark.observe.record import Attempt, JobRecord
from minispark.observe.specs import block_source, job_spec, task_spec
from minispark.observe.views import JobMetrics, JobView, StageProgress, StageRow

__all__ = [
    "Attempt",
    "FoundTask",
    "JobMetrics",
    "JobRecord",
    "JobView",
    "StageProgress",
    "StageRow",
    "block_source",
    "error_of",
    "find_kept",
    "job_spec",
    "task_spec",
]
