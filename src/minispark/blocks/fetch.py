"""Reads one partition of a block, from this host or another, and verifies every byte of it.

::

    same host and user  ->  map the file          no copy: 12 ms for 93 MB
    else, or no file    ->  HTTP range request    to the worker that has it
    length, xxh3        ->  Arrow stream          checked in full if it came over HTTP (`decode`)
    rows                ->  DataFrame

Does not cover: whether the rows are those a task was promised in total (`minispark.task.inputs`).
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

from minispark.blocks.checksums import bytes_checksum
from minispark.blocks.decode import MAPPED_BYTES, decode
from minispark.blocks.errors import BlockUnavailable
from minispark.blocks.host import host_identity, open_own
from minispark.blocks.meta import DATA_SUFFIX, BlockSource
from minispark.tls import client_context, trust_problem
from minispark.tokens import BlockKey

if TYPE_CHECKING:
    import httpx2

_REASON_CHARS = 200
_TRIES = 2
"""A kept-alive connection may have been closed just now; more is the scheduler's business."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Who reads, and how it may. Times in seconds."""

    host: str = field(default_factory=host_identity)
    may_map: bool = True
    token: str | None = field(default=None, repr=False)
    """What is shown to a worker: the ticket of the one job whose blocks are read."""
    key: BlockKey | None = None
    """Signs a ticket for each job, for those who may read them all; goes before ``token``."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    parallel: int = 4
    """Requests at a time of one task: enough to hide round trips, few enough to be fair."""
    ca_file: str | None = None
    """Certificates to trust, for workers behind a private authority."""
    spool: Path | None = None
    """Where what comes over HTTP is laid down and mapped, for those who must stay small."""

    def shown_for(self, job: str) -> str | None:
        """Return what to show to a worker for the blocks of a job."""
        return self.token if self.key is None else self.key.ticket(job)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A partition of a block, and how many bytes of it came over HTTP."""

    frame: pl.DataFrame
    http_bytes: int


def read_block(source: BlockSource, *, settings: FetchSettings) -> pl.DataFrame:
    """Return the rows of one partition of a block; a frame without columns if it takes no bytes.

    Raises
    ------
    BlockUnavailable
        The block is gone, refused, or not what ``source.meta`` promises.
    """
    return fetch_block(source, settings=settings).frame


def fetch_block(source: BlockSource, *, settings: FetchSettings) -> Fetched:
    """As `read_block`, and say how many bytes came over HTTP."""
    meta = source.meta
    if meta.length == 0 and meta.rows == 0:
        return Fetched(pl.DataFrame(), 0)
    mapped = _map(source) if settings.may_map and source.host == settings.host else None
    if mapped is not None:
        return Fetched(_verified(source, mapped, trusted=True), 0)
    fetched = _request(source, settings)
    return Fetched(_verified(source, fetched, trusted=False), len(fetched))


def fetch_blocks(sources: Sequence[BlockSource], *, settings: FetchSettings) -> Iterator[Fetched]:
    """Give the blocks in the order asked; those of other hosts are fetched some at a time."""
    remote = sum(not settings.may_map or source.host != settings.host for source in sources)
    if remote < 2:
        yield from (fetch_block(source, settings=settings) for source in sources)
        return
    with ThreadPoolExecutor(min(settings.parallel, len(sources))) as pool:
        yield from pool.map(lambda source: fetch_block(source, settings=settings), sources)


def _map(source: BlockSource) -> memoryview | None:
    """Return the bytes of the partition, None if the worker must be asked for them."""
    name = f"{source.name.block_id}{DATA_SUFFIX}"
    start, end = source.meta.offset, source.meta.offset + source.meta.length
    try:
        with os.fdopen(open_own(Path(source.directory), name), "rb") as file:
            if source.meta.length < MAPPED_BYTES:
                file.seek(start)
                return memoryview(file.read(source.meta.length))
            whole = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        if source.url is None:
            raise BlockUnavailable(source.key, f"cannot be opened: {error}") from error
        return None
    return memoryview(whole)[start:end]


def _request(source: BlockSource, settings: FetchSettings) -> memoryview:
    # Executors that map all they read need no HTTP client, and start the sooner.
    import httpx2

    if source.url is None:
        raise BlockUnavailable(source.key, "lies on another host, and no worker serves it")
    client = block_client(settings)
    meta = source.meta
    headers = {
        "Range": f"bytes={meta.offset}-{meta.offset + meta.length - 1}",
        "Accept-Encoding": "identity",
    }
    shown = settings.shown_for(source.name.job)
    if shown is not None:
        headers["Authorization"] = f"Bearer {shown}"
    url = f"{source.url.rstrip('/')}/internal/v1/blocks/{source.name.block_id}"
    problem: Exception | None = None
    for _ in range(_TRIES):
        try:
            with client.stream("GET", url, headers=headers) as response:
                if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                    reason = f"{source.url} answered {response.status_code}"
                    raise BlockUnavailable(source.key, reason)
                # Checked before reading: a peer must not fill this process with another file.
                announced = response.headers.get("Content-Length")
                if announced != str(meta.length):
                    reason = f"{source.url} offers {announced} bytes, not {meta.length}"
                    raise BlockUnavailable(source.key, reason)
                if settings.spool is None or meta.length < MAPPED_BYTES:
                    return memoryview(response.read())
                return _laid_down(response, settings.spool)
        except httpx2.HTTPError as error:
            problem = error
    why = trust_problem(problem) or f"{type(problem).__name__} {problem}"
    reason = f"{source.url} does not deliver: {why}"
    raise BlockUnavailable(source.key, reason) from problem


def _laid_down(response: httpx2.Response, directory: Path) -> memoryview:
    """Return the body, mapped from a file that is gone with the mapping."""
    with tempfile.TemporaryFile(dir=directory) as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def block_client(settings: FetchSettings) -> httpx2.Client:
    """Return the client of this process for a worker's blocks."""
    return _client(settings.connect_timeout_s, settings.read_timeout_s, settings.ca_file)


@cache
def _client(connect_s: float, read_s: float, ca_file: str | None) -> httpx2.Client:
    import httpx2

    # Proxies from the environment would be handed the token.
    client = httpx2.Client(
        timeout=httpx2.Timeout(read_s, connect=connect_s),
        verify=client_context(None, ca_file),
        trust_env=False,
    )
    atexit.register(client.close)
    return client


def _verified(source: BlockSource, data: memoryview, *, trusted: bool) -> pl.DataFrame:
    meta = source.meta
    if len(data) != meta.length:
        raise BlockUnavailable(source.key, f"has {len(data)} bytes, not {meta.length}")
    if bytes_checksum(data) != meta.checksum:
        raise BlockUnavailable(source.key, "its bytes do not match their checksum")
    try:
        frame = decode(data, trusted=trusted)
    except MemoryError:  # The task may have it elsewhere.
        raise
    except (Exception, PanicException) as error:
        said = str(error).strip().partition("\n")[0][:_REASON_CHARS]
        reason = f"is not readable: {type(error).__name__} {said}"
        raise BlockUnavailable(source.key, reason) from error
    if frame.height != meta.rows:
        raise BlockUnavailable(source.key, f"has {frame.height} rows, not {meta.rows}")
    return frame
