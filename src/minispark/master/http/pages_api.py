"""The pages of the master, what logs a browser in, and what tells it that something changed.

A page is rendered from the documents that programs get as well. Live is: the pulse says that there
is news, the page is fetched again, and the browser puts the parts that differ in their place.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

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
from minispark.journal.cluster_event import About
from minispark.master.control.registry import WorkerSession
from minispark.master.control.service import Service
from minispark.master.http.http_errors import RefusedError
from minispark.master.http.models import ERRORS, ErrorAnswer
from minispark.observe.why import Advice
from minispark.tokens import Level
from minispark.ui import ASSETS, VERSION, JobPage, Pages, PageViewer, StoryDocument, Timeline
from minispark.wire.cookies import CookieKey
from minispark.wire.guard import level_of_request

_PAGE = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cache-Control": "no-store",
}
_KEEP = {"Cache-Control": "private, max-age=31536000, immutable"}
_STREAM = "text/event-stream"
_PACE_S = 0.5
"""Least time between two pulses: faster nobody reads."""
_QUIET_S = 2.0
"""A pulse comes at least so often: load changes without any event."""
Number = Annotated[int, Query(ge=1, le=2**62)]
_JOBS = 50
_EVENTS = 200

_EXAMPLE = json.dumps(
    {
        "name": "wordcount",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_csv", "path": "data/benchmark_1m.csv"},
                {"id": "words", "op": "flat_map", "fn": "tokenize"},
                {"id": "lower", "op": "map", "fn": "to_lower"},
                {"id": "counts", "op": "reduce_by_key", "key": "token", "fn": "sum"},
            ],
            "edges": [["read", "words"], ["words", "lower"], ["lower", "counts"]],
        },
        "parallelism": 4,
    },
    indent=2,
)


class LinkWanted(BaseModel):
    """Where a link should lead."""

    next: str = "/"


class AdviceList(BaseModel):
    """What stands out in a job, and the changes to make."""

    job_id: str
    why: list[Advice]


class LoginLink(BaseModel):
    """A path that logs a browser in, once."""

    path: str


def is_page(request: Request) -> bool:
    """Whether somebody wants to read the answer as a page."""
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
        found = ASSETS.get(name)
        if found is None or version != VERSION:
            raise RefusedError(404, ErrorInfo("MS-404", "there is no such file"))
        return Response(found.body, media_type=found.media_type, headers=_KEEP)

    return routes


def _add_login(routes: APIRouter, service: Service, pages: Pages, cookies: CookieKey) -> None:
    @routes.post(
        "/api/v1/login-links", response_model=LoginLink, responses={400: {"model": ErrorAnswer}}
    )
    async def login_link(request: Request, wanted: LinkWanted) -> Response:
        """Make a link that logs a browser in, once, with the rights of this request's token."""
        level = level_of_request(request.scope) or Level.VIEW
        link = LoginLink(path=service.logins.link(level, wanted.next))
        headers = {"Cache-Control": "no-store"}
        return Response(link.model_dump_json(), media_type="application/json", headers=headers)

    @routes.get("/login", include_in_schema=False)
    async def login(code: str = "") -> Response:
        found = service.logins.open(code)
        if found is None:
            status = 401 if code else 200
            hint = "Ask for another one."
            info = ErrorInfo("MS-620", "This link has been used, or is too old", hint=hint)
            text = pages.refused(401, info if code else ErrorInfo("MS-601", "this needs a login"))
            return HTMLResponse(text, status, headers=_PAGE)
        headers = {"Set-Cookie": cookies.set_cookie(found.level), "Cache-Control": "no-store"}
        return RedirectResponse(found.next, 303, headers=headers)

    @routes.post("/logout", include_in_schema=False)
    async def logout() -> Response:
        return RedirectResponse("/login", 303, headers={"Set-Cookie": cookies.drop_cookie()})


def _add_documents(routes: APIRouter, service: Service) -> None:
    @routes.get("/api/v1/jobs/{job_id}/sheet", response_model=JobPage)
    async def sheet(job_id: str) -> Response:
        """Show all that the page of a job shows: plan, figures, advice, errors."""
        return _document(await service.sheets.sheet(job_id))

    @routes.get("/api/v1/jobs/{job_id}/timeline", response_model=Timeline)
    async def timeline(job_id: str) -> Response:
        """Show every attempt of a job, laid into lanes of workers and slots."""
        return _document(await service.sheets.timeline(job_id))

    @routes.get("/api/v1/jobs/{job_id}/story", response_model=StoryDocument)
    async def story(
        job_id: str, step: Number = 1, seq: Annotated[int | None, Query(ge=0, le=2**62)] = None
    ) -> Response:
        """Return a job step by step: what happened, what was decided and why, how far it was.

        A page of it: the one with a step, by its number or by the number of its event.
        """
        return _document(await service.sheets.stories.page(job_id, step=step, seq=seq))

    @routes.get("/api/v1/jobs/{job_id}/why", response_model=AdviceList)
    async def why(job_id: str) -> Response:
        """Say why a job was not faster, and what to change."""
        sheet = await service.sheets.sheet(job_id)
        return _document(AdviceList(job_id=job_id, why=sheet.advice))


