"""Routes for workers and for our own clients; they are not in the OpenAPI document."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from minispark.errors import ErrorInfo
from minispark.master.control.service import Service
from minispark.master.http.api import Key, answer, finished, spare_places
from minispark.tokens import BlockKey
from minispark.wire import messages
from minispark.wire.guard import caller_of
from minispark.wire.http import RefusedError, compare_versions, versions
from minispark.wire.origin import user_of

Member = Annotated[messages.Membership, Query()]
_MAX_VALUES = 2_000_000
"""A plan of 65,536 splits has about 500,000, which are read in about 0.2 s."""
_MAX_WHERE_CHARS = 100
M = TypeVar("M", bound=BaseModel)


def internal_routes(service: Service) -> APIRouter:
    """Build the routes of ``/internal/v1``."""
    routes = APIRouter(prefix="/internal/v1", include_in_schema=False)
    _add_workers(routes, service)
    _add_departures(routes, service)
    _add_polls(routes, service)
    _add_jobs(routes, service)
    return routes


def _add_workers(routes: APIRouter, service: Service) -> None:
    workers, loop = service.workers, service.components.loop
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers")
    async def register(request: Request) -> Response:
        session = workers.register(await _read(request, messages.RegisterRequest))
        # A worker that has got its epoch keeps it over a restart of the master.
        await loop.durable()
        identity = service.components.identity
        return answer(
            messages.RegisterReply(
                member=messages.Membership(cluster_id=identity.cluster_id, epoch=session.epoch),
                master_epoch=identity.master_epoch,
            )
        )

    @routes.post("/workers/{worker_id}/heartbeat")
    async def heartbeat(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.HeartbeatRequest)
        session = workers.current(worker_id, message.member)
        if session is None:
            return answer(messages.WorkerReply(register_again=True, master_epoch=master_epoch))
        keep = workers.heartbeat(session, message)
        version = session.cache_version
        return answer(
            messages.WorkerReply(master_epoch=master_epoch, keep=keep, cache_version=version)
        )

    @routes.post("/workers/{worker_id}/reports")
    async def reports(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.ReportRequest)
        session = workers.current(worker_id, message.member)
        if session is None:
            return answer(messages.ReportReply(register_again=True, master_epoch=master_epoch))
        loop.require_writable()
        # First: a client that sees the job end may send one that reads this cache at once.
        session.update_cache(message.cache)
        with session.outbox.answering() if message.more else nullcontext():
            with service.components.journal.together():
                for report in message.reports:
                    workers.report(session, report)
            if message.moved:
                workers.moved(session, message.moved)
            # The worker drops a report once it is answered, so it must be durable before.
            await loop.durable()
            reply = messages.ReportReply(
                master_epoch=master_epoch, cache_version=session.cache_version
            )
            # As in a poll: a worker that has hung up must not take what is in its outbox.
            if message.more and not await request.is_disconnected():
                session.outbox.flush_into(reply)
        return answer(reply)


def _add_departures(routes: APIRouter, service: Service) -> None:
    workers, loop = service.workers, service.components.loop
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers/{worker_id}/drain")
    async def drain(worker_id: str, member: Member) -> Response:
        session = workers.current(worker_id, member)
        if session is not None:
            workers.drain(session)
            await loop.durable()
        return answer(
            messages.WorkerReply(register_again=session is None, master_epoch=master_epoch)
        )

    @routes.delete("/workers/{worker_id}")
    async def leave(worker_id: str, member: Member) -> Response:
        session = workers.current(worker_id, member)
        if session is not None:
            workers.leave(session)
            await loop.durable()
        return answer(messages.WorkerReply(master_epoch=master_epoch))


def _add_polls(routes: APIRouter, service: Service) -> None:
    master_epoch = service.components.identity.master_epoch

    @routes.post("/workers/{worker_id}/poll")
    async def poll(worker_id: str, request: Request) -> Response:
        message = await _read(request, messages.PollRequest)
        session = service.workers.current(worker_id, message.member)
        if session is None:
            return answer(messages.PollReply(register_again=True, master_epoch=master_epoch))
        # A worker that has hung up must not take what is in its outbox.
        if not await session.outbox.wait(message.wait_s) or await request.is_disconnected():
            return answer(messages.PollReply(master_epoch=master_epoch))
        return answer(session.outbox.flush_into(messages.PollReply(master_epoch=master_epoch)))

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
        difference = compare_versions(versions(), planned.versions, peer="this client")
        if difference is not None:
            raise RefusedError(409, ErrorInfo("MS-150", difference))
        job = await service.submissions.submit_graph(
            planned.name,
            planned.graph,
            weight=planned.weight,
            idempotency_key=idempotency_key,
            caller=caller_of(request.scope),
            spare=spare_places(request, service),
            user=user_of(request.headers),
            sql=planned.sql,
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
    # Counted in the bytes: making too many objects would hold up the event loop. A fragment,
    # which may be long, is one value.
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
