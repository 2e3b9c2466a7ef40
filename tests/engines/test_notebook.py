"""In a real Jupyter kernel: one line a query, and reprs that run nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from minispark.errors import ErrorInfo
from minispark.observe.views import JobView
from minispark.scheduler.commands import JobStatus

DEADLINE_S = 90.0
SETUP = """
import os
import polars as pl, minispark as ms
frame = pl.LazyFrame({"word": ["a", "b", "a"] * 1000})
query = frame.group_by("word").len().sort("word")
engine = ms.Engine(processes=True, parallelism=2)
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=DEADLINE_S)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(kernel: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Run a cell; return what it had the front end show."""
    shown: list[dict[str, Any]] = []
    reply = kernel.execute_interactive(
        code, timeout=DEADLINE_S, output_hook=shown.append, store_history=True
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    ignored = ("status", "execute_input")
    return [message for message in shown if message["header"]["msg_type"] not in ignored]


@pytest.mark.process
def test_a_query_shows_one_line_and_leaves_a_summary(kernel: BlockingKernelClient) -> None:
    run(kernel, SETUP)
    shown = run(kernel, "result = query.collect(engine=engine)")
    kinds = [message["header"]["msg_type"] for message in shown]
    assert kinds.count("display_data") == 1
    ids = {message["content"]["transient"]["display_id"] for message in shown}
    assert len(ids) == 1
    last = shown[-1]["content"]["data"]["text/html"]
    assert "rows" in last
    assert "1 stage" in last
    assert run(kernel, "result.rows()")[-1]["content"]["data"]["text/plain"] == (
        "[('a', 2000), ('b', 1000)]"
    )


@pytest.mark.process
def test_a_query_that_fails_leaves_no_bar(kernel: BlockingKernelClient) -> None:
    run(kernel, SETUP)
    shown = run(
        kernel,
        "def boom(frame):\n    raise ValueError('boom')\n"
        "try:\n    frame.map_batches(boom).collect(engine=engine)\n"
        "except ms.JobFailedError as error:\n    print(error.info.message)",
    )
    drawn = [m["content"]["data"]["text/html"] for m in shown if "data" in m["content"]]
    assert not drawn or drawn[-1] == ""
    assert "boom" in "".join(m["content"].get("text", "") for m in shown)


@pytest.mark.process
def test_what_is_looked_at_runs_nothing(kernel: BlockingKernelClient) -> None:
    run(kernel, SETUP)
    (engine,) = run(kernel, "ms.Engine()")
    assert "embedded" in engine["content"]["data"]["text/html"]
    (plan,) = run(kernel, "engine.explain(query)")
    data = plan["content"]["data"]
    assert data["text/html"].startswith("<div><svg")
    assert "Physical plan" in data["text/plain"]
    (away,) = run(kernel, "ms.Engine('http://127.0.0.1:1', token='t')")
    assert "no master answers" in away["content"]["data"]["text/html"]


def test_a_job_is_text_in_a_card() -> None:
    error = ErrorInfo("MS-201", "<img src=x onerror=alert(1)>", hint="</pre>", detail="</pre><b>")
    view = JobView(
        job_id="job-1",
        name="<b>",
        status=JobStatus.FAILED,
        progress=50,
        error=error,
        submitted_at=0,
    )
    card = view._repr_html_()
    for markup in ("<img", "<b></b>", "</pre><b>"):
        assert markup not in card
    assert "&lt;img src=x onerror=alert(1)&gt;" in card
    assert "50 %" in card
