"""The web pages of the master, the login of a browser, and the stream that announces changes.

A page is rendered from the same documents that programs get. It stays live by the pulse: when that
announces a change, the browser fetches the page again and replaces the parts that differ.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import BaseModel

from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo
from minispark.journal.cluster_event import About, EventQuery, words_of
from minispark.master.control.registry import WorkerSession
from minispark.master.control.service import Service
from minispark.master.http.api import NO_STORE, STREAM, answer
from minispark.master.http.list_queries import JobQuery, Search, TaskQuery
from minispark.master.http.models import ERRORS, ErrorAnswer
from minispark.master.views.worker_logs import LogLevel
from minispark.observe.cluster_load import thin
from minispark.observe.why import Advice
from minispark.tokens import Level
from minispark.ui import (
    ASSETS,
    VERSION,
    JobPage,
    ListView,
    Pages,
    PageViewer,
    StoryDocument,
    Timeline,
    compare_jobs,
    task_stream_of,
)
from minispark.wire.cookies import CookieKey
from minispark.wire.guard import level_of_request
from minispark.wire.http import RefusedError

_PAGE = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    **NO_STORE,
}
_CACHE = {"Cache-Control": "private, max-age=31536000, immutable"}
_MIN_INTERVAL_S = 0.5
"""Shortest time between two pulses: no reader follows faster changes."""
_MAX_INTERVAL_S = 2.0
"""Longest time between two pulses: load changes without any event."""
Number = Annotated[int, Query(ge=1, le=2**62)]
_EVENTS = 200


class LinkWanted(BaseModel):
    """The page that a login link leads to."""

    next: str = "/"


class AdviceList(BaseModel):
    """Reasons why a job was not faster, and what to change."""

    job_id: str
    why: list[Advice]


class LoginLink(BaseModel):
    """A path that logs a browser in, once."""

    path: str
    server: str | None = None
    """Address of the master for browsers, if it was started with one (``--public-url``)."""


def is_page(request: Request) -> bool:
    """Whether the answer should be a page for people."""
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith("/api/")


def web_routes(service: Service, pages: Pages, cookies: CookieKey) -> APIRouter:
    """Build the routes for browsers."""
    routes = APIRouter(responses=ERRORS)
    _add_login(routes, service, pages, cookies)
    _add_documents(routes, service)
    _add_pages(routes, service, pages)
    _add_pulse(routes, service)

    @routes.get("/assets/{version}/{name:path}", include_in_schema=False)
    async def asset(version: str, name: str) -> Response:
        file = ASSETS.get(name)
        if file is None or version != VERSION:
            raise RefusedError(404, ErrorInfo("MS-404", "there is no such file"))
        return Response(file.body, media_type=file.media_type, headers=_CACHE)

    return routes


def _add_login(routes: APIRouter, service: Service, pages: Pages, cookies: CookieKey) -> None:
    @routes.post(
        "/api/v1/login-links", response_model=LoginLink, responses={400: {"model": ErrorAnswer}}
    )
    async def login_link(request: Request, wanted: LinkWanted) -> Response:
        """Make a link that logs a browser in, once, with the rights of this request's token."""
        level = level_of_request(request.scope) or Level.VIEW
        path = service.logins.link(level, wanted.next)
        link = LoginLink(path=path, server=service.config.public_url)
        return answer(link, headers=NO_STORE)

    @routes.get("/login", include_in_schema=False)
    async def login(code: str = "") -> Response:
        entry = service.logins.open(code)
        if entry is None:
            status = 401 if code else 200
            hint = "Get another one with: minispark ui --print"
            info = ErrorInfo("MS-620", "This link was already used, or has expired", hint=hint)
            text = pages.refused(401, info if code else ErrorInfo("MS-601", "login required"))
            return HTMLResponse(text, status, headers=_PAGE)
        headers = {"Set-Cookie": cookies.set_cookie(entry.level), **NO_STORE}
        return RedirectResponse(entry.next, 303, headers=headers)

    @routes.post("/logout", include_in_schema=False)
    async def logout() -> Response:
        return RedirectResponse("/login", 303, headers={"Set-Cookie": cookies.drop_cookie()})


