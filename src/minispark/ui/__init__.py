"""The web pages, the documents that they show, and the report as a file."""

from minispark.ui.compare import Comparison, Measure, change_words, compare_jobs
from minispark.ui.job_page import JobPage, JobPageInputs, OutputFiles, OutputRows, job_page_of
from minispark.ui.list_view import ListView
from minispark.ui.pages import ASSETS, VERSION, Asset, Pages, PageViewer
from minispark.ui.report import report_html
from minispark.ui.step_pager import STEPS_PER_PAGE, StepPager, StoryDocument
from minispark.ui.task_stream import MAX_ATTEMPTS as MAX_STREAM_ATTEMPTS
from minispark.ui.task_stream import TaskStream, task_stream_of
from minispark.ui.timeline import Timeline, timeline_of, trace_of

__all__ = [
    "ASSETS",
    "MAX_STREAM_ATTEMPTS",
    "STEPS_PER_PAGE",
    "VERSION",
    "Asset",
    "Comparison",
    "JobPage",
    "JobPageInputs",
    "ListView",
    "Measure",
    "OutputFiles",
    "OutputRows",
    "PageViewer",
    "Pages",
    "StepPager",
    "StoryDocument",
    "TaskStream",
    "Timeline",
    "change_words",
    "compare_jobs",
    "job_page_of",
    "report_html",
    "task_stream_of",
    "timeline_of",
    "trace_of",
]
