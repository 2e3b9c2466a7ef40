"""The page of a job as one file, with the template and the modules of the web page.

The file contains style, scripts and documents. Its content security policy allows these scripts by
their hashes, so no text of a job can run.
"""

from __future__ import annotations

import base64
import hashlib
import re

from markupsafe import Markup
from pydantic import BaseModel

from minispark.printable import printable_lines
from minispark.ui.job_page import JobPage
from minispark.ui.pages import ASSETS, Pages, PageViewer
from minispark.ui.step_pager import StoryDocument
from minispark.ui.timeline import Timeline

_MODULES = ("documents.js", "live.js", "dag.js", "timeline.js", "story.js", "job.js")
"""Each after the modules that it imports: they become one module."""
_LIBRARY = "vendor/dagre/dagre.min.js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


class _Documents(BaseModel):
    sheet: JobPage
    timeline: Timeline
    story: StoryDocument


def report_html(page: JobPage, timeline: Timeline, story: StoryDocument) -> str:
    """Return the HTML of the report, without characters that a terminal would obey.

    They are escaped before a script's hash is taken: in a string of a script an escape is the same.
    """
    style, library = (printable_lines(ASSETS[name].text) for name in ("ui.css", _LIBRARY))
    modules = "\n".join(_EXPORT.sub("", _IMPORT.sub("", ASSETS[m].text)) for m in _MODULES)
    documents = _Documents(sheet=page, timeline=timeline, story=story)
    policy = (
        f"default-src 'none'; style-src {_hashed(style)}; "
        f"script-src {_hashed(library)} {_hashed(modules)}; base-uri 'none'; form-action 'none'"
    )
    page_text = Pages("", bundled=True).render(
        "report.html",
        PageViewer(),
        page=page,
        # `_quoted` escapes the JSON; the other texts are our own files.
        policy=policy,
        style=Markup(style),  # noqa: S704
        library=Markup(library),  # noqa: S704
        modules=Markup(modules),  # noqa: S704
        documents=Markup(_quoted(documents.model_dump_json(ensure_ascii=True))),  # noqa: S704
    )
    return printable_lines(page_text)


def _hashed(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _quoted(text: str) -> str:
    """Escape JSON of ASCII so that nothing in it begins or ends a tag, and all of it is visible."""
    for character in "<>&\x7f":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
