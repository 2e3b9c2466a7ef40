"""What people see in a browser: pages, the documents they are made of, and the report as a file."""

from minispark.ui.job_page import JobPage, JobPageInputs, OutputFiles, OutputRows, sheet_of
from minispark.ui.pages import ASSETS, VERSION, Asset, Pages, PageViewer
from minispark.ui.report import report_html
from minispark.ui.step_pager import STEPS_PER_PAGE, StepPager, StoryDocument
from minispark.ui.timeline import Timeline, timeline_of
from minispark.ui.trace import trace_of

__all__ = [
    "ASSETS",
    "STEPS_PER_PAGE",
    "VERSION",
    "Asset",
    "JobPage",
    "JobPageInputs",
    "OutputFiles",
    "OutputRows",
    "PageViewer",
    "Pages",
    "StepPager",
    "StoryDocument",
    "Timeline",
    "report_html",
    "sheet_of",
    "timeline_of",
    "trace_of",
]