def _add_documents(routes: APIRouter, service: Service) -> None:
    pages = service.job_pages

    @routes.get("/api/v1/jobs/{job_id}/sheet", response_model=JobPage)
    async def sheet(job_id: str) -> Response:
        """Show everything on the page of a job: plan, metrics, advice, errors."""
        return answer(await pages.page(job_id), headers=NO_STORE)

    @routes.get("/api/v1/jobs/{job_id}/timeline", response_model=Timeline)
    async def timeline(job_id: str) -> Response:
        """Show every attempt of a job, in lanes of workers and slots."""
        return answer(await pages.timeline(job_id), headers=NO_STORE)

    @routes.get("/api/v1/jobs/{job_id}/story", response_model=StoryDocument)
    async def story(
        job_id: str, step: Number = 1, seq: Annotated[int | None, Query(ge=0, le=2**62)] = None
    ) -> Response:
        """Explain a job step by step: what happened, what was decided and why, how far it was.

        The answer is the page that has `step`, or the step of the event `seq`.
        """
        return answer(await pages.explanations.page(job_id, step=step, seq=seq), headers=NO_STORE)

    @routes.get("/api/v1/jobs/{job_id}/why", response_model=AdviceList)
    async def why(job_id: str) -> Response:
        """Show why a job was not faster, and what to change."""
        page = await pages.page(job_id)
        return answer(AdviceList(job_id=job_id, why=page.advice), headers=NO_STORE)


def _add_pages(routes: APIRouter, service: Service, pages: Pages) -> None:
    store, registry = service.components.jobs, service.components.registry

    def show(request: Request, template: str, **values: Any) -> Response:
        reader = PageViewer(level_of_request(request.scope))
        return HTMLResponse(pages.render(template, reader, **values), headers=_PAGE)

    _add_cluster_pages(routes, service, show)

    @routes.get("/", include_in_schema=False)
    async def jobs_page(request: Request, query: JobQuery) -> Response:
        return show(
            request,
            "jobs.html",
            page=ListView.of("/", query, store.page(query)),
            now=wall_s(),
            trouble=service.components.loop.trouble,
            **_load(registry.all()),
        )

    @routes.get("/events", include_in_schema=False)
    async def news_page(
        request: Request,
        about: About | Literal[""] = "",
        after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        q: Search = "",
    ) -> Response:
        query = EventQuery(about=None if about == "" else about, before=after, words=words_of(q))
        page = await service.history.news(query, limit=_EVENTS)
        return show(request, "news.html", page=page, about=about, after=after, q=q)

    @routes.get("/compare", include_in_schema=False)
    async def compare_page(request: Request, a: str = "", b: str = "") -> Response:
        page = None
        if a and b:
            one, other = [await service.job_pages.page(job) for job in (a, b)]
            page = await asyncio.to_thread(compare_jobs, one, other)
        return show(request, "compare.html", page=page, a=a, b=b)

    @routes.get("/submit", include_in_schema=False)
    async def submit_page(request: Request) -> Response:
        return show(request, "submit.html")

    @routes.get("/jobs/{job_id}", include_in_schema=False)
    async def job_page(request: Request, job_id: str) -> Response:
        return show(request, "job.html", page=await service.job_pages.page(job_id))

    @routes.get("/jobs/{job_id}/tasks", include_in_schema=False)
    async def tasks_page(request: Request, job_id: str, query: TaskQuery) -> Response:
        job = store.view(job_id)
        rows = await service.history.tasks(job_id, query)
        page = ListView.of(f"/jobs/{job_id}/tasks", query, rows)
        names = {stage.id: stage.name for stage in job.stages}
        return show(request, "tasks.html", job=job, page=page, names=names)

    @routes.get("/jobs/{job_id}/events", include_in_schema=False)
    async def events_page(
        request: Request, job_id: str, after: Annotated[int, Query(ge=0, le=2**62)] = 0
    ) -> Response:
        page = await service.history.events(job_id, limit=_EVENTS, after=after)
        rows = [(event, json.dumps(event.payload, ensure_ascii=False)) for event in page.events]
        job = store.view(job_id)
        return show(request, "events.html", job=job, events=rows, after=page.after)


