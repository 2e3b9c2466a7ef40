"""The page of a job as one HTML file, from a master's documents or from the rows of a run here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minispark.engines.base import JobSummary
    from minispark.engines.http import MasterClient
    from minispark.journal.rows import Row
    from minispark.observe.record import JobRecord
    from minispark.ui import StoryDocument

MAX_STEPS = 5_000
"""Maximum of steps in a file, about 3 MB; `minispark replay` shows all steps."""


def report_of_job(client: MasterClient, job_id: str) -> str:
    """Return the report of a job of a cluster."""
    from minispark.ui import JobPage, Timeline, report_html

    path = f"/api/v1/jobs/{job_id}"
    timeline = Timeline.model_validate(client.get_json(f"{path}/timeline"))
    page = JobPage.model_validate(client.get_json(f"{path}/sheet"))
    return report_html(page, timeline, _story(client, path))


def _story(client: MasterClient, path: str) -> StoryDocument:
    """Return the story of a job, fetched page by page."""
    from minispark.ui import StoryDocument

    story = StoryDocument.model_validate(client.get_json(f"{path}/story"))
    while len(story.steps) < min(story.total, MAX_STEPS):
        page = client.get_json(f"{path}/story", step=len(story.steps) + 1)
        steps = StoryDocument.model_validate(page).steps
        if not steps:
            break
        story.steps += steps
    return story


def report_of_record(record: JobRecord, rows: Sequence[Row], summary: JobSummary) -> str:
    """Return the report of a job that ended in this process; ``rows`` are those of its journal."""
    from minispark.observe.record import JobRecord
    from minispark.observe.story import story
    from minispark.ui import JobPageInputs, StoryDocument, job_page_of, report_html, timeline_of

    now = record.finished_at or record.submitted_at
    inputs = JobPageInputs(
        view=record.view(), rows=list(summary.stages), metrics=summary.metrics, up=summary.workers
    )
    timeline = timeline_of(record, slots={}, now=now)
    before = JobRecord(record.job_id, record.name, record.graph, record.submitted_at)
    steps = list(story(rows, before))
    document = StoryDocument(job_id=record.job_id, first=1, total=len(steps), steps=steps)
    return report_html(job_page_of(record, inputs, now=now), timeline, document)