def _add_pages(routes: APIRouter, service: Service, pages: Pages) -> None:
    book, registry = service.components.jobs, service.components.registry

    def show(request: Request, template: str, **values: Any) -> Response:
        reader = PageViewer(level_of_request(request.scope))
        return HTMLResponse(pages.render(template, reader, **values), headers=_PAGE)

    @routes.get("/", include_in_schema=False)
    async def jobs_page(request: Request, after: str | None = None) -> Response:
        ids = book.ids()
        if after is not None:
            book.outcome(after)
            ids = ids[ids.index(after) + 1 :]
        return show(
            request,
            "jobs.html",
            jobs=[book.view(job) for job in ids[:_JOBS]],
            after=ids[_JOBS - 1] if len(ids) > _JOBS else None,
            now=wall_s(),
            trouble=service.components.loop.trouble,
            **_load(registry.all()),
        )

    @routes.get("/workers", include_in_schema=False)
    async def workers_page(request: Request) -> Response:
        entries = registry.all()
        rows = [_worker(service, entry) for entry in entries]
        return show(request, "workers.html", workers=rows, **_load(entries))

    @routes.get("/events", include_in_schema=False)
    async def news_page(
        request: Request,
        about: About | None = None,
        after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> Response:
        page = await service.history.news(about=about, after=after, limit=_EVENTS)
        return show(request, "news.html", page=page, about=about or "", after=after)

    @routes.get("/submit", include_in_schema=False)
    async def submit_page(request: Request) -> Response:
        return show(request, "submit.html", example=_EXAMPLE)

    @routes.get("/jobs/{job_id}", include_in_schema=False)
    async def job_page(request: Request, job_id: str) -> Response:
        return show(request, "job.html", page=await service.sheets.sheet(job_id))

    @routes.get("/jobs/{job_id}/events", include_in_schema=False)
    async def events_page(
        request: Request, job_id: str, after: Annotated[int, Query(ge=0, le=2**62)] = 0
    ) -> Response:
        page = await service.history.events(job_id, limit=_EVENTS + 1, after=after)
        more = page[_EVENTS - 1].seq if len(page) > _EVENTS else None
        rows = [(event, json.dumps(event.payload, ensure_ascii=False)) for event in page[:_EVENTS]]
        return show(request, "events.html", job=book.view(job_id), events=rows, after=more)


def _add_pulse(routes: APIRouter, service: Service) -> None:
    book = service.components.jobs

    @routes.get("/api/v1/pulse", responses={200: {"content": {_STREAM: {}}}})
    async def pulse(request: Request, job: str | None = None) -> Response:
        """Say where things stand; `Accept: text/event-stream` says it at each change.

        Of one job, or of all.
        """
        if job is not None:
            book.outcome(job)
        if _STREAM not in request.headers.get("accept", ""):
            return JSONResponse({"turn": book.change_count} if job is None else _news(service, job))
        beats = _job_beats(service, job) if job is not None else _beats(service)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(beats, media_type=_STREAM, headers=headers)


async def _job_beats(service: Service, job: str) -> AsyncIterator[str]:
    book = service.components.jobs
    while not book.closed:
        news = _news(service, job)
        yield _beat(**news)
        if news["ended"]:
            return
        await book.wait(job, seen=news["version"], wait_s=_QUIET_S)
        await asyncio.sleep(_PACE_S)


async def _beats(service: Service) -> AsyncIterator[str]:
    book, turn = service.components.jobs, -1
    while not book.closed:
        turn = await book.any_change(seen=turn, wait_s=_QUIET_S)
        yield _beat(turn=turn)
        await asyncio.sleep(_PACE_S)


def _news(service: Service, job: str) -> dict[str, Any]:
    book = service.components.jobs
    return {"version": book.view(job).version, "ended": book.outcome(job) is not None}


def _beat(**news: object) -> str:
    return f"data: {json.dumps(news)}\n\n"


def _document(model: BaseModel) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(model.model_dump_json(), media_type="application/json", headers=headers)


def _load(entries: list[WorkerSession]) -> dict[str, int]:
    present = [entry for entry in entries if entry.status != "DOWN"]
    return {
        "up": len(present),
        "down": len(entries) - len(present),
        "slots": sum(entry.slots for entry in present),
        "busy": sum(min(len(entry.leased), entry.slots) for entry in present),
    }


def _worker(service: Service, entry: WorkerSession) -> dict[str, Any]:
    live = service.components.jobs.live
    cpu, memory = service.load.of(entry.worker_id)
    return {
        "entry": entry,
        "cpu": cpu,
        "memory": memory,
        "memory_top": max(memory, default=0.0) * 1.25,
        "age_s": max(0.0, monotonic_s() - entry.seen_at),
        "tasks": [
            (key, live[key.job].record.name if key.job in live else "")
            for key in sorted(entry.leased)
        ],
    }
