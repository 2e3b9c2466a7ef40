"""Takes the picture of a job's page that the README shows: a word count on a real local cluster.

    python scripts/screenshot.py [docs/job-page.jpg]

Needs Chromium (scripts/install-browser.sh) and what the tests need.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from minispark.cli.datasets import write_lines
from minispark.cli.json_jobs import wordcount_job
from minispark.client.local_cluster import LocalCluster

TARGET = Path(__file__).parents[1] / "docs" / "job-page.jpg"
LINES = 300_000
MOST_BYTES = 150_000


def main(target: Path) -> None:
    """Run the job, open its page, keep what is seen."""
    browser_path = shutil.which("chromium") or sys.exit("see scripts/install-browser.sh")
    with TemporaryDirectory() as folder, LocalCluster(2, threads=2, start_timeout_s=120) as cluster:
        path = Path(folder) / "lines.csv"
        write_lines(path, lines=LINES, seed=1)
        job = wordcount_job(str(path)) | {"parallelism": 12}
        job_id = cluster.client.submit_json(job)
        cluster.client.wait(job_id)
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox", "--disable-quic"]
            )
            page = chromium.new_page(viewport={"width": 1200, "height": 1120})
            page.goto(cluster.client.login_link(f"/jobs/{job_id}"))
            page.wait_for_selector("html[data-ready]")
            page.screenshot(path=target, type="jpeg", quality=72)
            chromium.close()
    size = target.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{target} has {size} bytes; more than {MOST_BYTES} are too many for a README")
    print(f"{target}: {size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
