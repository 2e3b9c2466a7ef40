"""Routes between master, workers and clients of our own making; outside the OpenAPI."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, TypeVar

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from minispark.errors import ErrorInfo
from minispark.master.control.service import Service
from minispark.master.http.api import answer, finished, spare_places
from minispark.master.http.http_errors import RefusedError
from minispark.tokens import BlockKey
from minispark.wire import messages
from minispark.wire.http import compare_versions, versions

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Member = Annotated[messages.Membership, Query()]
_MAX_VALUES = 2_000_000
"""A plan of 65,536 splits has about half a million; as many are read in about 0.2 s."""
_MAX_WHERE_CHARS = 100
M = TypeVar("M", bound=BaseModel)


def internal_routes(service: Service) -> APIRouter:
    """Build the routes of ``/internal/v1``."""
    routes = APIRouter(prefix="/internal/v1", include_in_schema=False)
    _add_workers(routes, service)
    _add_goodbyes(routes, service)
    _add_polls(routes, service)
    _add_jobs(routes, service)
    return routes


def _add_workers(routes: APIRouter, service: Service) -> None:
    desk, carrier = service.workers, service.components.loop
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers")
    async def register(request: Request) -> Response:
        entry = desk.register(await _read(request, messages.RegisterRequest))
        # A worker that has heard of its epoch finds it after a restart of the master too.
        await carrier.durable()
        identity = service.components.identity
        return answer(
            messages.RegisterReply(
                member=messages.Membership(cluster_id=identity.cluster_id, epoch=entry.epoch),
                master_epoch=identity.master_epoch,
            )
        )

    @routes.post("/workers/{worker_id}/heartbeat")
    async def heartbeat(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.HeartbeatRequest)
        entry = desk.current(worker_id, message.member)
        if entry is None:
            return answer(messages.WorkerReply(register_again=True, master_epoch=master_epoch))
        keep = desk.heartbeat(entry, message)
        version = entry.cache_version
        return answer(
            messages.WorkerReply(master_epoch=master_epoch, keep=keep, cache_version=version)
        )

    @routes.post("/workers/{worker_id}/reports")
    async def reports(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.ReportRequest)
        entry = desk.current(worker_id, message.member)
        if entry is None:
            return answer(messages.ReportReply(register_again=True, master_epoch=master_epoch))
        carrier.require_writable()
        # First: whoever hears that a job has ended may send the next one at once.
        entry.hear_of_cache(message.cache)
        with entry.outbox.answering() if message.more else nullcontext():
            with service.components.journal.together():
                for report in message.reports:
                    desk.report(entry, report)
            if message.moved:
                desk.moved(entry, message.moved)
            # The worker forgets a report once it is answered: not before it is durable.
            await carrier.durable()
            answered = messages.ReportReply(
                master_epoch=master_epoch, cache_version=entry.cache_version
            )
            # As in a poll: nothing is taken from the outbox for a worker that has hung up.
            if message.more and not await request.is_disconnected():
                entry.outbox.flush_into(answered)
        return answer(answered)


def _add_goodbyes(routes: APIRouter, service: Service) -> None:
    desk, carrier = service.workers, service.components.loop
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers/{worker_id}/drain")
    async def drain(worker_id: str, member: Member) -> Response:
        entry = desk.current(worker_id, member)
        if entry is not None:
            desk.drain(entry)
            await carrier.durable()
        return answer(messages.WorkerReply(register_again=entry is None, master_epoch=master_epoch))

    @routes.delete("/workers/{worker_id}")
    async def leave(worker_id: str, member: Member) -> Response:
        entry = desk.current(worker_id, member)
        if entry is not None:
            desk.leave(entry)
            await carrier.durable()
        return answer(messages.WorkerReply(master_epoch=master_epoch))


def _add_polls(routes: APIRouter, service: Service) -> None:
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers/{worker_id}/poll")
    async def poll(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.PollRequest)
        entry = service.workers.current(worker_id, message.member)
        if entry is None:
            return answer(messages.PollReply(register_again=True, master_epoch=master_epoch))
        # Nothing is taken from the outbox for a worker that has hung up.
        if not await entry.outbox.wait(message.wait_s) or await request.is_disconnected():
            return answer(messages.PollReply(master_epoch=master_epoch))
        return answer(entry.outbox.flush_into(messages.PollReply(master_epoch=master_epoch)))

    @routes.post("/workers/{worker_id}/fragments")
    async def fragments(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.FragmentRequest)
        if service.workers.current(worker_id, message.member) is None:
            return answer(messages.FragmentReply(register_again=True, master_epoch=master_epoch))
        return answer(
            messages.FragmentReply(
                fragment=service.workers.fragment(message.key), master_epoch=master_epoch
            )
        )


def _add_jobs(routes: APIRouter, service: Service) -> None:
    @routes.post("/jobs")
    async def submit(request: Request, idempotency_key: Key = None) -> Response:
        planned = await _read(request, messages.PlannedJob)
        differing = compare_versions(versions(), planned.versions, who="this client")
        if differing is not None:
            raise RefusedError(409, ErrorInfo("MS-150", differing))
        job = await service.jobs.submit_graph(
            planned.name,
            planned.graph,
            weight=planned.weight,
            idempotency_key=idempotency_key,
            spare=spare_places(request, service),
        )
        return answer(messages.JobAccepted(job_id=job), status=202)

    key = BlockKey(service.config.token)

    @routes.get("/jobs/{job_id}/blocks")
    async def blocks(job_id: str) -> Response:
        nodes = tuple(finished(service, job_id).results)
        return answer(messages.ResultBlocks(nodes=nodes, ticket=key.ticket(job_id)))

    @routes.get("/jobs/{job_id}/plan")
    async def plan(job_id: str) -> Response:
        stored = await service.history.plan(job_id)
        return Response(stored, media_type="application/json")


async def _read(request: Request, model: type[M]) -> M:
    body = await request.body()
    # Counted before they are made into objects, which holds up everything else: what makes a
    # message long is a plan in it, which is one value.
    values = sum(map(body.count, (b",", b"[", b"{")))
    if values > _MAX_VALUES:
        message = f"a message holds at most {_MAX_VALUES:,} values, and this {model.__name__} more"
        raise RefusedError(413, ErrorInfo("MS-112", message))
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:_MAX_WHERE_CHARS] for part in first["loc"])
        info = ErrorInfo(
            "MS-112",
            f"this is no {model.__name__} that this version understands: {first['msg']}",
            field=where or None,
        )
        raise RefusedError(422, info) from error
