"""The worker's side of the conversation with its master.

Covers: requests and replies, what is worth another try. Does not cover: when to say what
(`server`).
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from minispark.errors import MasterUnreachableError, UsageError
from minispark.logs import logger
from minispark.task.spec import FragmentKey
from minispark.tls import TRUST_HINT, client_context, trust_problem
from minispark.wire import messages
from minispark.wire.hosts import async_listener_trace
from minispark.wire.http import auth_headers, error_from

_ANSWER_S = 10.0
"""A master that takes longer to answer what it need not think about is not there."""
_REFUSED_FOR_CONTENT = frozenset({"MS-112", "MS-604"})
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0
"""A master that comes back is noticed within about this time."""

_Reply = TypeVar("_Reply", bound=BaseModel)


_log = logger("worker")


class RegisterAgain(Exception):  # noqa: N818 - an order of the master, not a mistake
    """The master does not know this worker's epoch."""


class ReportRefusedError(Exception):
    """A report that cannot be written as JSON, or that the master refuses for what it holds."""


class Backoff:
    """Growing delays with jitter, so that workers do not come back in step."""

    def __init__(self) -> None:
        self.tries = 0

    def next_s(self) -> float:
        """Return how long to wait before the next try."""
        delay = min(_FIRST_DELAY_S * 2.0**self.tries, _MAX_DELAY_S)
        self.tries += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets

    def reset(self) -> None:
        """Begin anew after a success."""
        self.tries = 0


