"""Names, errors and logs are text on every page, whatever they look like."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import httpx2
from tests.master.masters import Bench, Client, FakeWorker, two_stages

from minispark.errors import ErrorInfo, TaskError
from minispark.plan.stages import ResultSpec, StageGraph

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"><svg onload='alert(1)'>",
    "javascript:alert(1)",
    "{{ 7 * 191 }}${7*191}",
    "</pre></td></textarea><b>bold</b>",
]
ACTIVE = {"img", "iframe", "object", "embed", "base", "meta http-equiv", "b"}


class Seen(HTMLParser):
    """What a browser would act upon."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wrong = [name for name in given if name.startswith("on") or name == "style"]
        followed = [value or "" for name, value in given.items() if name != "title"]
        wrong += [v for v in followed if v.strip().lower().startswith("javascript:")]
        if tag in ACTIVE or tag == "style" or (tag == "script" and "src" not in given):
            wrong.append(tag)
        self.wrong += [f"<{tag} {attrs}>: {what}" for what in wrong]

    def handle_data(self, data: str) -> None:
        self.shown += data


def hostile_graph(name: str) -> StageGraph:
    first, second = two_stages().stages
    stages = (replace(first, name=name, nodes=(name,)), replace(second, nodes=(f"{name}2",)))
    results = (ResultSpec(f"{name}2", 1, (name, "count")),)
    return StageGraph(stages, results, flow={name: (), f"{name}2": (name,)})


async def failed_job(client: Client, worker: FakeWorker, name: str) -> str:
    """Run a job of which everything has a hostile name, and which fails in the same words."""
    job = await client.submit(hostile_graph(name), name=name)
    error = ErrorInfo(
        "MS-203", name, node=name, field=name, file=name, hint=name, detail=name, row=1
    )
    answer = await worker.poll()
    await worker.report(*(worker.fail(task, TaskError(error)) for task in answer.tasks))
    assert (await client.ended(job))["error"]["message"] == name
    return job


def test_what_a_browser_would_act_upon_is_seen() -> None:
    assert [bool(Seen(name).wrong) for name in HOSTILE] == [True, True, True, False, False, True]
    assert Seen("<a href='javascript:alert(1)'>x</a>").wrong
    assert Seen("<script src=/assets/page.js></script><p class=x>text</p>").wrong == []


def test_text_is_text(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    accept = {"Accept": "text/html"}

    async def story() -> list[tuple[str, str, httpx2.Response]]:
        found = []
        async with bench.master() as client:
            worker = await bench.worker(client)
            for name in HOSTILE:
                job = await failed_job(client, worker, name)
                paths = [
                    f"/jobs/{job}",
                    f"/jobs/{job}/events",
                    "/",
                    "/workers",
                    "/events",
                    "/submit",
                ]
                paths += [f"/{name}", f"/login?code={name}", f"/jobs/{name}"]
                for path in paths:
                    found.append((name, path, await client.http.get(path, headers=accept)))
            async with httpx2.AsyncClient(base_url=client.url, trust_env=False) as anybody:
                for headers in (accept, accept | {"Host": "evil<b>"}):
                    found.append(("", "/", await anybody.get("/", headers=headers)))
            return found

    for name, path, page in asyncio.run(story()):
        assert page.headers["x-content-type-options"] == "nosniff", path
        if not page.headers["content-type"].startswith("text/html"):
            assert page.headers["content-type"] == "application/json", path
            assert page.status_code >= 400, path
            continue
        seen = Seen(page.text)
        assert seen.wrong == [], path
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "1337" not in page.text, path
        if path in ("/", "/events") or path.startswith("/jobs/job-"):
            assert page.status_code in (200, 401, 403), path
            assert name in seen.shown, path
