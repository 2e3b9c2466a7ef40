"""A master made of a queue of replies: each route answers what the test has put there."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minispark.task.spec import FragmentKey, TaskFailure, TaskReport
from minispark.wire.guard import App
from minispark.wire.messages import (
    Fragment,
    FragmentReply,
    FragmentRequest,
    HeartbeatRequest,
    Membership,
    PollReply,
    PollRequest,
    RegisterReply,
    RegisterRequest,
    ReportReply,
    ReportRequest,
    WorkerReply,
)

TOKEN = "secret-of-the-tests"  # noqa: S105


@dataclass
class FakeMaster:
    """What came in, and what goes out."""

    url: str = ""
    epoch: int = 0
    master_epoch: int = 1
    cluster_id: str = "abcd"
    registered: list[RegisterRequest] = field(default_factory=list)
    reports: list[ReportRequest] = field(default_factory=list)
    heartbeats: list[HeartbeatRequest] = field(default_factory=list)
    drained: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    polls: int = 0
    replies: deque[PollReply] = field(default_factory=deque)
    fragments: dict[FragmentKey, bytes] = field(default_factory=dict)
    """Those of the tasks that were said; a reply carries each once."""
    asked: list[FragmentKey] = field(default_factory=list)
    lose_fragments: bool = False
    """Replies come without fragments."""
    known: bool = True
    lose_answers: int = 0
    """So many answers to reports get lost after the master has taken them in."""
    refuse: Response | None = None
    stranger: Response | None = None
    """The answer of another server in its place."""
    strange: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, reply: PollReply) -> None:
        new = {task.fragment_key: task.fragment for task in reply.tasks}
        unsent = [Fragment(key=key, data=new[key]) for key in new.keys() - self.fragments.keys()]
        self.fragments |= new
        tasks = tuple(replace(task, fragment=b"") for task in reply.tasks)
        sent = () if self.lose_fragments else tuple(unsent)
        self.replies.append(reply.model_copy(update={"tasks": tasks, "fragments": sent}))
        self.changed.set()

    def forget(self) -> None:
        """As a master that has lost its memory: every epoch so far is unknown."""
        self.known = False
        self.changed.set()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.5)
        assert condition(), what

    def outcomes(self) -> list[TaskReport | TaskFailure]:
        """What was reported, without times in the queue."""
        return [replace(outcome, queued_s=None) for outcome in self.timed_outcomes()]

    def timed_outcomes(self) -> list[TaskReport | TaskFailure]:
        return [outcome for request in self.reports for outcome in request.reports]

    async def _register(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": {"code": "MS-601", "message": "no"}}, 401)
        if self.refuse is not None:
            return self.refuse
        self.registered.append(RegisterRequest.model_validate_json(await request.body()))
        self.epoch += 1
        self.fragments.clear()
        self.known = True
        self.changed.set()
        return _json(
            RegisterReply(
                member=Membership(cluster_id=self.cluster_id, epoch=self.epoch),
                master_epoch=self.master_epoch,
            )
        )

    def _answer(self, reply: PollReply | WorkerReply) -> Response:
        return _json(reply.model_copy(update={"master_epoch": self.master_epoch}))

    async def _poll(self, request: Request) -> Response:
        epoch = PollRequest.model_validate_json(await request.body()).member.epoch
        self.polls += 1
        self.changed.set()
        if self.stranger is not None:
            self.strange += 1
            return self.stranger
        while self.known and epoch == self.epoch and not self.replies:
            await asyncio.sleep(0.002)
        if not self.known or epoch != self.epoch:
            return self._answer(PollReply(register_again=True))
        return self._answer(self.replies.popleft())

    async def _reports(self, request: Request) -> Response:
        if not self.known:
            return self._answer(ReportReply(register_again=True))
        self.reports.append(ReportRequest.model_validate_json(await request.body()))
        self.changed.set()
        if self.lose_answers:
            self.lose_answers -= 1
            return Response(status_code=502)
        return self._answer(ReportReply())

    async def _fragment(self, request: Request) -> Response:
        key = FragmentRequest.model_validate_json(await request.body()).key
        self.asked.append(key)
        self.changed.set()
        if self.lose_answers:
            self.lose_answers -= 1
            return Response(status_code=502)
        data = self.fragments.get(key)
        found = None if data is None else Fragment(key=key, data=data)
        return _json(FragmentReply(fragment=found, master_epoch=self.master_epoch))

    async def _heartbeat(self, request: Request) -> Response:
        self.heartbeats.append(HeartbeatRequest.model_validate_json(await request.body()))
        self.changed.set()
        return self._answer(WorkerReply(register_again=not self.known))

    async def _drain(self, request: Request) -> Response:
        self.drained.append(int(request.query_params["epoch"]))
        self.changed.set()
        if self.lose_answers:
            self.lose_answers -= 1
            return Response(status_code=502)
        return self._answer(WorkerReply())

    async def _leave(self, request: Request) -> Response:
        self.left.append(int(request.query_params["epoch"]))
        self.changed.set()
        return self._answer(WorkerReply())

    def app(self) -> Starlette:
        worker = "/internal/v1/workers/{worker}"
        return Starlette(
            routes=[
                Route("/internal/v1/workers", self._register, methods=["POST"]),
                Route(f"{worker}/poll", self._poll, methods=["POST"]),
                Route(f"{worker}/fragments", self._fragment, methods=["POST"]),
                Route(f"{worker}/reports", self._reports, methods=["POST"]),
                Route(f"{worker}/heartbeat", self._heartbeat, methods=["POST"]),
                Route(f"{worker}/drain", self._drain, methods=["POST"]),
                Route(worker, self._leave, methods=["DELETE"]),
            ]
        )


def _json(message: BaseModel) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: App, port: int = 0) -> AsyncIterator[str]:
    """Serve an app in this event loop; give its URL."""
    server = _Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=0,
        )
    )
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
