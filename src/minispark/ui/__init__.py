"""What people see in a browser: pages, the documents they are made of, and the report as a file."""

from minispark.ui.pages import ASSETS, VERSION, Asset, Pages, Reader
from minispark.ui.plot import STEPS_PER_PAGE, Plot, StoryDocument
from minispark.ui.report import report_html
from minispark.ui.sheet import OutputFiles, OutputRows, Sheet, Shown, sheet_of
from minispark.ui.timeline import Timeline, timeline_of
from minispark.ui.trace import trace_of

__all__ = [
    "ASSETS",
    "STEPS_PER_PAGE",
    "VERSION",
    "Asset",
    "OutputFiles",
    "OutputRows",
    "Pages",
    "Plot",
    "Reader",
    "Sheet",
    "Shown",
    "StoryDocument",
    "Timeline",
    "report_html",
    "sheet_of",
    "timeline_of",
    "trace_of",
]
