"""The page of a job as one file that needs nothing else: the same template, the same modules.

Style, scripts and documents stand in the file. What may run is said by their hashes, so nothing
that a job put into its names or messages could.
"""

from __future__ import annotations

import base64
import hashlib
import re

from markupsafe import Markup
from pydantic import BaseModel

from minispark.ui.job_page import JobPage
from minispark.ui.pages import ASSETS, Pages, PageViewer
from minispark.ui.step_pager import StoryDocument
from minispark.ui.timeline import Timeline

_MODULES = ("documents.js", "live.js", "dag.js", "timeline.js", "story.js", "job.js")
"""Each after those that it imports: they become one module."""
_LIBRARY = "vendor/dagre/dagre.min.js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


class _Documents(BaseModel):
    sheet: JobPage
    timeline: Timeline
    story: StoryDocument


def report_html(sheet: JobPage, timeline: Timeline, story: StoryDocument) -> str:
    """Return the file."""
    style, library = ASSETS["ui.css"].text, ASSETS[_LIBRARY].text
    modules = "\n".join(_EXPORT.sub("", _IMPORT.sub("", ASSETS[m].text)) for m in _MODULES)
    documents = _Documents(sheet=sheet, timeline=timeline, story=story)
    policy = (
        f"default-src 'none'; style-src {_hashed(style)}; "
        f"script-src {_hashed(library)} {_hashed(modules)}; base-uri 'none'; form-action 'none'"
    )
    return Pages("", bundled=True).render(
        "report.html",
        PageViewer(),
        sheet=sheet,
        # The escaping that JSON in a page needs is done below; the rest is our own files.
        policy=policy,
        style=Markup(style),  # noqa: S704
        library=Markup(library),  # noqa: S704
        modules=Markup(modules),  # noqa: S704
        documents=Markup(_quoted(documents.model_dump_json())),  # noqa: S704
    )


def _hashed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _quoted(text: str) -> str:
    """Write JSON so that nothing in it ends or begins a tag."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
