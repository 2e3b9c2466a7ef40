"""A real Chromium, and pictures of what it saw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
DEADLINE_MS = 60_000.0
_ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


def chromium() -> str:
    """Return the path of the browser; without one the tests are skipped, but not in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sentence = "there is no Chromium; install it with scripts/install-browser.sh"
        if os.environ.get("MINISPARK_TEST_BROWSER"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium()
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield running
        running.close()


class Eyes:
    """A page that must not open dialogs, log errors, or send requests to other servers."""

    def __init__(self, page: Page, *, hosts: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("dialog", self._dismiss)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("request", lambda request: self._asked(request.url, hosts))

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append("dialog")
        dialog.dismiss()

    def picture(self, name: str) -> None:
        """Keep what is seen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def ready(self) -> None:
        """Wait until a job page can be used."""
        self.page.wait_for_selector("html[data-ready]")

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _asked(self, url: str, hosts: tuple[str, ...]) -> None:
        if url.startswith("http") and not url.startswith(tuple(f"http://{h}:" for h in hosts)):
            self.faults.append(f"request: {url}")


@pytest.fixture
def eyes(browser: Browser) -> Iterator[Eyes]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(DEADLINE_MS)
    found = Eyes(context.new_page())
    yield found
    context.close()
    assert found.faults == []
