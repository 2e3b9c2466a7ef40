"""The public routes. `wire.guard` has checked the token of a call before (`route_policy`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from minispark.blocks.fetch import FetchSettings
from minispark.clock import monotonic_s, wall_s
from minispark.errors import ErrorInfo
from minispark.journal.cluster_event import About, EventQuery
from minispark.master.control.service import Service
from minispark.master.http import models
from minispark.master.http.downloads import download
from minispark.master.http.list_queries import JobQuery, TaskQuery
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.jobs.results import FORMATS
from minispark.master.views.state_view import StateView, state_view
from minispark.master.views.worker_logs import LogLevel, WorkerLog
from minispark.observe.cluster import FailuresMetrics, JobsMetrics, SystemMetrics
from minispark.observe.cluster_load import LoadList
from minispark.observe.prometheus import CONTENT_TYPE, cluster_text
from minispark.observe.views import JobMetrics, JobView
from minispark.scheduler.commands import JobStatus
from minispark.tokens import BlockKey, Level
from minispark.wire.guard import caller_of, level_of_request
from minispark.wire.http import RefusedError
from minispark.wire.messages import GraphMessage, JobAccepted
from minispark.wire.origin import user_of

_MAX_WAIT_S = 60.0
STREAM = "text/event-stream"
NO_STORE = {"Cache-Control": "no-store"}
_SEQ_DIGITS = 19
"""SQLite's integers have fewer digits than this."""
_JOB_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
After = Annotated[int, Query(ge=0, le=2**62)]
Wait = Annotated[float, Query(ge=0, le=_MAX_WAIT_S)]
Format = Annotated[Literal["csv", "jsonl", "parquet", "arrow"] | None, Query(alias="format")]


