"""The latest log lines of a worker, asked of the worker itself.

The master keeps none of them. It sends a ticket of this one worker, as it does for blocks: a worker
may run on any machine, and must not learn a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import httpx2
from pydantic import BaseModel, ValidationError

from minispark.bounds import Count, Entries, Id, Items, Options, Text
from minispark.errors import ErrorInfo
from minispark.logs import LEVELS
from minispark.master.control.registry import Registry, WorkerSession
from minispark.tls import client_context, trust_problem
from minispark.tokens import BlockKey
from minispark.wire.http import RefusedError, auth_headers

LogLevel = Literal["debug", "info", "warning", "error"]

_PANEL_LINES = 100
_CONNECT_S = 1.0
_ANSWER_S = 5.0
_ANSWER_BYTES = 8 << 20
"""Twice what a worker keeps, in the escapes of JSON."""


class WorkerLogLine(BaseModel):
    """A line of a log; later lines have higher numbers. Secrets in it are masked."""

    number: Count
    at: Id
    level: LogLevel
    event: Text
    fields: Annotated[dict[str, Options], Entries]


class WorkerLog(BaseModel):
    """The last lines of a worker's log, oldest first."""

    worker_id: Id
    lines: Annotated[list[WorkerLogLine], Items]


@dataclass(frozen=True, slots=True)
class LogPanel:
    """The log of the chosen worker on the workers page; ``worker`` is None before a choice."""

    workers: tuple[str, ...]
    worker: str | None
    level: LogLevel
    lines: tuple[WorkerLogLine, ...] = ()
    problem: str | None = None
    levels: tuple[str, ...] = LEVELS[::-1]


@dataclass(frozen=True, slots=True)
class WorkerLogs:
    """Asks workers for their logs."""

    registry: Registry
    token: str = field(repr=False)
    ca_file: str | None

    async def read(self, worker: str, *, level: LogLevel, limit: int, after: int = 0) -> WorkerLog:
        """Return the last lines of at least this level, with numbers beyond ``after``.

        Raises
        ------
        RefusedError
            There is no such worker, or it does not answer.
        """
        session = self.registry.get(worker)
        if session is None:
            hint = "minispark workers lists them."
            raise RefusedError(404, ErrorInfo("MS-159", f"there is no worker {worker}", hint=hint))
        params = {"level": level, "limit": limit, "after": after}
        try:
            body = await asyncio.to_thread(self._fetch, session, params)
            return WorkerLog.model_validate_json(body)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValidationError) as error:
            raise _not_read(session, _reason(error)) from error

    async def panel(self, worker: str | None, *, level: LogLevel) -> LogPanel:
        """Return the log of a worker for the page; one that cannot be read gives the reason."""
        workers = tuple(each.worker_id for each in self.registry.all() if each.status != "DOWN")
        panel = LogPanel(workers, worker, level)
        if worker is None:
            return panel
        try:
            log = await self.read(worker, level=level, limit=_PANEL_LINES)
        except RefusedError as error:
            return replace(panel, problem=error.info.message)
        return replace(panel, lines=tuple(log.lines))

    def _fetch(self, session: WorkerSession, params: Mapping[str, str | int]) -> bytes:
        ticket = BlockKey(self.token).ticket(session.worker_id)
        url = f"{session.url.rstrip('/')}/internal/v1/workers/{session.worker_id}/logs"
        with (
            httpx2.Client(
                headers=auth_headers(ticket),
                timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
                verify=client_context(session.url, self.ca_file),
                # Proxies from the environment would get the ticket.
                trust_env=False,
            ) as client,
            client.stream("GET", url, params=params) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise _not_read(session, f"it answers with HTTP status {response.status_code}")
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _ANSWER_BYTES:
                    raise _not_read(session, "its answer is too large")
            return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "it does not answer as a worker of this version"
    return trust_problem(error) or f"{type(error).__name__} {error}".strip()


def _not_read(session: WorkerSession, reason: str) -> RefusedError:
    msg = f"the log of {session.worker_id} ({session.status}) cannot be read: {reason}"
    hint = f"The worker at {session.url} writes the same lines to its standard error."
    return RefusedError(502, ErrorInfo("MS-173", msg, hint=hint))
