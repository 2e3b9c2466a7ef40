"""A network that can be cut: a TCP proxy on this machine.

A cut either swallows all bytes, like an unplugged cable (connections stay open and continue after
`TcpProxy.heal`), or it breaks every connection and refuses new ones, like a firewall.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any

_CHUNK_BYTES = 1 << 16
_CALL_S = 10.0
"""More than opening and closing local sockets takes, which is milliseconds."""


class TcpProxy:
    """Forwards ``listen`` to ``target``, both (host, port), in a thread of its own."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._passable = asyncio.Event()
        self._passable.set()
        self._pairs: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        bound = socket.create_server(listen)
        self.address: tuple[str, int] = bound.getsockname()[:2]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen(bound))

    def cut(self, *, refuse: bool) -> None:
        """Stop forwarding."""
        self._call(self._cut(refuse=refuse))

    def heal(self) -> None:
        """Forward again."""
        self._call(self._heal())

    def close(self) -> None:
        """Break every connection and stop listening; a second call does nothing."""
        if self._loop.is_closed():
            return
        self._call(self._cut(refuse=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _listen(self, bound: socket.socket) -> None:
        self._server = await asyncio.start_server(self._accept, sock=bound)

    async def _cut(self, *, refuse: bool) -> None:
        self._passable.clear()
        if not refuse:
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        for pair in self._pairs:
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _heal(self) -> None:
        self._passable.set()
        if self._server is None:
            await self._listen(socket.create_server(self.address))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = asyncio.current_task()
        assert pair is not None  # noqa: S101 - a coroutine always runs in a task
        self._pairs.add(pair)
        try:
            await self._connect(reader, writer)
        # Either end may go at any time: that is the purpose of a proxy that cuts.
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(pair)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passable.wait()
        from_target, to_target = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, to_target))
                pumps.create_task(self._pump(from_target, writer))
        except* OSError:
            pass
        finally:
            to_target.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            await self._passable.wait()
            sink.write(chunk)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
