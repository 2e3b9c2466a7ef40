"""Makes the picture of the tour in the README: a terminal and the page of the job that it ran.

    python scripts/tour_picture.py [docs/tour.jpg]

All of it is real: a local cluster, the commands and what they print, the page in Chromium. Needs
Chromium (scripts/install-browser.sh) and what the tests need.
"""

from __future__ import annotations

import base64
import html
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from minispark.client.local_cluster import LocalCluster

TARGET = Path(__file__).parents[1] / "docs" / "tour.jpg"
MOST_BYTES = 400_000
WIDTH = 1000
PAGE: ViewportSize = {"width": 1200, "height": 1180}
COLUMNS = "92"
STYLE = """
body { margin: 0; padding: 20px; background: #e8e6e1; }
pre, img { display: block; width: 100%; box-sizing: border-box; border-radius: 8px;
           box-shadow: 0 2px 10px #0004; }
pre { margin: 0 0 20px; padding: 16px 20px; background: #1d2127; color: #d8dee6;
      font: 14px/1.35 "DejaVu Sans Mono", monospace; }
b { color: #8fd18b; font-weight: normal; }
i { color: #fff; font-style: normal; font-weight: bold; }
"""


class Terminal:
    """Runs commands, and keeps what a reader of the terminal sees."""

    def __init__(self, cluster: LocalCluster, directory: Path) -> None:
        self._directory = directory
        self._environment = {
            **os.environ,
            "COLUMNS": COLUMNS,
            "MINISPARK_MASTER": cluster.url,
            "MINISPARK_TOKEN": cluster.token,
        }
        self.shown: list[str] = []

    def run(self, line: str) -> str:
        """Run a ``minispark`` command; return and keep its standard output."""
        printed = subprocess.run(  # noqa: S602
            line.replace("minispark", f"{sys.executable} -m minispark", 1),
            shell=True,
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        rows = [row.rstrip() for row in printed.splitlines() if row.strip()]
        self.shown.append(
            f"<b>$</b> <i>{html.escape(line)}</i>\n{html.escape(chr(10).join(rows))}\n"
        )
        return printed


def picture_of_page(browser: Browser, link: str) -> bytes:
    """Return the top of the page of a job, as a browser shows it."""
    page = browser.new_page(viewport=PAGE)
    page.goto(link)
    page.wait_for_selector("html[data-ready]")
    return page.screenshot(type="png")


def main(target: Path) -> None:
    """Run the commands, open the page, keep what is seen."""
    browser_path = shutil.which("chromium") or sys.exit("see scripts/install-browser.sh")
    with (
        TemporaryDirectory() as folder,
        LocalCluster(2, threads=1, start_timeout_s=120, data_root=Path(folder)) as cluster,
        sync_playwright() as playwright,
    ):
        terminal = Terminal(cluster, Path(folder))
        terminal.run("minispark data 1m")
        job = terminal.run("minispark submit --input data/benchmark_1m.csv --parallelism 6").strip()
        cluster.client.wait(job)
        terminal.run(f"minispark results {job} --format csv | head -n 4")
        terminal.run(f"minispark verify {job}")
        terminal.run(f"minispark predict {job} --workers 8")
        chromium = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-quic"]
        )
        image = picture_of_page(chromium, cluster.client.login_link(f"/jobs/{job}"))
        page = chromium.new_page(viewport={"width": WIDTH + 40, "height": 100})
        page.set_content(
            f"<style>{STYLE}</style><pre>{chr(10).join(terminal.shown)}</pre>"
            f'<img src="data:image/png;base64,{base64.b64encode(image).decode()}">'
        )
        page.screenshot(path=target, type="jpeg", quality=75, full_page=True)
        chromium.close()
    size = target.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{target} has {size} bytes; more than {MOST_BYTES} are too many for a README")
    print(f"{target}: {size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
