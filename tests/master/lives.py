"""A master that dies as if killed, at a chosen moment, and its next life on the same state.

Everything runs in one event loop, over ASGI: workers and clients outlive the master, as they do
on a real cluster. What dies with a life: all that was not durable, and every open request.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx2
from tests.master.masters import Client, FakeWorker

from minispark.ids import TaskKey
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service, create_app
from minispark.master.recovery.restore import identify
from minispark.task.spec import TaskReport
from minispark.wire.messages import PollReply

URL = "http://127.0.0.1:8080"
Wrap = Callable[
    [httpx2.Request, Callable[[], Awaitable[httpx2.Response]]], Awaitable[httpx2.Response]
]


T = TypeVar("T")


def _unheard(number: int) -> None:
    """Drop the news that a write is durable."""


class Life:
    """One life of a master. `die_after` says when it ends as if killed."""

    def __init__(self, config: MasterConfig, disk: str = "one") -> None:
        self.dead = asyncio.Event()
        self.writes = 0
        self.journal = Journal(config.state_dir / "journal.db", config.journal)
        identity = identify(self.journal, new_cluster_id="c", disk=disk)
        self.service = Service(config, self.journal, identity)
        self.app = create_app(self.service)
        self._limit: int | None = None
        self._carried = True
        self._put = self.journal._writer.put
        self.journal._writer.put = self._count  # type: ignore[method-assign]  # it counts writes

    def die_after(self, writes: int, *, carried: bool) -> None:
        """Die at the write after this number; or, if not ``carried``, at the last of them,
        which is durable then, but is not acted on."""
        self.writes, self._limit, self._carried = 0, writes, carried

    def spare(self) -> bool:
        """Let it live; return whether it is alive."""
        self._limit = None
        return not self.dead.is_set()

    def _count(self, run: Callable[[sqlite3.Connection], object], *, synced: bool = False) -> int:
        if self.dead.is_set():
            return self.journal.number
        last = self._limit is not None and self.writes >= self._limit
        if last:
            self.die()
            return self.journal.number
        self.writes += 1
        number = self._put(run, synced=synced)
        if self.writes == self._limit and not self._carried:
            self.die()
        return number

    def die(self) -> None:
        """Nothing is carried out and nothing is answered from now on."""
        loop = self.service.components.loop
        loop._on_durable = _unheard  # type: ignore[method-assign]  # as of a dead process
        loop._pending.clear()
        loop.stop()
        self.dead.set()

    async def bury(self) -> None:
        """Wait until the threads of this life are gone."""
        self.die()
        background = self.service.components.loop.background
        for task in background:
            if getattr(task.get_coro(), "__qualname__", "") == "LoadHistory.watch":
                task.cancel()  # It has no end of its own.
        await asyncio.gather(*background, return_exceptions=True)
        await self.service._planner_pool.close()
        await asyncio.to_thread(self.journal.close)


class Line(httpx2.AsyncBaseTransport):
    """The network to the master that lives now; ``wrap`` may lose or repeat a request."""

    def __init__(self) -> None:
        self.life: Life | None = None
        self.up = asyncio.Event()
        self.wrap: Wrap | None = None
        self.held: set[str] = set()
        """Workers whose messages are lost."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.wrap is not None:
            return await self.wrap(request, lambda: self._send(request))
        return await self._send(request)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        life = self.life
        if life is None or life.dead.is_set():
            raise httpx2.ConnectError("no server listens")
        work = asyncio.ensure_future(httpx2.ASGITransport(life.app).handle_async_request(request))
        end = asyncio.ensure_future(life.dead.wait())
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            if life.dead.is_set():
                raise httpx2.ReadError("the connection was reset")
            return work.result()
        finally:
            for task in (work, end):
                task.cancel()
            await asyncio.gather(work, end, return_exceptions=True)


class Lives:
    """A state directory, the lives of its master, and the workers and clients that outlive them."""

    def __init__(self, config: MasterConfig, client: Client) -> None:
        self.config = config
        self.line = Line()
        self.client = client
        self.client.http = httpx2.AsyncClient(
            transport=self.line, base_url=URL, headers=client.http.headers, timeout=20
        )
        self.launched: Counter[tuple[int, int]] = Counter()
        self.attempts: dict[str, list[TaskKey]] = {}
        self.gate = asyncio.Event()
        """Tasks wait for it before they run."""
        self.gate.set()

    async def begin(self) -> Life:
        """Start the next life."""
        self.config.state_dir.mkdir(mode=0o700, exist_ok=True)
        life = Life(self.config)
        self.line.life = life
        await life.service.start()
        self.line.up.set()
        return life

    async def end(self, life: Life) -> None:
        """Bury a life."""
        self.line.up.clear()
        self.line.life = None
        await life.bury()

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until a master answers."""
        while True:
            await self.line.up.wait()
            try:
                return await ask()
            except httpx2.TransportError:
                await asyncio.sleep(0)
                life = self.line.life
                if life is None or life.dead.is_set():
                    self.line.up.clear()

    async def work(self, worker: FakeWorker) -> None:
        """Act as a worker: run each attempt once, report each outcome until it is answered."""
        had: set[TaskKey] = set()
        unsent: list[TaskReport] = []
        if not worker.epoch:
            await self.insist(worker.register)
        while True:
            reply: PollReply = await self.insist(lambda: worker.poll(wait_s=5))
            if reply.register_again:
                unsent.clear()
                await self.insist(worker.register)
                continue
            new = [spec for spec in reply.tasks if spec.key not in had]
            had.update(spec.key for spec in new)
            self.attempts[worker.name] = [spec.key for spec in new]
            if new:
                await self.gate.wait()
            for spec in new:
                self.launched[spec.key.stage, spec.key.partition] += 1
                unsent.append(worker.run(spec))
            if unsent:
                await self.insist(lambda: worker.report(*unsent))
                unsent.clear()
            self.attempts[worker.name] = []

    async def beat(self, worker: FakeWorker, *, every_s: float) -> None:
        """Send heartbeats of a worker, unless its messages are held."""
        while True:
            if worker.epoch and worker.name not in self.line.held:
                held = tuple(self.attempts.get(worker.name, ()))
                await self.insist(partial(worker.heartbeat, *held))
            await asyncio.sleep(every_s)

    @asynccontextmanager
    async def working(
        self, *workers: FakeWorker, beat_s: float | None = None
    ) -> AsyncIterator[None]:
        """Workers that serve beside the test."""
        tasks = [asyncio.create_task(self.work(worker)) for worker in workers]
        if beat_s is not None:
            tasks += [asyncio.create_task(self.beat(w, every_s=beat_s)) for w in workers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome


def files(directory: Path) -> dict[str, str]:
    """The files of an output directory."""
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}
