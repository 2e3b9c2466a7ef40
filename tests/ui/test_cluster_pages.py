"""The pages of a real cluster in a real browser."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import polars as pl
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect
from tests.ui.conftest import Eyes

import minispark as ms
from minispark.client.local_cluster import ClusterProcess, LocalCluster
from minispark.engines.http import MasterClient
from minispark.errors import MinisparkError

pytestmark = pytest.mark.process

EVIL = '<img src=x onerror="alert(1)">'
END = "</script><script>alert(2)</script>"
ROWS = 40_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for part in range(4):
        numbers = pl.DataFrame({"n": range(part * ROWS, (part + 1) * ROWS)})
        numbers.write_csv(folder / f"n{part}.csv")
    (folder / "words.csv").write_text("text\n" + "a b a c\n" * 50_000)
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[LocalCluster]:
    options = ["--heartbeat-timeout", "3"]
    with LocalCluster(workers=2, threads=1, data_root=folder, master_options=options) as running:
        yield running


@pytest.fixture
def logged_in(eyes: Eyes, cluster: LocalCluster) -> Eyes:
    eyes.page.goto(cluster.client.login_link())
    return eyes


def word_count(name: str = "words", **changes: Any) -> dict[str, Any]:
    nodes = [
        {"id": "read", "op": "read_csv", "path": "words.csv"},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"},
    ]
    edges = [["read", "flat"], ["flat", "agg"]]
    return {"name": name, "dag": {"nodes": nodes, "edges": edges}, "parallelism": 3, **changes}


def held(gate: str) -> Callable[[pl.Series], pl.Series]:
    """A function that waits until a file is there."""

    def hold(values: pl.Series) -> pl.Series:
        import time
        from pathlib import Path

        while not Path(gate).exists():
            time.sleep(0.02)
        return values

    return hold


def busy_worker(cluster: LocalCluster) -> ClusterProcess:
    """The process of a worker that runs something."""
    url = next(w["url"] for w in cluster.client.workers() if w["active_tasks"])
    for process in cluster.workers:
        open_ports = psutil.Process(process.pid).net_connections()
        if urlsplit(url).port in {one.laddr.port for one in open_ports if one.status == "LISTEN"}:
            return process
    raise AssertionError(url)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_job_from_login_to_its_story(logged_in: Eyes, cluster: LocalCluster) -> None:
    page = logged_in.page
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.locator("#cluster")).to_contain_text("2 workers up")
    page.get_by_role("link", name="Submit").click()

    # What is wrong is said where it was typed.
    page.get_by_label("JSON job").fill('{"name": "x", "dag": {"nodes": [], "edges": []}}')
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#fault")).to_contain_text("MS-")
    logged_in.faults.clear()  # The browser notes every answer that is an error.

    page.get_by_label("JSON job").fill(json.dumps(word_count()))
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/jobs/job-*")
    # Live: this page is never loaded again.
    expect(page.locator("#headline")).to_contain_text("Done in")
    logged_in.ready()
    expect(page.locator("#now")).to_have_attribute("data-status", "SUCCEEDED")
    expect(page.locator("#dag svg a")).not_to_have_count(0)
    expect(page.locator("#output-agg")).to_contain_text("3 rows")

    page.get_by_role("button", name="Nodes").click()
    expect(page.locator("#dag")).to_contain_text("flat")
    page.locator("#dag a", has_text="flat").first.click()
    assert page.url.endswith("#node-flat")

    # The timeline by keyboard: what is chosen has an address.
    page.locator("#lanes canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert re.search(r"#task-job-.*\.\d+\.0\.\d+\.0$", page.url)
    expect(page.locator("#task-detail")).to_contain_text("succeeded after")

    page.locator("#story").scroll_into_view_if_needed()
    expect(page.locator("#story-step")).to_contain_text("the job was submitted")
    first = page.locator("#story-step").inner_text()
    page.locator("#story-next").click()
    expect(page.locator("#story-step")).not_to_have_text(first)
    assert "#step-" in page.url
    page.locator("#story-slider").focus()
    page.keyboard.press("End")
    expect(page.locator("#story")).to_contain_text(re.compile(r"Step (\d+) of \1,"))
    page.reload()
    logged_in.ready()
    expect(page.locator("#story")).to_contain_text(re.compile(r"Step (\d+) of \1,"))
    logged_in.picture("job")

    with page.expect_download() as download:
        page.get_by_role("link", name="csv", exact=True).click()
    assert "a,100000" in Path(download.value.path()).read_text()

    page.get_by_role("link", name="Jobs").click()
    expect(page.locator("#jobs")).to_contain_text("SUCCEEDED")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("main")).to_contain_text("minispark ui")


def test_the_page_moves_while_a_task_runs(
    logged_in: Eyes, cluster: LocalCluster, folder: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    hold = pl.col("n").map_batches(held(str(gate)), return_dtype=pl.Int64, is_elementwise=True)
    rows = pl.scan_csv(folder / "n0.csv").select(hold)
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
    thread = in_background(lambda: rows.collect(engine=engine))
    try:
        page = logged_in.page
        page.goto(cluster.url)
        running = page.locator("#jobs tr", has_text="RUNNING")
        expect(running).to_have_count(1)
        running.get_by_role("link").first.click()
        logged_in.ready()
        expect(page.locator("#now")).to_contain_text("1 running")
        clock = page.locator("#now [data-clock]")
        before = clock.inner_text()
        expect(clock).not_to_have_text(before)
    finally:
        gate.touch()
    thread.join(60)
    expect(page.locator("#now")).to_have_attribute("data-status", "SUCCEEDED")
    expect(page.locator("#stage-usage")).to_contain_text("Peak memory")
    expect(page.locator("#now [data-clock]")).to_have_count(0)


def test_a_job_is_run_again_and_duplicated(logged_in: Eyes, cluster: LocalCluster) -> None:
    page = logged_in.page
    with MasterClient(cluster.url, token=cluster.token, user="Ada") as client:
        first = client.submit_json(word_count("repeated"))
        client.wait(first)
    page.goto(cluster.url)
    row = page.locator(f"#{first}")
    expect(row).to_contain_text("by Ada")
    row.get_by_role("button", name="Run repeated again").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"/jobs/(?!{first})job-"))
    expect(page.locator("h1")).to_have_text("repeated")
    expect(page.locator("#headline")).to_contain_text("Done in")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON", exact=True).click()
    assert json.loads(Path(download.value.path()).read_text()) == word_count("repeated")
    page.get_by_role("link", name="Duplicate").click()
    text = page.get_by_label("JSON job")
    expect(text).to_have_value(json.dumps(word_count("repeated"), indent=2))
    text.fill(json.dumps(word_count("changed")))
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/jobs/job-*")
    expect(page.locator("h1")).to_have_text("changed")


def test_the_story_is_there_at_once_and_the_first_press_counts(
    logged_in: Eyes, cluster: LocalCluster
) -> None:
    job = cluster.client.submit_json(word_count("story keys"))
    cluster.client.wait(job)
    page = logged_in.page
    page.goto(f"{cluster.url}/jobs/{job}")
    logged_in.ready()
    expect(page.locator("#story-step")).to_contain_text("the job was submitted")
    assert page.evaluate("scrollY") == 0

    stopped: list[Route] = []
    page.route("**/story?*", lambda route: stopped.append(route))
    with page.expect_request("**/story?*"):
        page.reload(wait_until="commit")
    page.locator("#story-next").click()
    for route in stopped:
        route.continue_()
    expect(page.locator("#story-player")).to_contain_text("Step 2 of")


def test_next_at_the_end_of_a_story_reads_on(
    logged_in: Eyes, cluster: LocalCluster, folder: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    numbers = pl.scan_csv(folder / "n0.csv").select(
        pl.col("n").map_batches(held(str(gate)), return_dtype=pl.Int64, is_elementwise=True)
    )
    engine = ms.Engine(cluster.url, token=cluster.token)
    thread = in_background(lambda: numbers.collect(engine=engine))
    page = logged_in.page

    def one_more(route: Route) -> None:
        story = route.fetch().json()
        step = {**story["steps"][-1], "seq": 2**40, "what": "what came later"}
        route.fulfill(json={**story, "total": story["total"] + 1, "steps": [*story["steps"], step]})

    try:
        page.goto(cluster.url)
        page.locator("#jobs tr", has_text="RUNNING").get_by_role("link").first.click()
        logged_in.ready()
        page.locator("#story-slider").focus()
        page.keyboard.press("End")
        expect(page.locator("#story-player")).to_contain_text(re.compile(r"Step (\d+) of \1,"))
        page.route("**/story?*", one_more)
        page.locator("#story-next").click()
        expect(page.locator("#story-step")).to_contain_text("what came later")
    finally:
        gate.touch()
    thread.join(60)


def test_the_keyboard_zooms_on_the_chosen_task(logged_in: Eyes, cluster: LocalCluster) -> None:
    job = cluster.client.submit_json(word_count("timeline keys"))
    cluster.client.wait(job)
    page = logged_in.page

    def in_one_lane(route: Route) -> None:
        timeline = route.fetch().json()
        count = len(timeline["lane"])
        begin_s = [10 * number for number in range(count)]
        timeline |= {"begin_s": begin_s, "end_s": [begin + 2 for begin in begin_s]}
        timeline |= {"worker": [0] * count, "lane": [0] * count, "until_s": 10 * count}
        route.fulfill(json=timeline)

    page.route("**/timeline", in_one_lane)
    page.goto(f"{cluster.url}/jobs/{job}")
    logged_in.ready()
    page.locator("#lanes canvas").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#task-detail a")).to_be_visible()
    page.keyboard.press("ArrowRight")  # The second task: from 10 s to 12 s.
    view = (
        "(({from, to}) => [Number(from), Number(to)])"
        "(document.querySelector('#lanes canvas').dataset)"
    )
    centred = (
        f"() => {{ const [from, to] = {view};"
        " return to - from < 10 && Math.abs(from + to - 22) < 1e-6; }"
    )
    for _ in range(6):
        page.keyboard.press("+")
    page.wait_for_function(centred)
    page.locator("#lanes").scroll_into_view_if_needed()
    logged_in.picture("zoomed")
    before = page.evaluate(view)
    page.keyboard.press("-")
    page.wait_for_function(f"() => {view}[0] < {before[0]}")
    page.locator("#zoom-in").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_function(centred)


def test_names_stay_text_and_a_users_traceback_is_shown(
    logged_in: Eyes, cluster: LocalCluster, folder: Path
) -> None:
    job = word_count(f"{EVIL}{END}")
    job["dag"]["nodes"][1]["id"] = EVIL
    job["dag"]["edges"] = [["read", EVIL], [EVIL, "agg"]]
    named = cluster.client.submit_json(job)
    cluster.client.wait(named)

    def fail(values: pl.Series) -> pl.Series:
        msg = f"value {EVIL}{END} is bad"
        raise ValueError(msg)

    query = pl.scan_csv(folder / "n0.csv").select(
        pl.col("n").map_batches(fail, return_dtype=pl.Int64, is_elementwise=True).alias(EVIL)
    )
    with pytest.raises(MinisparkError):
        query.collect(engine=ms.Engine(cluster.url, token=cluster.token))
    failed = cluster.client.jobs()[0].job_id

    page = logged_in.page
    page.goto(cluster.url)
    expect(page.locator(f"#{named}")).to_contain_text(EVIL)
    for job_id in (named, failed):
        page.goto(f"{cluster.url}/jobs/{job_id}")
        logged_in.ready()
        page.goto(f"{cluster.url}/jobs/{job_id}/events")
    page.goto(f"{cluster.url}/jobs/{named}")
    logged_in.ready()
    expect(page.locator("h1")).to_have_text(f"{EVIL}{END}")
    expect(page.locator("#dag a title", has_text=EVIL)).not_to_have_count(0)

    page.goto(f"{cluster.url}/jobs/{failed}")
    logged_in.ready()
    expect(page.locator("#now")).to_have_attribute("data-status", "FAILED")
    page.locator("#problem-1 summary").click()
    expect(page.locator("#problem-1")).to_contain_text("raise ValueError(msg)")
    expect(page.locator("#problem-1")).to_contain_text(f"value {EVIL}{END} is bad")
    assert page.locator("img").count() == 0
    logged_in.picture("traceback")


def test_a_killed_worker_goes_down_and_its_task_moves(
    logged_in: Eyes, cluster: LocalCluster, folder: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    numbers = pl.scan_csv(folder / "n*.csv").select(
        pl.col("n").map_batches(held(str(gate)), return_dtype=pl.Int64, is_elementwise=True)
    )
    engine = ms.Engine(cluster.url, token=cluster.token, parallelism=4)
    found: list[int] = []
    thread = in_background(lambda: found.append(numbers.collect(engine=engine).height))
    page = logged_in.page
    page.goto(cluster.url)
    running = page.locator("#jobs tr", has_text="RUNNING")
    expect(running).to_have_count(1)
    running.get_by_role("link").first.click()
    logged_in.ready()
    expect(page.locator("#now")).to_have_attribute("data-status", "RUNNING")
    share = page.locator("#share-table tbody tr")
    expect(share).to_have_count(2)

    workers = page.context.new_page()
    workers.goto(f"{cluster.url}/workers")
    expect(workers.locator(".badge.up")).to_have_count(2)
    expect(workers.locator("#workers .chip")).not_to_have_count(0)
    events = page.context.new_page()
    events.goto(f"{cluster.url}/events")
    expect(events.locator("#events tbody tr").first).to_contain_text("was submitted")
    busy_worker(cluster).kill()
    try:
        expect(workers.locator(".badge.down")).to_have_count(1)
        workers.close()
        # Live: loaded before it happened.
        lost = events.locator("#events tr", has_text="was lost")
        expect(lost.locator("td.said a")).to_have_count(1)
        Eyes(events).picture("events")
        events.get_by_role("link", name="Workers", exact=True).last.focus()
        events.keyboard.press("Enter")
        events.wait_for_url("**/events?about=worker")
        expect(events.locator("#events tbody tr").first).to_contain_text("is DOWN")
        expect(events.locator("#events")).not_to_contain_text("was submitted")
        events.locator("#events tr", has_text="is DOWN").get_by_role("link").first.click()
        assert "#event-" in events.url
        events.close()
        page.bring_to_front()
        expect(page.locator("#headline")).to_contain_text("lost at")
        expect(page.locator("#headline")).to_contain_text("run again")
        logged_in.picture("worker-lost")
    finally:
        gate.touch()
    expect(page.locator("#headline")).to_contain_text("Done in")
    expect(page.locator("#headline")).to_contain_text("ran again")
    expect(page.locator("#advice")).to_contain_text("ended because a worker")
    thread.join(60)
    assert found == [4 * ROWS]


def test_the_log_of_a_worker_is_chosen_by_keyboard_and_fits_every_width(
    logged_in: Eyes, cluster: LocalCluster
) -> None:
    page = logged_in.page
    workers = [each["worker_id"] for each in cluster.client.workers() if each["status"] == "UP"]
    page.goto(f"{cluster.url}/workers")
    page.locator("select[name=log]").select_option(workers[-1])
    page.get_by_role("button", name="Show").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/workers?log={workers[-1]}&level=info*")
    lines = page.get_by_role("region", name="Last log lines")
    expect(lines).to_contain_text("registered master=")
    expect(page.locator("select[name=log]")).to_have_value(workers[-1])
    for width in (390, 800, 1100, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        logged_in.picture(f"worker-log-{width}")
    page.locator("select[name=level]").select_option("error")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#worker-log-lines")).to_contain_text("no lines of this level")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(
    browser: Browser, cluster: LocalCluster, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    from minispark.ui import JobPage, StoryDocument, Timeline, report_html

    client = cluster.client
    client.wait(client.submit_json(word_count("accessible")))
    jobs = client.jobs()
    shown = {jobs[0].job_id, *(job.job_id for job in jobs if job.status == "FAILED")}
    job = f"/api/v1/jobs/{jobs[0].job_id}"
    report = tmp_path / "report.html"
    report.write_text(
        report_html(
            JobPage.model_validate(client.get_json(f"{job}/sheet")),
            Timeline.model_validate(client.get_json(f"{job}/timeline")),
            StoryDocument.model_validate(client.get_json(f"{job}/story")),
        )
    )
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put in
    page = context.new_page()
    page.goto(client.login_link())
    paths = ["/", "/workers", "/load", "/events", "/submit"]
    worker = next(each["worker_id"] for each in client.workers() if each["status"] == "UP")
    paths += [f"/jobs/{job}" for job in sorted(shown)]
    paths += [f"/jobs/{jobs[0].job_id}/events", f"/workers?log={worker}", "/login"]
    for url in [*(cluster.url + path for path in paths), report.as_uri()]:
        page.goto(url)
        if "/jobs/" in url and "/events" not in url:
            page.wait_for_selector("html[data-ready]")
        serious = [
            (url, found["id"], [node["target"] for node in found["nodes"]][:3])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        assert serious == []
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, url
    context.close()
