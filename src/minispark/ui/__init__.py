"""The web pages, the documents that they show, and the report as a file."""

from minispark.ui.job_page import JobPage, JobPageInputs, OutputFiles, OutputRows, job_page_of
from minispark.ui.list_view import ListView
from minispark.ui.pages import ASSETS, VERSION, Asset, Pages, PageViewer
from minispark.ui.report import report_html
from minispark.ui.step_pager import STEPS_PER_PAGE, StepPager, StoryDocument
from minispark.ui.timeline import Timeline, timeline_of, trace_of

__all__ = [
    "ASSETS",
    "STEPS_PER_PAGE",
    "VERSION",
    "Asset",
    "JobPage",
    "JobPageInputs",
    "ListView",
    "OutputFiles",
    "OutputRows",
    "PageViewer",
    "Pages",
    "StepPager",
    "StoryDocument",
    "Timeline",
    "job_page_of",
    "report_html",
    "timeline_of",
    "trace_of",
]