def answer(
    model: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a model, encoded once."""
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


def finished(service: Service, job: str) -> FinishedJob:
    """Return a job that has succeeded.

    Raises
    ------
    RefusedError
        404 there is no such job, 409 it runs, or has not succeeded.
    """
    outcome = service.components.jobs.outcome(job)
    if outcome is None:
        info = ErrorInfo("MS-143", f"{job} has not ended yet", hint="Wait for it to end.")
        raise RefusedError(409, info)
    if outcome.view.status is not JobStatus.SUCCEEDED:
        message = f"{job} has no results: it ended {outcome.view.status.value}"
        raise RefusedError(409, ErrorInfo("MS-143", message))
    return outcome


def public_routes(service: Service) -> APIRouter:
    """Build the routes of ``/api/v1`` and ``/healthz``."""
    routes = APIRouter(responses=models.ERRORS)
    _add_jobs(routes, service)
    _add_resubmission(routes, service)
    _add_metrics(routes, service)
    _add_history(routes, service)
    _add_results(routes, service)
    return routes


def _add_jobs(routes: APIRouter, service: Service) -> None:
    store = service.components.jobs

    @routes.post(
        "/api/v1/jobs",
        status_code=202,
        response_model=JobAccepted,
        openapi_extra=_JOB_BODY,
        responses={status: {"model": models.ErrorAnswer} for status in (409, 413, 429, 503)},
    )
    async def submit(request: Request, idempotency_key: Key = None) -> Response:
        """Submit a JSON job."""
        job = await service.submissions.submit_json(
            await request.body(),
            idempotency_key=idempotency_key,
            spare=spare_places(request, service),
            caller=caller_of(request.scope),
            user=user_of(request.headers),
        )
        return answer(JobAccepted(job_id=job), status=202)

    @routes.get("/api/v1/jobs", response_model=models.JobList)
    async def jobs(query: JobQuery, limit: Limit = 100) -> Response:
        """List jobs, newest first; `q` searches them, `sort=-took` has the longest first."""
        page = store.page(replace(query, limit=limit))
        return answer(models.JobList(jobs=list(page.rows), after=page.after, total=page.total))

    @routes.get("/api/v1/jobs/{job_id}", response_model=JobView)
    async def job(job_id: str, wait_s: Wait = 0.0, seen: int | None = None) -> Response:
        """Show a job; with `wait_s`, once it has ended or its version is beyond `seen`."""
        if wait_s > 0:
            return answer(await store.wait(job_id, seen=seen, wait_s=wait_s))
        return answer(store.view(job_id))

    @routes.delete("/api/v1/jobs/{job_id}", response_model=JobView)
    async def cancel(job_id: str) -> Response:
        """Cancel a job; one that has ended stays as it is."""
        return answer(await service.submissions.cancel(job_id))


def _add_resubmission(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/api/v1/jobs/{job_id}/source",
        responses={200: {"content": {"application/json": {}, "application/sql": {}}}},
    )
    async def source(job_id: str) -> Response:
        """Download the text of a job: the JSON job as it was submitted, or the SQL of a query."""
        text = await service.history.source(job_id)
        if text is None:
            message = f"{job_id} has no source text: a program submitted its plan"
            raise RefusedError(404, ErrorInfo("MS-158", message))
        name = f'attachment; filename="{job_id}.{text.kind}"'
        headers = {"Content-Disposition": name, **NO_STORE}
        return Response(text.text, media_type=f"application/{text.kind}", headers=headers)

    @routes.post(
        "/api/v1/jobs/{job_id}/rerun",
        status_code=202,
        response_model=JobAccepted,
        responses={status: {"model": models.ErrorAnswer} for status in (409, 429, 503)},
    )
    async def rerun(request: Request, job_id: str, idempotency_key: Key = None) -> Response:
        """Submit the same job again: a JSON job is planned again, a query keeps its plan."""
        text = await service.history.source(job_id)
        submit = service.submissions
        common: dict[str, Any] = {
            "idempotency_key": idempotency_key,
            "caller": caller_of(request.scope),
            "spare": spare_places(request, service),
            "user": user_of(request.headers),
        }
        if text is not None and text.kind == "json":
            job = await submit.submit_json(text.text.encode(), **common)
        else:
            stored = await service.history.plan(job_id)
            plan = await asyncio.to_thread(GraphMessage.model_validate_json, stored)
            sql = None if text is None else text.text
            name = service.components.jobs.view(job_id).name
            job = await submit.submit_graph(name, plan.graph, weight=1.0, sql=sql, **common)
        return answer(JobAccepted(job_id=job), status=202)


def _add_metrics(routes: APIRouter, service: Service) -> None:
    store, registry = service.components.jobs, service.components.registry

    @routes.get("/api/v1/jobs/{job_id}/metrics", response_model=JobMetrics)
    async def metrics(request: Request, job_id: str) -> Response:
        """Show the metrics of a job; without a token not its name."""
        job_metrics = store.metrics(job_id, now=wall_s())
        if level_of_request(request.scope) is None:
            job_metrics = job_metrics.model_copy(update={"name": ""})
        return answer(job_metrics)

    @routes.get("/api/v1/jobs/{job_id}/stages", response_model=models.StageTable)
    async def stages(job_id: str) -> Response:
        """Show one row per node of the DAG and per physical stage."""
        return answer(models.StageTable(job_id=job_id, stages=store.stage_rows(job_id)))

    @routes.get("/api/v1/metrics/system", response_model=SystemMetrics)
    async def system() -> Response:
        """Show the metrics of the cluster: workers, load, totals over all jobs."""
        return answer(service.metrics.system())

    @routes.get("/api/v1/metrics/jobs", response_model=JobsMetrics)
    async def of_jobs(limit: Limit = 100, after: str | None = None) -> Response:
        """Show the metrics of jobs, newest first."""
        return answer(service.metrics.jobs(limit=limit, after=after))

    @routes.get("/api/v1/metrics/failures", response_model=FailuresMetrics)
    async def failures() -> Response:
        """Show what failed, by kind, worker, job and error code."""
        return answer(service.metrics.failures())

    @routes.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def exposition() -> Response:
        """Show the metrics of the cluster for Prometheus."""
        # Writing the text takes longer than reading the metrics: not on the event loop.
        text = await asyncio.to_thread(cluster_text, service.metrics.system())
        return Response(text, media_type=CONTENT_TYPE)

    @routes.get("/api/v1/workers", response_model=models.WorkerList)
    async def workers() -> Response:
        """List the workers with their load."""
        now = monotonic_s()
        excluded = service.components.scheduler.excluded_workers()
        views = [
            models.WorkerView.of(session, now=now, excluded=session.worker_id in excluded)
            for session in registry.all()
        ]
        return answer(models.WorkerList(workers=views))

    @routes.get("/api/v1/state", response_model=StateView)
    async def state(request: Request) -> Response:
        """Show the persisted state; without a token ids, statuses and counts only."""
        whole = level_of_request(request.scope) is not None
        return answer(state_view(service.components, whole=whole))

    @routes.get("/healthz", response_model=models.Health | models.Degraded)
    async def healthz() -> Response:
        """Show that the master lives, and whether it can take jobs."""
        if service.components.loop.trouble is None:
            return answer(models.Health())
        reason = "the journal cannot be written; the master accepts nothing new until it can"
        return answer(models.Degraded(reason=reason))


def _add_history(routes: APIRouter, service: Service) -> None:
    history = service.history

    @routes.get("/api/v1/metrics/load", response_model=LoadList)
    async def load() -> Response:
        """Show the load of the cluster over the last day: a mean for each minute."""
        return answer(LoadList(minutes=service.load_history.cluster.minutes()))

    @routes.get("/api/v1/events", response_model=models.NewsList)
    async def news(
        about: About | None = None,
        job: str | None = None,
        worker: str | None = None,
        limit: Limit = 100,
        after: After | None = None,
        since: After | None = None,
    ) -> Response:
        """List what happened in the cluster, newest first: to workers, jobs, attempts, the master.

        The last 5,000 of each are kept. `after` asks for the next, older page; `since` for the
        events after one that the caller has.
        """
        query = EventQuery(about, job, worker, after=since, before=after)
        return answer(await history.news(query, limit=limit))

    @routes.get(
        "/api/v1/workers/{worker_id}/logs",
        response_model=WorkerLog,
        responses={502: {"model": models.ErrorAnswer}},
    )
    async def worker_log(
        worker_id: str, level: LogLevel = "info", limit: Limit = 100, after: After = 0
    ) -> Response:
        """Show the last log lines of a worker, of a level and above, oldest first."""
        log = await service.worker_logs.read(worker_id, level=level, limit=limit, after=after)
        return answer(log)

    @routes.get("/api/v1/jobs/{job_id}/tasks", response_model=models.TaskList)
    async def tasks(job_id: str, query: TaskQuery, limit: Limit = 100) -> Response:
        """List attempts as they were launched, with worker, times and errors.

        `q` searches them, `sort=-ran` has the longest first.
        """
        page = await history.tasks(job_id, replace(query, limit=limit))
        return answer(
            models.TaskList(
                job_id=job_id, tasks=list(page.rows), after=page.after, total=page.total
            )
        )

    @routes.get(
        "/api/v1/jobs/{job_id}/events",
        response_model=models.EventList,
        responses={200: {"content": {STREAM: {}}}},
    )
    async def events(
        request: Request, job_id: str, limit: Limit = 100, after: After = 0
    ) -> Response:
        """List the events of a job in the journal; `Accept: text/event-stream` follows them."""
        if STREAM in request.headers.get("accept", ""):
            seen = request.headers.get("last-event-id", "")
            after = int(seen) if seen.isdecimal() and len(seen) < _SEQ_DIGITS else after
            service.components.jobs.outcome(job_id)  # Raises for an unknown job.
            chunks = history.stream(job_id, after=after)
            return StreamingResponse(chunks, media_type=STREAM, headers=NO_STORE)
        return answer(await history.events(job_id, limit=limit, after=after))


def _add_results(routes: APIRouter, service: Service) -> None:
    fetch = FetchSettings(key=BlockKey(service.config.token), ca_file=service.config.trusted)

    @routes.get(
        "/api/v1/jobs/{job_id}/results",
        response_model=models.JobResults,
        responses={
            200: {"content": {media_type: {} for _, media_type in FORMATS.values()}},
            206: {"description": "The part requested by `Range: bytes=N-`."},
            409: {"model": models.ErrorAnswer},
            410: {"model": models.ErrorAnswer},
            416: {"description": "The requested range is beyond the end of the output."},
            507: {"model": models.ErrorAnswer},
        },
    )
    async def results(
        request: Request, job_id: str, format_: Format = None, node: str | None = None
    ) -> Response:
        """Show where the output is; with `format` download it, or resume a download."""
        outcome = finished(service, job_id)
        if format_ is None:
            return answer(models.JobResults.of(outcome))
        return await asyncio.to_thread(
            download,
            outcome,
            node,
            format_,
            asked=request.headers,
            fetch=fetch,
            root=service.config.data_root,
            spool=service.config.spool_dir,
        )


def spare_places(request: Request, service: Service) -> int:
    """Return how many of the places for jobs are reserved for other callers."""
    if level_of_request(request.scope) is Level.ROOT:
        return 0
    limits = service.config.limits
    return min(limits.reserved_jobs, limits.running_jobs // 2)
