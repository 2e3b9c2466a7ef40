"""A report opens from a file, without anything else; a trace is one."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path

from playwright.sync_api import expect
from tests.observe.recorded import Recorded
from tests.ui.conftest import Eyes
from tests.ui.records import EVIL, finished_record, key_of

from minispark.errors import ErrorInfo, TaskError
from minispark.observe.record import JobRecord
from minispark.printable import printable_lines
from minispark.scheduler.commands import JobStatus
from minispark.task.spec import TaskFailure
from minispark.ui import (
    JobPage,
    JobPageInputs,
    StepPager,
    StoryDocument,
    Timeline,
    job_page_of,
    report_html,
    timeline_of,
    trace_of,
)


def documents(record: JobRecord) -> tuple[JobPage, Timeline, StoryDocument]:
    shown = JobPageInputs(
        view=record.view(), rows=record.stage_rows(), metrics=record.metrics(), up=2
    )
    made = Recorded({})
    made.cancel(record.job_id)
    pager = StepPager(JobRecord(record.job_id, "", record.graph, 0.0))
    pager.take(made.lines)
    return (
        job_page_of(record, shown, now=9.0),
        timeline_of(record, slots={"a": 1}, now=9.0),
        pager.page(1, total=1),
    )


def test_the_hashes_of_a_report_are_those_of_its_scripts() -> None:
    record = finished_record()
    record.name = "\x9b31m\x7f\u202e\x1b[2J"
    page = report_html(*documents(record))
    assert printable_lines(page) == page
    policy = re.search(r"script-src ([^;]*);", html.unescape(page))
    assert policy is not None
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", page, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    (data,) = re.findall(r"<script[^>]*json[^>]*>(.*?)</script>", page, re.S)
    assert json.loads(data)["sheet"]["job"]["name"] == record.name


def test_a_report_opens_from_a_file(eyes: Eyes, tmp_path: Path) -> None:
    record = finished_record()
    failure = TaskError(ErrorInfo("MS-212", EVIL, detail=f"Traceback\n{EVIL}"))
    key = key_of(1, 0, attempt=1)
    record.launched(key, "a", 5.0)
    record.failed(key, failure, "a", 6.0, report=TaskFailure(key, failure, log=(EVIL,)))
    other, again = EVIL.replace("alert(1)", "alert(7)"), key_of(1, 1, attempt=1)
    record.launched(again, "b", 5.0)
    record.failed(again, TaskError(ErrorInfo("MS-212", other)), "b", 6.0)
    record.finished(JobStatus.FAILED, record.explain(failure, key), 6.0)
    path = tmp_path / "report.html"
    path.write_text(report_html(*documents(record)), encoding="utf-8")
    page = eyes.page
    page.context.set_offline(True)
    page.goto(path.as_uri())
    eyes.ready()
    expect(page.locator("h1")).to_have_text(EVIL)
    expect(page.locator("#headline")).to_contain_text("Failed after")
    expect(page.locator("#dag svg a")).not_to_have_count(0)
    expect(page.locator("#story-step h3")).not_to_be_empty()
    page.locator("#lanes canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#task-detail")).to_contain_text(re.compile("partition .* attempt [1-9]"))
    page.locator("#problem-1 summary").click()
    expect(page.locator("#problem-1 pre").first).to_contain_text(EVIL)
    expect(page.locator("#problem-1 .others li")).to_have_text(other)
    assert page.locator("img").count() == 0
    eyes.picture("report")


def test_a_trace_is_in_the_format_of_chrome() -> None:
    _, timeline, _ = documents(finished_record())
    trace = json.loads(json.dumps(trace_of(timeline)))
    tasks = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    assert len(tasks) + len(names) == len(trace["traceEvents"])
    assert len(tasks) == len(timeline.lane) > 0
    for event in tasks:
        assert {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"} <= event.keys()
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert isinstance(event["pid"], int)
    known = {(n["pid"], n["tid"]) for n in names if n["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in tasks} <= known
    for lane in known:
        own = sorted((e["ts"], e["dur"]) for e in tasks if (e["pid"], e["tid"]) == lane)
        ends = [start + took for start, took in own]
        assert all(end <= begin + 1 for end, (begin, _) in zip(ends, own[1:], strict=False))
