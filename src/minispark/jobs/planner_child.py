"""The process that plans JSON jobs for a master: ``python -m minispark.jobs.planner_child``.

It answers requests on standard input, one after another, on what was its standard output::

    request  {"data_root": str | null, "settings": {fields of PlanSettings},
              "limits": {fields of Limits}}, a line break, and the job as it was sent
    notes    {"reading": Reading | null}, before and after each input is opened
    answer   {"name": str, "weight": float, "graph": GraphMessage}
             | {"error": ErrorInfo, "status": 422 | 500}

Each is a length (four bytes, big-endian) and JSON. The parent does not parse jobs, since a client
could send one that takes long to parse. The parent limits time and memory, and replaces the process
after a crash. The process ends when its input ends, also during a plan.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, MinisparkError, UsageError
from minispark.jobs.compile import plan_job
from minispark.jobs.contract import check_texts
from minispark.jobs.errors import polars_reason
from minispark.jobs.reading import OnRead, Reading, no_memory
from minispark.masks import masked_error
from minispark.plan.query_name import query_name
from minispark.settings import Limits, PlanSettings
from minispark.task.failures import PANIC_CODE
from minispark.wire.messages import GraphMessage

_LENGTH_BYTES = 4
_MAX_REQUEST_BYTES = 1 << 28
_WARM_UP: dict[str, Any] = {
    "dag": {
        "nodes": [
            {"id": "read", "op": "read_text", "path": __file__},
            {"id": "words", "op": "flat_map", "fn": "tokenize"},
            {"id": "long", "op": "filter", "where": "length(token) > 3"},
            {"id": "counts", "op": "reduce_by_key", "key": "token", "fn": "sum"},
            {"id": "top", "op": "sort", "by": "count", "descending": True},
        ],
        "edges": [["read", "words"], ["words", "long"], ["long", "counts"], ["counts", "top"]],
    },
    "parallelism": 2,
}


def main() -> None:
    """Plan jobs until the parent ends."""
    # An interrupt of the terminal reaches the parent too, which then closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = _own_stdout()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(
        target=_read_requests, args=(sys.stdin.buffer, requests.put), daemon=True
    )
    reader.start()
    with contextlib.suppress(Exception, PanicException):
        plan_job(_WARM_UP)

    def send(body: bytes) -> None:
        try:
            out.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
            out.flush()
        except BrokenPipeError:
            os._exit(0)

    while True:
        send(answer(requests.get(), note=send))


def _own_stdout() -> BinaryIO:
    """Return standard output for answers; other output goes to standard error from now on."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def _read_requests(source: BinaryIO, put: Callable[[bytes], None]) -> None:
    """Pass requests on; end the process when they end, even if it is planning."""
    while True:
        head = source.read(_LENGTH_BYTES)
        size = int.from_bytes(head, "big")
        body = source.read(size) if size <= _MAX_REQUEST_BYTES else b""
        if len(head) < _LENGTH_BYTES or len(body) < size:
            os._exit(0)
        put(body)


def answer(request: bytes, *, note: Callable[[bytes], None] = lambda _note: None) -> bytes:
    """Return the answer to one request; every error is an answer too.

    ``note`` sends the messages before the answer.
    """
    current: Reading | None = None

    def on_read(reading: Reading | None) -> None:
        nonlocal current
        current = reading
        fields = None if reading is None else asdict(reading)
        note(json.dumps({"reading": fields}, ensure_ascii=True).encode())

    try:
        return _plan(request, on_read)
    except MinisparkError as error:
        return _refusal(error.info, 422)
    except PolarsError as error:
        return _refusal(ErrorInfo("MS-165", f"Polars refuses the job: {polars_reason(error)}"), 422)
    except MemoryError:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        return _refusal(no_memory(current, limit_bytes=limit), 422)
    except OSError as error:
        return _refusal(
            ErrorInfo("MS-170", f"planning the job failed: {polars_reason(error)}"), 422
        )
    except PanicException as error:
        return _refusal(ErrorInfo(PANIC_CODE, polars_reason(error)), 422)
    except BaseException as error:
        message = f"planning the job failed: {type(error).__name__}: {polars_reason(error)}"
        hint = "this is a mistake in the planner, not in the job; please report it"
        return _refusal(ErrorInfo("MS-169", message, hint=hint), 500)


def _plan(request: bytes, on_read: OnRead) -> bytes:
    head, _, body = request.partition(b"\n")
    options = json.loads(head)
    root, limits = options.get("data_root"), Limits(**options.get("limits") or {})
    job = _parse(body)
    check_texts(job, limits)
    graph = plan_job(
        job,
        data_root=None if root is None else Path(root),
        settings=PlanSettings(**options.get("settings") or {}),
        limits=limits,
        on_read=on_read,
    )
    name = job.get("name") or query_name(graph)
    fields = json.dumps({"name": name, "weight": job.get("weight", 1)})
    plan = GraphMessage(graph=graph).model_dump_json()
    return f'{fields[:-1]}, "graph": {plan}}}'.encode()


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except ValueError as error:
        raise _not_json(str(error)) from error


def _not_json(reason: str) -> UsageError:
    hint = 'Send {"name": ..., "dag": {"nodes": [...], "edges": [...]}}.'
    return UsageError(f"the body is not JSON: {reason}", code="MS-111", hint=hint)


def _refusal(info: ErrorInfo, status: int) -> bytes:
    # A text may hold half a surrogate pair: JSON allows it, UTF-8 does not; ASCII is safe.
    body = {"error": asdict(masked_error(info)), "status": status}
    return json.dumps(body, ensure_ascii=True).encode()


if __name__ == "__main__":
    main()
