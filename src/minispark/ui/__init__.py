"""What people see in a browser: pages, the documents they are made of, and the report as a file."""

from minispark.ui.pages import ASSETS, Asset, Pages, Reader
from minispark.ui.plot import MAX_LINES, StoryDocument, story_document
from minispark.ui.report import report_html
from minispark.ui.sheet import OutputFiles, OutputRows, Sheet, Shown, sheet_of
from minispark.ui.timeline import Timeline, timeline_of
from minispark.ui.trace import trace_of

__all__ = [
    "ASSETS",
    "MAX_LINES",
    "Asset",
    "OutputFiles",
    "OutputRows",
    "Pages",
    "Reader",
    "Sheet",
    "Shown",
    "StoryDocument",
    "Timeline",
    "report_html",
    "sheet_of",
    "story_document",
    "timeline_of",
    "trace_of",
]
