"""10,000 tasks on 200 workers: the pages of a master that has them stay usable."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import expect
from tests.ui.conftest import Eyes
from tests.ui.records import JOB, graph_of, key_of, report_of

from minispark.clock import monotonic_s, wall_s
from minispark.master import MasterConfig, Service, create_app
from minispark.master.book import LiveJob
from minispark.master.parts import Identity
from minispark.master.rows import Registration
from minispark.observe.journal import Journal
from minispark.observe.record import JobRecord
from minispark.settings import DoorSettings
from minispark.tokens import Level
from minispark.wire.doorstep import server_options

TASKS, WORKERS, SLOTS = 10_000, 200, 2
INTERACTIVE_S = 2.0
STORY_S = 5.0
"""All of 10,000 steps told at once, for who jumps to the end first."""
FRAME_MS = 100.0
"""Six frames: what is slower than that is felt."""


def patience() -> float:
    """How much longer anything takes on this machine now: tests share it with who knows what."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def large_record() -> JobRecord:
    """A job that is nearly done with its first stage; some tasks still run."""
    dice, now = random.Random(1), wall_s()
    record = JobRecord(JOB, "large", graph_of(tasks=TASKS), now - 43)
    free = [(now - 43, f"worker-{number:03d}") for number in range(WORKERS)] * SLOTS
    for number in range(TASKS):
        place = number % len(free)
        began, worker = free[place]
        key, took_s = key_of(0, number), dice.uniform(0.5, 3.0)
        record.launched(key, worker, began)
        ended = began + took_s
        if ended > now:
            continue
        record.succeeded(report_of(key, rows=dice.randrange(1_000), took_s=took_s), worker, ended)
        free[place] = (ended, worker)
    return record


def write_story(journal: Journal) -> None:
    """Put into a journal that such a job came, and how each of its tasks ended."""
    job = {"job": JOB, "stages": [{"id": 0, "branches": [{"partitions": TASKS, "inputs": []}]}]}
    launches = [
        ["launch_task", f"worker-{n % WORKERS:03d}", f"{JOB}.0.0.{n}.0"] for n in range(400)
    ]
    journal.start(lambda _number: None)
    journal.event("job_submitted", {"job": job}, job=JOB, at=0.0, commands=launches)
    for number in range(TASKS):
        report = {
            "key": key_of(0, number)._asdict(),
            "block": {"partitions": [{"rows": number}]},
            "duration_s": 1.0,
        }
        worker = f"worker-{number % WORKERS:03d}"
        payload = {"worker": worker, "counted": True, "report": report}
        following = min(number + 400, TASKS - 1)
        launch = [["launch_task", worker, f"{JOB}.0.0.{following}.0"]]
        journal.event("task_succeeded", payload, job=JOB, at=1.0, commands=launch)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A master that has such a job: its URL, and a link that logs in."""
    folder = tmp_path_factory.mktemp("scale")
    journal = Journal(folder / "journal.db")
    config = MasterConfig(state_dir=folder, token="the-secret-of-this-test")  # noqa: S106
    service = Service(config, journal, Identity("c", 1))
    write_story(journal)
    for number in range(WORKERS):
        name = f"worker-{number:03d}"
        known = Registration(
            worker=name, epoch=1, slots=SLOTS, url=f"http://{name}:1", host=name, directory="/x"
        )
        entry = service.parts.registry.register(known, now=monotonic_s())
        entry.metrics = {"cpu_percent": 50.0, "memory_bytes": 1e9}
    for _ in range(60):
        service.load.sample()
    service.parts.book.add(LiveJob(large_record()))
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(service), **server_options(DoorSettings())))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        yield url, url + service.logins.link(Level.ROOT)
    finally:
        server.should_exit = True
        service.parts.book.close()
        thread.join(30)
        journal.close()


def test_ten_thousand_tasks_on_two_hundred_workers(eyes: Eyes, busy: tuple[str, str]) -> None:
    page, (url, link) = eyes.page, busy
    page.goto(link)
    page.goto(f"{url}/jobs/{JOB}")
    eyes.ready()
    # The browser's own clock: from the call of the page until all modules are done.
    took_s = int(page.locator("html").get_attribute("data-ready") or 0) / 1000
    expect(page.locator("#headline")).to_contain_text("Stage 1 of 2")
    page.locator("#lanes canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "+", "+", "Shift+ArrowRight", "-", "0"):
        page.keyboard.press(key)
    expect(page.locator("#task-detail")).to_contain_text("worker-")
    frames = page.evaluate(
        """async () => {
            const canvas = document.querySelector("#lanes canvas"), times = [];
            for (let step = 0; step < 21; step += 1) {
                const started = performance.now();
                canvas.dispatchEvent(new KeyboardEvent("keydown", {key: step % 2 ? "-" : "+"}));
                await new Promise(requestAnimationFrame);
                times.push(performance.now() - started);
            }
            return times.sort((a, b) => a - b);
        }"""
    )
    eyes.picture("ten-thousand-tasks")
    page.locator("#story").scroll_into_view_if_needed()
    expect(page.locator("#story")).to_contain_text(f"Step 1 of {TASKS + 1},")
    page.locator("#story-slider").focus()
    pressed = monotonic_s()
    page.keyboard.press("End")
    expect(page.locator("#story")).to_contain_text(f"Step {TASKS + 1} of {TASKS + 1},")
    story_s = monotonic_s() - pressed
    expect(page.locator("#story-step h3")).to_contain_text(f"ended task {TASKS - 1} of stage 0")
    page.locator("#story-back").click()
    expect(page.locator("#story-step h3")).to_contain_text(f"ended task {TASKS - 2} of stage 0")
    page.goto(f"{url}/workers")
    expect(page.locator("#workers tbody tr")).to_have_count(WORKERS)
    workers_s = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") / 1000
    measured = (
        f"job page {took_s:.2f} s, zoom {frames[10]:.0f} ms, workers page {workers_s:.2f} s, "
        f"end of the story {story_s:.2f} s, load {os.getloadavg()[0]:.1f}"
    )
    assert story_s < STORY_S * patience(), measured
    assert took_s < INTERACTIVE_S * patience(), measured
    assert workers_s < INTERACTIVE_S * patience(), measured
    assert frames[10] < FRAME_MS * patience(), measured
