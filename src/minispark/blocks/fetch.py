"""Reads one partition of a block, from this host or another, and verifies every byte of it.

::

    same host and user         ->  map the file          no copy: 12 ms for 93 MB
    another host, or no file   ->  HTTP range request    to the worker that has the block
    length, xxh3               ->  Arrow stream          checked fully if it came by HTTP (`decode`)
    rows                       ->  DataFrame

Does not cover: whether all blocks together have the promised rows (`minispark.task.inputs`).
"""

from __future__ import annotations

import atexit
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PanicException

from minispark.blocks.decode import MAPPED_BYTES, decode
from minispark.blocks.format import bytes_checksum
from minispark.blocks.host import host_identity, open_own
from minispark.blocks.meta import DATA_SUFFIX, BlockSource, BlockUnavailable
from minispark.ids import TaskKey
from minispark.tls import client_context, trust_problem
from minispark.tokens import BlockKey

if TYPE_CHECKING:
    import httpx2

_REASON_CHARS = 200
_TRIES = 2
"""The first try may find a kept-alive connection closed; after the second the scheduler decides."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How a process reads blocks. Times in seconds."""

    host: str = field(default_factory=host_identity)
    may_map: bool = True
    token: str | None = field(default=None, repr=False)
    """The ticket of the one job whose blocks are read; workers ask for it."""
    key: BlockKey | None = None
    """Signs a ticket for each job, in a process that may read all jobs; used before ``token``."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    parallel: int = 4
    """Requests of one task at a time: enough to hide round trips, few enough to be fair."""
    ca_file: str | None = None
    """Certificates to trust, for workers behind a private authority."""
    spool: Path | None = None
    """Where responses are stored and mapped, in a process that must use little memory."""

    def ticket(self, job: str) -> str | None:
        """Return the ticket for the blocks of a job, None if this process has none."""
        return self.token if self.key is None else self.key.ticket(job)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A partition of a block, and how many bytes of it came over HTTP."""

    frame: pl.DataFrame
    http_bytes: int


def read_block(source: BlockSource, *, settings: FetchSettings) -> pl.DataFrame:
    """Return the rows of one partition of a block; a frame without columns if it has no bytes.

    Raises
    ------
    BlockUnavailable
        The block is missing, refused, or different from ``source.meta``.
    """
    return fetch_block(source, settings=settings).frame


def fetch_block(source: BlockSource, *, settings: FetchSettings) -> Fetched:
    """Return the rows as `read_block` does, and how many bytes came over HTTP."""
    meta = source.meta
    if meta.length == 0 and meta.rows == 0:
        return Fetched(pl.DataFrame(), 0)
    data = _map(source) if settings.may_map and source.host == settings.host else None
    if data is not None:
        return Fetched(_verify(source, data, trusted=True), 0)
    data = _request(source, settings)
    return Fetched(_verify(source, data, trusted=False), len(data))


def fetch_blocks(sources: Sequence[BlockSource], *, settings: FetchSettings) -> Iterator[Fetched]:
    """Give the blocks in this order; blocks of other hosts are fetched several at a time."""
    remote = sum(not settings.may_map or source.host != settings.host for source in sources)
    if remote < 2:
        yield from (fetch_block(source, settings=settings) for source in sources)
        return
    with ThreadPoolExecutor(min(settings.parallel, len(sources))) as pool:
        yield from pool.map(lambda source: fetch_block(source, settings=settings), sources)


def _map(source: BlockSource) -> memoryview | None:
    """Return the bytes of the partition, None if the worker must send them."""
    name = f"{source.name.block_id}{DATA_SUFFIX}"
    start, end = source.meta.offset, source.meta.offset + source.meta.length
    try:
        with os.fdopen(open_own(Path(source.directory), name), "rb") as file:
            if source.meta.length < MAPPED_BYTES:
                file.seek(start)
                return memoryview(file.read(source.meta.length))
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        if source.url is None:
            raise BlockUnavailable(source.key, f"cannot be opened: {error}") from error
        return None
    return memoryview(data)[start:end]


def _request(source: BlockSource, settings: FetchSettings) -> memoryview:
    # An executor that maps all its blocks starts faster without an HTTP client.
    import httpx2

    if source.url is None:
        raise BlockUnavailable(source.key, "lies on another host, and no worker serves it")
    client = block_client(settings)
    meta = source.meta
    address, headers = block_request(source.url, source.name, settings)
    headers["Range"] = f"bytes={meta.offset}-{meta.offset + meta.length - 1}"
    problem: Exception | None = None
    for _ in range(_TRIES):
        try:
            with client.stream("GET", address, headers=headers) as response:
                if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                    reason = f"{source.url} answered {response.status_code}"
                    raise BlockUnavailable(source.key, reason)
                # Before reading: a peer must not fill this process with another file.
                announced = response.headers.get("Content-Length")
                if announced != str(meta.length):
                    reason = f"{source.url} offers {announced} bytes, not {meta.length}"
                    raise BlockUnavailable(source.key, reason)
                if settings.spool is None or meta.length < MAPPED_BYTES:
                    return memoryview(response.read())
                return _map_response(response, settings.spool)
        except httpx2.HTTPError as error:
            problem = error
    cause = trust_problem(problem) or f"{type(problem).__name__} {problem}"
    reason = f"{source.url} does not deliver: {cause}"
    raise BlockUnavailable(source.key, reason) from problem


def block_request(url: str, name: TaskKey, settings: FetchSettings) -> tuple[str, dict[str, str]]:
    """Return the address of a block file on a worker, and the headers of the request."""
    headers = {"Accept-Encoding": "identity"}
    ticket = settings.ticket(name.job)
    if ticket is not None:
        headers["Authorization"] = f"Bearer {ticket}"
    return f"{url.rstrip('/')}/internal/v1/blocks/{name.block_id}", headers


def _map_response(response: httpx2.Response, directory: Path) -> memoryview:
    """Return the body, mapped from a file that exists as long as the mapping."""
    with tempfile.TemporaryFile(dir=directory) as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def block_client(settings: FetchSettings) -> httpx2.Client:
    """Return the client of this process for blocks of workers."""
    return _client(settings.connect_timeout_s, settings.read_timeout_s, settings.ca_file)


@cache
def _client(connect_s: float, read_s: float, ca_file: str | None) -> httpx2.Client:
    import httpx2

    # Proxies from the environment would get the token.
    client = httpx2.Client(
        timeout=httpx2.Timeout(read_s, connect=connect_s),
        verify=client_context(None, ca_file),
        trust_env=False,
    )
    atexit.register(client.close)
    return client


def _verify(source: BlockSource, data: memoryview, *, trusted: bool) -> pl.DataFrame:
    meta = source.meta
    if len(data) != meta.length:
        raise BlockUnavailable(source.key, f"has {len(data)} bytes, not {meta.length}")
    if bytes_checksum(data) != meta.checksum:
        raise BlockUnavailable(source.key, "its bytes do not match their checksum")
    try:
        frame = decode(data, trusted=trusted)
    except MemoryError:  # Not a fault of the block: another worker may have the memory.
        raise
    except (Exception, PanicException) as error:
        text = str(error).strip().partition("\n")[0][:_REASON_CHARS]
        reason = f"is not readable: {type(error).__name__} {text}"
        raise BlockUnavailable(source.key, reason) from error
    if frame.height != meta.rows:
        raise BlockUnavailable(source.key, f"has {frame.height} rows, not {meta.rows}")
    return frame
