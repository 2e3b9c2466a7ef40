"""Requests of a worker to its master.

Covers: requests and replies, which errors may pass. Does not cover: when to send them (`agent`).
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
from minispark.wire.addresses import wrong_server
from minispark.wire.hosts import async_listener_trace
from minispark.wire.http import auth_headers, error_from

_ANSWER_S = 10.0
"""A master that does not answer a simple request within this time is not there."""
_REFUSED_FOR_CONTENT = frozenset({"MS-112", "MS-604"})
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0
"""A restarted master is noticed within about this time."""

_Reply = TypeVar(
    "_Reply",
    messages.RegisterReply,
    messages.PollReply,
    messages.ReportReply,
    messages.FragmentReply,
    messages.WorkerReply,
)

_log = logger("worker")


class RegisterAgain(Exception):  # noqa: N818 - a reply of the master, not a mistake
    """The master does not know this worker's epoch."""


class ReportRefusedError(Exception):
    """A report that cannot be written as JSON, or whose content the master refuses."""


class Backoff:
    """Growing delays with jitter, so that workers do not all return at the same moment."""

    def __init__(self) -> None:
        self.tries = 0

    def next_s(self) -> float:
        """Return the delay before the next try."""
        delay = min(_FIRST_DELAY_S * 2.0**self.tries, _MAX_DELAY_S)
        self.tries += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets

    def reset(self) -> None:
        """Start again with the shortest delay, after a success."""
        self.tries = 0


class MasterRpc:
    """Sends one message and returns its reply.

    Every method raises `MasterUnreachableError` for an error that may pass, `RegisterAgain` if the
    master says so, and `UsageError` for an error that stays. An answer of an earlier master of the
    same cluster is an error that may pass.
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
        """Whether it has answered: then another server at its address is an error that may pass."""
        self._cluster_id: str | None = None
        self._master_epoch = 0
        self._client = httpx2.AsyncClient(
            base_url=self.url,
            headers=auth_headers(token),
            timeout=_ANSWER_S,
            verify=client_context(self.url, ca_file),
            # Proxies from the environment would get the token.
            trust_env=False,
            event_hooks={"request": [self._check_listener] if own_token else []},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _check_listener(self, request: httpx2.Request) -> None:
        request.extensions["trace"] = async_listener_trace(self.url)

    async def register(self, request: messages.RegisterRequest) -> messages.RegisterReply:
        """Register this worker."""
        try:
            return await self._post("/internal/v1/workers", request, messages.RegisterReply)
        except (RegisterAgain, UsageError, MasterUnreachableError) as error:
            absent = isinstance(error, MasterUnreachableError) and isinstance(
                error.__cause__, httpx2.ConnectError | httpx2.TimeoutException
            )
            wrong = None
            if not (absent or self._met):
                wrong = await asyncio.to_thread(wrong_server, self.url)
            if wrong is None and isinstance(error, RegisterAgain):
                msg = f"the server at {self.url} is not a Mini-Spark master"
                wrong = UsageError(msg, code="MS-502", hint="Name the master with --master URL.")
            if wrong is None:
                raise
            raise wrong from error

    async def poll(self, member: messages.Membership, wait_s: float) -> messages.PollReply:
        """Ask for work; the master answers within ``wait_s``."""
        return await self._post(
            f"{self._worker}/poll",
            messages.PollRequest(member=member, wait_s=wait_s),
            messages.PollReply,
            timeout_s=wait_s + _ANSWER_S,
        )

    async def fragment(
        self, member: messages.Membership, key: FragmentKey
    ) -> messages.FragmentReply:
        """Ask for a fragment that this worker does not have."""
        request = messages.FragmentRequest(member=member, key=key)
        return await self._post(f"{self._worker}/fragments", request, messages.FragmentReply)

    async def report(self, request: messages.ReportRequest) -> messages.ReportReply:
        """Report outcomes, copied blocks and changes of the cache.

        The answer has new tasks: a poll for short tasks would cost as much as the tasks.

        Raises
        ------
        ReportRefusedError
            The report is too large, or has values that a message cannot hold.
        """
        try:
            return await self._post(f"{self._worker}/reports", request, messages.ReportReply)
        except PydanticSerializationError as error:
            raise ReportRefusedError(_printable(error)) from error
        except UsageError as error:
            if error.info.code in _REFUSED_FOR_CONTENT:
                raise ReportRefusedError(error.info.message) from error
            raise

    async def heartbeat(self, request: messages.HeartbeatRequest) -> messages.WorkerReply:
        """Send a heartbeat; the reply says which blocks of finished jobs to keep."""
        return await self._post(f"{self._worker}/heartbeat", request, messages.WorkerReply)

    async def drain(self, member: messages.Membership) -> None:
        """Announce that this worker drains; a poll reply dismisses it."""
        path, params = f"{self._worker}/drain", member.model_dump()
        body = await self._send("POST", path, params=params, timeout_s=_ANSWER_S)
        self._read(body, messages.WorkerReply)

    async def leave(self, member: messages.Membership) -> None:
        """Announce that this worker ends now."""
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
            message = reply.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            msg = f"the server at {self.url} does not answer as a Mini-Spark master: {problem}"
            if self._met:
                raise MasterUnreachableError(msg) from error
            raise UsageError(
                msg, code="MS-502", hint="Name the master with --master URL."
            ) from error
        self._met = True
        if isinstance(message, messages.RegisterReply):
            if message.member.cluster_id != self._cluster_id:
                self._cluster_id, self._master_epoch = message.member.cluster_id, 0
        elif message.register_again:
            raise RegisterAgain
        if message.master_epoch < self._master_epoch:
            _log.error("older_master_refused", master_epoch=message.master_epoch)
            msg = "an earlier run of the master answers"
            raise MasterUnreachableError(msg)
        self._master_epoch = message.master_epoch
        return message

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
            if self._met:  # Another user's process is at the address of a master that may return.
                raise MasterUnreachableError(error.info.message) from error
            raise
        if response.is_success:
            return response.content
        raise self._refused(response)

    def _refused(self, response: httpx2.Response) -> Exception:
        url, status = self.url, response.status_code
        codes = httpx2.codes
        unreachable = MasterUnreachableError(f"the master at {url} answered {status}")
        if status >= 500 or status in (codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS):
            return unreachable
        body = _json(response)
        if self._met and not (isinstance(body, dict) and "error" in body):
            # From something in between, such as a proxy: the master may return.
            return unreachable
        if status == codes.UNAUTHORIZED:
            return UsageError(
                f"the master at {url} does not accept this worker's token",
                code="MS-153",
                hint="Give the master's token with MINISPARK_TOKEN.",
            )
        if status in (codes.NOT_FOUND, codes.GONE):
            return RegisterAgain()
        return UsageError.from_info(error_from(body, status=status))


def _printable(error: Exception) -> str:
    """Return the text of an error in characters that JSON can hold."""
    return str(error).encode(errors="backslashreplace").decode()


def _json(response: httpx2.Response) -> object:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None
