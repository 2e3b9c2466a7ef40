"""What people see in a browser: pages, the documents they are made of, and the report as a file."""

from minispark.ui.pages import ASSETS, Asset, Pages, Reader
from minispark.ui.sheet import OutputFiles, OutputRows, Sheet, Shown, sheet_of
from minispark.ui.timeline import Timeline, timeline_of

__all__ = [
    "ASSETS",
    "Asset",
    "OutputFiles",
    "OutputRows",
    "Pages",
    "Reader",
    "Sheet",
    "Shown",
    "Timeline",
    "sheet_of",
    "timeline_of",
]
