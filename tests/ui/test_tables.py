"""The lists of jobs, workers and events: widths, search, order, pages, ticks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.ui.conftest import Eyes
from tests.ui.records import graph_of, key_of, report_of
from tests.ui.serving import serving

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo, TaskError
from minispark.ids import job_id
from minispark.journal.cluster_event import ClusterEvent
from minispark.journal.journal import Journal
from minispark.journal.rows import Registration
from minispark.master import MasterConfig, Service
from minispark.master.control.components import Identity
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.jobs.job_store import RunningJob
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import JobStatus
from minispark.tokens import Level
from minispark.wire.messages import GraphMessage
from minispark.wire.origin import JobOrigin

WIDTHS = (390, 800, 1100, 1400)
JOBS, WORKERS = 120, 110
LONG = "the value " + "of-a-word-without-an-end" * 30 + " cannot be read " + "at all " * 40
COMPARED = (800, f"/compare?a={job_id('5f1756d0', 1, 1)}&b={job_id('5f1756d0', 1, 10)}")
RUNNING = job_id("5f1756d0", 1, JOBS)


TASKS = (800, f"/jobs/{RUNNING}/tasks")


@dataclass(frozen=True)
class Master:
    url: str
    service: Service

    def link(self, level: Level = Level.ROOT) -> str:
        """A link that logs in."""
        return self.url + self.service.logins.link(level)


def finished(record: JobRecord) -> FinishedJob:
    return FinishedJob(
        view=record.view(), stages=record.stage_rows(), metrics=record.metrics(), results=[]
    )


def add_jobs(service: Service) -> None:
    """Job n is called name-n and took n seconds; every tenth failed, the last one runs."""
    store = service.components.jobs
    for number in range(1, JOBS):
        job = job_id("5f1756d0", 1, number)
        began, origin = wall_s() - 1_000 - number, JobOrigin(user="Ada Lovelace", source="json")
        record = JobRecord(job, f"name-{number}", graph_of(), began, origin=origin)
        message = GraphMessage(graph=record.graph)
        service.components.journal.job_accepted(job, message, name=record.name, at=1.0)
        failed = number % 10 == 0
        status = JobStatus.FAILED if failed else JobStatus.SUCCEEDED
        error = ErrorInfo("MS-212", LONG) if failed else None
        record.finished(status, error, record.submitted_at + number)
        store.restore(finished(record), idempotency_key=None)
    live = JobRecord(RUNNING, "the job that runs", graph_of(), wall_s() - 60)
    live.waits(LONG, now=wall_s())
    for number in range(4):
        key = key_of(0, number)._replace(job=RUNNING)
        live.launched(key, f"w-{number:03d}", wall_s() - 40)
        if number < 2:
            live.succeeded(report_of(key, rows=10 * number + 10), f"w-{number:03d}", wall_s() - 20)
    live.failed(key, TaskError(ErrorInfo("MS-212", LONG)), "w-003", wall_s() - 10)
    store.add(RunningJob(live))


def add_workers(service: Service) -> None:
    for number in range(WORKERS):
        name = f"w-{number:03d}"
        known = Registration(
            worker=name, epoch=1, slots=2, url=f"http://{name}:1", host=name, directory="/x"
        )
        session = service.components.registry.register(known, now=monotonic_s())
        session.metrics = {"cpu_percent": float(number % 100), "memory_bytes": 1e6 * number}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    folder = tmp_path_factory.mktemp("tables")
    journal = Journal(folder / "journal.db")
    config = MasterConfig(state_dir=folder, token="the-secret-of-this-test")  # noqa: S106
    service = Service(config, journal, Identity("5f1756d0", 1))
    journal.start(lambda _number: None)
    events = [
        ClusterEvent("worker", "down", f"is DOWN: {LONG}", worker="w-001"),
        ClusterEvent("job", "failed", f"FAILED after 1 s: {LONG}", job=RUNNING, name="name-10"),
    ]
    journal.news(events, at=wall_s())
    add_jobs(service)
    add_workers(service)
    with serving(service) as url:
        yield Master(url, service)
    journal.close()


@pytest.fixture
def page(eyes: Eyes, master: Master) -> Page:
    eyes.page.goto(master.link())
    return eyes.page


def names(page: Page) -> list[str]:
    return page.locator("#jobs tbody a.name").all_inner_texts()


def hidden_by(element: Locator) -> str:
    """What cuts an element off or lies over it; empty if it is seen whole."""
    while True:
        found = str(element.evaluate(HIDDEN_BY))
        if found != "replaced":  # The page is live: this may be the row of a moment ago.
            return found


HIDDEN_BY = """(element) => {
    if (!element.isConnected) return "replaced";
    // Only down: what is to be seen must not need scrolling to the side.
    scrollTo(0, scrollY + element.getBoundingClientRect().top - innerHeight / 2);
    const {left, right, top, bottom} = element.getBoundingClientRect();
    const at = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    if (left < 0 || right > innerWidth) return `the window: ${left} to ${right}`;
    if (!element.contains(at)) return `over it: ${at?.outerHTML}`;
    for (let box = element.parentElement; box; box = box.parentElement) {
        const frame = box.getBoundingClientRect();
        if (getComputedStyle(box).overflowX === "visible") continue;
        if (right > frame.right + 1 || left < frame.left - 1) return box.outerHTML;
    }
    return "";
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_lists_fit_the_width(eyes: Eyes, page: Page, master: Master, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    paths = ("/", "/?status=FAILED", "/workers", "/load", "/events", f"/jobs/{RUNNING}/tasks")
    for path in paths:
        page.goto(master.url + path)
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert beyond <= 0, (path, width)
        broken = page.evaluate(
            "[...document.querySelectorAll('.id')].filter((id) => id.getClientRects().length > 1)"
            ".map((id) => id.textContent)"
        )
        assert broken == [], (path, width)
        eyes.picture(f"list{path.strip('/').replace('?', '-').replace('/', '-')}-{width}")
    page.goto(master.url)
    row = page.locator(f"#{RUNNING}")
    assert hidden_by(row.get_by_role("button", name="Cancel")) == ""
    again = page.get_by_role("button", name="Run name-119 again")
    assert hidden_by(again) == ""
    for part in (".id", ".badge", "time"):
        assert hidden_by(row.locator(part).first) == "", part


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lists_are_accessible(
    browser: Browser, master: Master, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put in
    page = context.new_page()
    page.goto(master.link())
    for width, path in (
        (390, "/?status=FAILED"),
        (1400, "/?sort=-took"),
        (390, "/workers"),
        (390, "/load"),
        COMPARED,
    ):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(master.url + path)
        serious = [
            (path, found["id"], [node["target"] for node in found["nodes"]][:3])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        assert serious == []
    context.close()


def test_the_search_is_in_the_address(page: Page, master: Master) -> None:
    page.get_by_label("Search").focus()
    page.keyboard.type("NAME-11")
    expect(page.locator("#jobs tbody tr")).to_have_count(11)  # 11, 110 to 119
    page.keyboard.press("Tab")
    page.keyboard.press("f")  # FAILED
    expect(page.locator("#jobs tbody a.name")).to_have_text(["name-110"])
    assert re.search(r"[?&]q=NAME-11(&|$)", page.url)
    page.reload()
    assert names(page) == ["name-110"]
    assert page.get_by_label("Search").input_value() == "NAME-11"
    assert page.get_by_label("Status").input_value() == "FAILED"
    page.goto(f"{master.url}/?q=nothing+like+this")
    page.get_by_role("link", name="Show all jobs").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(50)
    assert page.get_by_label("Search").input_value() == ""


def test_a_click_on_a_head_sorts_and_pages_follow_the_order(page: Page) -> None:
    head = page.locator("#jobs th", has_text="Took")
    head.get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names(page)[:2] == ["name-119", "name-118"]
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("#jobs tbody a.name").first).to_have_text("name-69")
    page.get_by_role("link", name="Next page").click()
    # What runs has no time yet: it is last.
    expect(page.locator("#jobs tbody a.name").last).to_have_text("the job that runs")
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.go_back()
    expect(page.locator("#jobs tbody a.name").first).to_have_text("name-69")
    page.get_by_role("link", name="First page").click()
    expect(page.locator("#jobs tbody a.name").first).to_have_text("name-119")
    head.get_by_role("link").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names(page)[:2] == ["name-1", "name-2"]


def test_times_are_ages_with_the_date_behind_them(page: Page) -> None:
    time = page.locator("#jobs tbody time").first
    expect(time).to_have_text("1 min ago")
    assert re.search(r"\d{4}", time.get_attribute("title") or "")


def test_several_jobs_are_cancelled_at_once(eyes: Eyes, page: Page, master: Master) -> None:
    asked: list[str] = []

    def delete(route: Route) -> None:
        if route.request.method == "DELETE":
            asked.append(route.request.url.rpartition("/")[2])
            route.fulfill(status=200, body="{}")
        else:
            route.continue_()

    page.route("**/api/v1/jobs/*", delete)
    page.evaluate("window.confirm = (words) => { document.title = words; return true; }")
    cancel = page.get_by_role("button", name="Cancel selected")
    expect(cancel).to_be_disabled()
    page.get_by_label("Select name-119").focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("1 selected")
    expect(cancel).to_be_disabled()  # It has ended.
    page.get_by_label("Select the job that runs").check()
    # A tick stays when the list is fetched again.
    page.locator("#jobs th", has_text="Progress").get_by_role("link").click()
    page.locator("#jobs th", has_text="Status").get_by_role("link").click()
    page.get_by_label("Search").fill("the job that runs")
    expect(page.get_by_label("Select the job that runs")).to_be_checked()
    expect(page.locator("[data-count]")).to_have_text("2 selected")
    cancel.click()
    expect(page.locator("[data-count]")).to_have_text("1 selected")
    assert asked == [RUNNING]
    page.goto(master.link(Level.VIEW))
    expect(page.locator("#jobs tbody tr")).to_have_count(50)
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_two_ticked_jobs_are_compared(eyes: Eyes, page: Page, master: Master) -> None:
    compare = page.get_by_role("button", name="Compare")
    page.get_by_label("Select name-119").check()
    expect(compare).to_be_disabled()
    page.get_by_label("Select name-118").check()
    compare.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?a=*")
    first, second = (job_id("5f1756d0", 1, number) for number in (119, 118))
    assert page.url.endswith(f"/compare?a={first}&b={second}")
    expect(page.locator(".headline")).to_contain_text("took 1 min 59 s, the second 1 min 58 s")
    expect(page.locator("section[aria-labelledby=plan-title]")).to_contain_text(
        "Both plans are the same"
    )
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        eyes.picture(f"compare-{width}")
    page.get_by_role("link", name="Swap").click()
    expect(page.get_by_label("First")).to_have_value(second)
    page.goto(f"{master.url}/compare")
    expect(page.locator("main")).to_contain_text("Select two jobs")


def test_attempts_are_searched_and_sorted(page: Page, master: Master) -> None:
    page.goto(f"{master.url}/jobs/{RUNNING}/tasks")
    rows = page.locator("#tasks tbody tr")
    expect(rows).to_have_count(4)
    page.locator("#tasks th", has_text="Rows in").get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(rows.first).to_contain_text("w-001")
    page.get_by_label("Search").fill("stage-0 w-000")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("w-000")
    page.get_by_label("Search").fill("cannot be read")
    expect(rows).to_have_count(1)
    expect(rows.locator(".badge")).to_have_text("FAILED")
    page.get_by_label("Status").select_option("RUNNING")
    expect(page.locator("#tasks")).to_contain_text("No attempt matches")
    assert "sort=-rows_in" in page.url
    rows_wanted = master.url + f"/jobs/{RUNNING}/tasks?status=SUCCEEDED&sort=rows_in"
    page.goto(rows_wanted)
    expect(rows).to_have_count(2)
    rows.first.get_by_role("link").first.click()
    page.wait_for_url("**/jobs/*#task-*")


def test_events_are_searched(page: Page, master: Master) -> None:
    page.goto(f"{master.url}/events")
    rows = page.locator("#events tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_label("Search").fill("is down W-001")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("w-001")
    page.get_by_role("link", name="Jobs", exact=True).last.click()
    expect(page.locator("#events")).to_contain_text("No event matches the search")
    assert re.search(r"about=job&q=is(%20|\+)down", page.url)
    page.get_by_label("Search").fill("name-10")
    expect(rows).to_have_count(1)
    assert "about=job" in page.url
    page.reload()
    expect(rows).to_have_count(1)


def test_workers_are_sorted_searched_and_paged_in_the_browser(page: Page, master: Master) -> None:
    page.goto(f"{master.url}/workers")
    rows = page.locator("[data-table=workers] tbody tr:visible")
    expect(rows).to_have_count(100)
    head = page.locator("[data-table=workers] th", has_text="Memory")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(rows.first).to_contain_text("w-109")
    assert "workers-sort=-memory" in page.url
    page.get_by_role("button", name="Next").first.click()
    expect(rows).to_have_count(WORKERS - 100)
    expect(rows.first).to_contain_text("w-009")
    page.reload()
    expect(rows.first).to_contain_text("w-009")
    page.get_by_label("Search").fill("w-00")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("w-009")
    page.goto(f"{master.url}/workers#worker-w-105")
    expect(page.locator("#worker-w-105")).to_be_visible()