def _add_cluster_pages(routes: APIRouter, service: Service, show: Callable[..., Response]) -> None:
    registry = service.components.registry

    @routes.get("/workers", include_in_schema=False)
    async def workers_page(
        request: Request, log: str | None = None, level: LogLevel = "info"
    ) -> Response:
        sessions = registry.all()
        rows = [_worker(service, session) for session in sessions]
        panel = None
        # A token that does not read logs by the API sees none here.
        if PageViewer(level_of_request(request.scope)).may_submit and sessions:
            panel = await service.worker_logs.panel(log, level=level)
        return show(request, "workers.html", workers=rows, log=panel, **_load(sessions))

    @routes.get("/load", include_in_schema=False)
    async def load_page(request: Request) -> Response:
        sessions = registry.all()
        attempts, names = service.recent_attempts.all()
        slots = {session.worker_id: session.slots for session in sessions}
        stream = task_stream_of(attempts, names=names, slots=slots, now=wall_s())
        minutes = thin(service.load_history.cluster.minutes())
        return show(request, "load.html", stream=stream, minutes=minutes, **_load(sessions))


def _add_pulse(routes: APIRouter, service: Service) -> None:
    store = service.components.jobs

    @routes.get("/api/v1/pulse", responses={200: {"content": {STREAM: {}}}})
    async def pulse(request: Request, job: str | None = None) -> Response:
        """Show the version of one job or of all; `Accept: text/event-stream` sends each change."""
        if job is not None:
            store.outcome(job)
        if STREAM not in request.headers.get("accept", ""):
            return JSONResponse(
                {"turn": store.change_count} if job is None else _job_version(service, job)
            )
        beats = _job_beats(service, job) if job is not None else _beats(service)
        return StreamingResponse(beats, media_type=STREAM, headers=NO_STORE)


async def _job_beats(service: Service, job: str) -> AsyncIterator[str]:
    store = service.components.jobs
    while not store.closed:
        state = _job_version(service, job)
        yield _beat(**state)
        if state["ended"]:
            return
        await store.wait(job, seen=state["version"], wait_s=_MAX_INTERVAL_S)
        await asyncio.sleep(_MIN_INTERVAL_S)


async def _beats(service: Service) -> AsyncIterator[str]:
    store, turn = service.components.jobs, -1
    while not store.closed:
        turn = await store.any_change(seen=turn, wait_s=_MAX_INTERVAL_S)
        yield _beat(turn=turn)
        await asyncio.sleep(_MIN_INTERVAL_S)


def _job_version(service: Service, job: str) -> dict[str, Any]:
    store = service.components.jobs
    return {"version": store.view(job).version, "ended": store.outcome(job) is not None}


def _beat(**state: object) -> str:
    return f"data: {json.dumps(state)}\n\n"


def _load(sessions: list[WorkerSession]) -> dict[str, int]:
    present = [session for session in sessions if session.status != "DOWN"]
    return {
        "up": len(present),
        "down": len(sessions) - len(present),
        "slots": sum(session.slots for session in present),
        "busy": sum(min(len(session.leased), session.slots) for session in present),
    }


def _worker(service: Service, session: WorkerSession) -> dict[str, Any]:
    live = service.components.jobs.live
    cpu, memory = service.load_history.of(session.worker_id)
    return {
        "entry": session,
        "cpu": cpu,
        "memory": memory,
        "memory_top": max(memory, default=0.0) * 1.25,
        "age_s": max(0.0, monotonic_s() - session.seen_at),
        "tasks": [
            (key, live[key.job].record.name if key.job in live else "")
            for key in sorted(session.leased)
        ],
    }
