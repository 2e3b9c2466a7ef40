"""In a real Jupyter kernel: one line a query, and reprs that run nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from minispark.client.local_cluster import LocalCluster
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


@dataclass(frozen=True)
class Kernel:
    manager: KernelManager
    client: BlockingKernelClient


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster without workers: its jobs wait."""
    with LocalCluster(0, directory=tmp_path_factory.mktemp("idle")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=DEADLINE_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(kernel: Kernel, code: str) -> list[dict[str, Any]]:
    """Run a cell; return what it had the front end show."""
    shown: list[dict[str, Any]] = []
    reply = kernel.client.execute_interactive(
        code, timeout=DEADLINE_S, output_hook=shown.append, store_history=True
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    ignored = ("status", "execute_input")
    return [message for message in shown if message["header"]["msg_type"] not in ignored]


def plain(lines: list[str]) -> str:
    """Return a traceback without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@pytest.mark.process
def test_a_query_shows_one_line_and_leaves_a_summary(kernel: Kernel) -> None:
    run(kernel, SETUP)
    shown = run(kernel, "result = query.collect(engine=engine)")
    kinds = [message["header"]["msg_type"] for message in shown]
    assert kinds.count("display_data") == 1
    ids = {message["content"]["transient"]["display_id"] for message in shown}
    assert len(ids) == 1
    last = shown[-1]["content"]["data"]["text/html"]
    assert "rows" in last
    assert "3 stages" in last
    assert run(kernel, "result.rows()")[-1]["content"]["data"]["text/plain"] == (
        "[('a', 2000), ('b', 1000)]"
    )


@pytest.mark.process
def test_a_query_that_fails_says_so_and_shows_the_calls_of_the_user(kernel: Kernel) -> None:
    run(kernel, SETUP)
    shown: list[dict[str, Any]] = []
    reply = kernel.client.execute_interactive(
        "def boom(frame):\n    raise ValueError('boom')\n"
        "def mine():\n    return frame.map_batches(boom).collect(engine=engine)\n"
        "mine()",
        timeout=DEADLINE_S,
        output_hook=shown.append,
    )
    drawn = [m["content"]["data"]["text/html"] for m in shown if "data" in m["content"]]
    assert "failed (MS-212) after" in drawn[-1]
    text = plain(reply["content"]["traceback"])
    assert text.count("Cell In[") == 2
    assert "site-packages" not in text
    assert "src/minispark" not in text
    assert text.splitlines()[-1].startswith("MS-212, stage-1, job job-")


@pytest.mark.process
def test_an_interrupt_cancels_the_job_in_a_few_lines(kernel: Kernel, idle: LocalCluster) -> None:
    run(kernel, SETUP)
    run(kernel, f"away = ms.Engine({idle.url!r}, token={idle.token!r}).named('daily <sales>')")
    request = kernel.client.execute("query.collect(engine=away)")
    waiting, drawn = False, [""]
    while drawn[-1].find(" is CANCELLED after ") < 0:
        message = kernel.client.get_iopub_msg(timeout=DEADLINE_S)
        if "data" in message["content"]:
            drawn.append(message["content"]["data"]["text/html"])
        if not waiting and "waiting for workers" in drawn[-1]:
            waiting = True
            kernel.manager.interrupt_kernel()
    (job,) = idle.client.jobs()
    assert (job.status, job.name) == ("CANCELLED", "daily <sales>")
    assert f'<a href="{idle.url}/jobs/{job.job_id}"' in drawn[-1]
    reply = kernel.client.get_shell_msg(timeout=DEADLINE_S)
    assert reply["parent_header"]["msg_id"] == request
    text = plain(reply["content"]["traceback"])
    assert text.splitlines()[-2:] == [
        f"KeyboardInterrupt: job {job.job_id} is CANCELLED",
        f"see {idle.url}/jobs/{job.job_id}",
    ]
    assert len(text.splitlines()) < 12


@pytest.mark.process
def test_what_is_looked_at_runs_nothing(kernel: Kernel) -> None:
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