class Outage:
    """Time in which the master does not answer: its beginning and its end are logged once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._backoff = Backoff()

    async def pause(self, error: Exception) -> None:
        """Wait before the next try."""
        if self._backoff.tries == 0:
            _log.warning("master_does_not_answer", url=self._url, reason=str(error))
        await asyncio.sleep(self._backoff.next_s())

    def over(self) -> None:
        """Note that the master has answered."""
        if self._backoff.tries:
            _log.info("master_answers_again", url=self._url)
            self._backoff.reset()


class MasterRpc:
    """Sends one message, returns its reply.

    Every method raises `MasterUnreachableError` for what may pass when tried again,
    `RegisterAgain` where the master says so, and `UsageError` for what never will pass.
    """

    def __init__(
        self,
        master_url: str,
        token: str,
        worker_id: str,
        *,
        ca_file: str | None = None,
        own_token: bool = False,
    ) -> None:
        self.url = master_url.rstrip("/")
        self._worker = f"/internal/v1/workers/{worker_id}"
        self._met = False
        """Whether it has answered: from then on a stranger in its place is no reason to end."""
        self._client = httpx2.AsyncClient(
            base_url=self.url,
            headers=auth_headers(token),
            timeout=_ANSWER_S,
            verify=client_context(self.url, ca_file),
            # Proxies from the environment would be handed the token.
            trust_env=False,
            event_hooks={"request": [self._look_who_listens] if own_token else []},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _look_who_listens(self, request: httpx2.Request) -> None:
        request.extensions["trace"] = async_listener_trace(self.url)

    async def register(self, request: messages.RegisterRequest) -> messages.RegisterReply:
        """Offer this worker."""
        try:
            return await self._post("/internal/v1/workers", request, messages.RegisterReply)
        except RegisterAgain as error:
            msg = f"there is no Mini-Spark master at {self.url}"
            raise UsageError(msg, hint="Name it with --master URL.") from error

    async def poll(self, member: messages.Membership, wait_s: float) -> messages.PollReply:
        """Ask for work; the master answers within ``wait_s``."""
        reply = await self._post(
            f"{self._worker}/poll",
            messages.PollRequest(member=member, wait_s=wait_s),
            messages.PollReply,
            timeout_s=wait_s + _ANSWER_S,
        )
        return _known(reply)

    async def fragment(
        self, member: messages.Membership, key: FragmentKey
    ) -> messages.FragmentReply:
        """Ask for a fragment that this worker does not have."""
        request = messages.FragmentRequest(member=member, key=key)
        return _known(
            await self._post(f"{self._worker}/fragments", request, messages.FragmentReply)
        )

    async def report(self, request: messages.ReportRequest) -> messages.ReportReply:
        """Say how attempts ended, which blocks were brought here, and what the cache has.

        The answer brings new tasks: for short ones a poll of their own would cost as much again.

        Raises
        ------
        ReportRefusedError
            What it says is too much, or nothing that a message can hold.
        """
        try:
            return _known(
                await self._post(f"{self._worker}/reports", request, messages.ReportReply)
            )
        except PydanticSerializationError as error:
            raise ReportRefusedError(_printable(error)) from error
        except UsageError as error:
            if error.info.code in _REFUSED_FOR_CONTENT:
                raise ReportRefusedError(error.info.message) from error
            raise

    async def heartbeat(self, request: messages.HeartbeatRequest) -> messages.WorkerReply:
        """Say that the worker lives, and what it holds; return what it shall keep of jobs."""
        return _known(await self._post(f"{self._worker}/heartbeat", request, messages.WorkerReply))

    async def drain(self, member: messages.Membership) -> None:
        """Say that this worker wants to leave; the poll says when it may."""
        path, params = f"{self._worker}/drain", member.model_dump()
        body = await self._send("POST", path, params=params, timeout_s=_ANSWER_S)
        _known(self._read(body, messages.WorkerReply))

    async def leave(self, member: messages.Membership) -> None:
        """Say goodbye."""
        await self._send("DELETE", self._worker, params=member.model_dump(), timeout_s=2.0)

    async def _post(
        self, path: str, body: BaseModel, reply: type[_Reply], *, timeout_s: float = _ANSWER_S
    ) -> _Reply:
        content = body.model_dump_json().encode()
        return self._read(
            await self._send("POST", path, content=content, timeout_s=timeout_s), reply
        )

    def _read(self, body: bytes, reply: type[_Reply]) -> _Reply:
        try:
            read = reply.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            msg = f"the server at {self.url} gives no answer of a Mini-Spark master: {problem}"
            if self._met:
                raise MasterUnreachableError(msg) from error
            raise UsageError(
                msg, code="MS-502", hint="Name the master with --master URL."
            ) from error
        self._met = True
        return read

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        content: bytes | None = None,
        params: dict[str, str | int] | None = None,
    ) -> bytes:
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            response = await self._client.request(
                method, path, content=content, params=params, headers=headers, timeout=timeout_s
            )
        except httpx2.HTTPError as error:
            problem = trust_problem(error)
            if problem is not None and not self._met:
                msg = f"the server at {self.url} is not the master: {problem}"
                raise UsageError(msg, code="MS-614", hint=TRUST_HINT) from error
            msg = f"no answer from the master at {self.url}: {type(error).__name__} {error}"
            raise MasterUnreachableError(msg.rstrip()) from error
        except UsageError as error:
            if self._met:  # Another user has taken the place of a master that will come back.
                raise MasterUnreachableError(str(error)) from error
            raise
        if response.is_success:
            return response.content
        raise self._refused(response)

    def _refused(self, response: httpx2.Response) -> Exception:
        url, status = self.url, response.status_code
        unreachable = MasterUnreachableError(f"the master at {url} answered {status}")
        if status >= 500 or status in (
            httpx2.codes.REQUEST_TIMEOUT,
            httpx2.codes.TOO_MANY_REQUESTS,
        ):
            return unreachable
        body = _json(response)
        if self._met and not (isinstance(body, dict) and "error" in body):
            # Something in between, such as a proxy: the master may come back.
            return unreachable
        if status == httpx2.codes.UNAUTHORIZED:
            return UsageError(
                f"the master at {url} does not accept this worker's token",
                code="MS-153",
                hint="Give the master's token with MINISPARK_TOKEN.",
            )
        if status in (httpx2.codes.NOT_FOUND, httpx2.codes.GONE):
            return RegisterAgain()
        return UsageError.from_info(error_from(body, status=status))


def _printable(error: Exception) -> str:
    """Return what an error says, in characters that JSON can hold."""
    return str(error).encode(errors="backslashreplace").decode()


def _known(reply: _Reply) -> _Reply:
    if getattr(reply, "register_again", False):
        raise RegisterAgain
    return reply


def _json(response: httpx2.Response) -> object:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None
