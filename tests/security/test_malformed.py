"""What no client of ours would send: the master stays up, and says what is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgpack
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from minispark.client.local_cluster import LocalCluster
from minispark.errors import UsageError
from minispark.master.http.route_policy import OTHER_BYTES
from minispark.plan.polars_plan import plan_header
from minispark.plan.stages import Branch, Label, Output, OutputKind, ResultSpec, Stage, StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.settings import Limits
from minispark.wire.http import auth_headers

pytestmark = pytest.mark.process

ANSWER_S = 120
LIMITS = Limits()
HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A master, and a worker whose tasks may take little memory."""
    root = tmp_path_factory.mktemp("data")
    (root / "x.csv").write_text("a,b\n1,2\n3,4\n")
    with LocalCluster(1, data_root=root, worker_options=["--memory-limit-mb", "700"]) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(cluster: LocalCluster) -> Iterator[None]:
    """After whatever a test did, the same master answers, and a job runs."""
    assert cluster.master is not None
    pid = cluster.master.pid
    yield
    assert cluster.master.alive
    assert cluster.master.pid == pid
    job = cluster.client.submit_json(a_job(op="filter", where="a > 1"))
    view = cluster.client.wait(job)
    assert view.status is JobStatus.SUCCEEDED, view
    assert cluster.client.result_frame(job).rows() == [(3, 4)]


def a_job(**node: Any) -> dict[str, Any]:
    nodes = [{"id": "read", "op": "read_csv", "path": "x.csv"}, {"id": "n", **node}]
    return {"name": "odd", "dag": {"nodes": nodes, "edges": [["read", "n"]]}}


def told(cluster: LocalCluster, frame: bytes, *, half_close: bool) -> bytes:
    """Send bytes, and return all that comes back until the master hangs up or has answered."""
    port = urlsplit(cluster.url).port
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.settimeout(10 if half_close else 0.3)
        heard = b""
        try:
            line.sendall(frame)
            if half_close:
                line.shutdown(socket.SHUT_WR)
            while data := line.recv(65_536):
                heard += data
        except OSError:  # It was silent, or has hung up: then a shutdown says ENOTCONN.
            pass
        return heard


def state_of(cluster: LocalCluster) -> Any:
    found = cluster.client.get_json("/api/v1/state")
    return [found[name] for name in ("cluster_id", "master_epoch", "jobs")]


CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(193)
FRAMES = {
    "nothing": b"",
    "zeros": bytes(1_000),
    "tls": CLIENT_HELLO,
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "half a line": b"GET",
    "half a head": b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n",
    "http/9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "http/0.9": b"GET /\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "no method": b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bare line feeds": b"GET /api/v1/jobs HTTP/1.1\nHost: localhost\n\n",
    "a long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a null": b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no utf-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
    "bad percents": b"GET /%zz%c0%ae/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another's url": b"GET http://evil.example/api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 50_000 + b"\r\n",
    "less than no body": HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "length and chunks": HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
    "a length of words": HEAD + b"Content-Length: many\r\n\r\n{}",
    "a huge length": HEAD + b"Content-Length: " + b"9" * 500 + b"\r\n\r\n{}",
    "a huge chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n{}\r\n",
    "no chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n{}",
    "gzipped chunks": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a websocket": b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: h2c\r\n\r\n",
    "one after another": b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500,
    "smuggled": HEAD
    + b"Content-Length: 60\r\n\r\nGET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n",
}
ERRORS = (b"400", b"401", b"403", b"404", b"405", b"408", b"413", b"431", b"501")


def test_frames_without_a_token(cluster: LocalCluster) -> None:
    """Nothing but a refusal, whole or cut off, and nothing has changed."""
    before = state_of(cluster)
    shown = [
        (name, sent, half_close)
        for name, frame in FRAMES.items()
        for sent in (frame, frame[: len(frame) // 2], frame[:-1])
        for half_close in ((True, False) if sent is frame else (True,))
    ]
    with ThreadPoolExecutor(8) as crowd:
        all_heard = crowd.map(lambda one: told(cluster, one[1], half_close=one[2]), shown)
        for (name, *_), heard in zip(shown, all_heard, strict=True):
            answers = heard.split(b"HTTP/1.1 ")[1:]
            assert all(answer[:3] in ERRORS for answer in answers), (name, heard[:500])
            assert bool(heard) == bool(answers), (name, heard[:500])
            assert b"job-" not in heard
    assert state_of(cluster) == before


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/internal/v1/jobs", "/internal/v1/workers"])
def test_bodies_that_stop_halfway(cluster: LocalCluster, path: str) -> None:
    before = state_of(cluster)
    token = f"Authorization: Bearer {cluster.token}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{token}".encode()
    for rest in (
        b'Content-Length: 1000\r\n\r\n{"name": "x", ',
        b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"na',
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ):
        heard = told(cluster, head + rest, half_close=True)
        assert all(answer[:1] == b"4" for answer in heard.split(b"HTTP/1.1 ")[1:]), heard
    assert state_of(cluster) == before


def bodies() -> dict[str, bytes]:
    mib = 1 << 20
    deep = 500_000
    return {
        "nothing": b"",
        "no json": b"\x80\x04\x95",
        "no object": b"[]",
        "half": b'{"name": "x"',
        "lists": b"[" * deep,
        "closed lists": b"[" * deep + b"]" * deep,
        "objects": b'{"a":' * deep,
        "a deep job": b'{"dag":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep nodes": b'{"dag":{"edges":[],"nodes":' + b"[" * 900 + b"]" * 900 + b"}}",
        "a deep node": b'{"dag":{"edges":[],"nodes":[{"id":"x","op":'
        + b"[" * 900
        + b"]" * 900
        + b"}]}}",
        "digits": b'{"name":' + b"9" * 1_000_000 + b"}",
        "exponent": b'{"weight":1e999999999,"dag":{"nodes":[],"edges":[]}}',
        "nan": b'{"weight":NaN,"dag":{"nodes":[],"edges":[]}}',
        "half a pair": b'{"name":"\\ud800","dag":{"nodes":[{"id":"\\ud800"}],"edges":[]}}',
        "no utf-8": b'{"name":"\xff\xfe","dag":{}}',
        "utf-16": '{"name":"x","dag":{}}'.encode("utf-16"),
        "a null": b'{"name":"\\u0000","dag":{"nodes":[{"id":"\\u0000","op":"\\u0000"}]}}',
        "many nodes": json.dumps(
            {"dag": {"nodes": [{"id": str(n), "op": "union"} for n in range(50_000)]}}
        ).encode(),
        "many keys": json.dumps({str(n): n for n in range(500_000)}).encode(),
        "a long text": b'{"name":"' + b"x" * (LIMITS.job_bytes - 11) + b'"}',
        "packed": gzip.compress(bytes(100 * mib), 1),
    }


def test_bodies_that_are_no_job(cluster: LocalCluster) -> None:
    before = state_of(cluster)
    headers = auth_headers(cluster.token) | {"Content-Type": "application/json"}
    with httpx2.Client(base_url=cluster.url, headers=headers, timeout=ANSWER_S) as client:
        for name, body in bodies().items():
            extra = {"Content-Encoding": "gzip"} if name == "packed" else {}
            for path in (
                *("/api/v1/jobs", "/internal/v1/jobs", "/internal/v1/workers"),
                *(f"/internal/v1/workers/w/{what}" for what in ("poll", "reports", "heartbeat")),
            ):
                if len(body) > 1 << 20 and path != "/api/v1/jobs":
                    continue
                reply = client.post(path, content=body, headers=extra)
                error = reply.json()["error"]
                if reply.status_code == 413 and len(body) > OTHER_BYTES:
                    assert error["code"] in ("MS-604", "MS-112"), (name, path, error)
                    continue
                assert reply.status_code == 422, (name, path, reply.status_code, reply.text[:300])
                assert error["code"].startswith("MS-1"), (name, path, error)
                assert len(reply.content) < 5_000, (name, path)
            assert client.get("/healthz").json()["status"] == "ok"
        too_large = b" " * (LIMITS.job_bytes + 1)
        assert client.post("/api/v1/jobs", content=too_large).status_code == 413
    assert state_of(cluster) == before


TERMS = 10_000
EXPRESSIONS = {
    "sum": "+".join(["a"] * TERMS),
    "sum that fits": "+".join(["a"] * (LIMITS.expression_chars // 2)),
    "brackets": "(" * 4_900 + "a" + ")" * 4_900,
    "open brackets": "(" * 9_000,
    "not": "NOT " * 2_000 + "a",
    "minus": "- " * 4_000 + "a",
    "functions": "abs(" * 1_900 + "a" + ")" * 1_900,
    "case": "CASE WHEN a THEN " * 400 + "a" + " END" * 400,
    "in": "a IN (" + ",".join(["1"] * 4_000) + ")",
    "and": " AND ".join(["a > 1"] * 900),
    "casts": "a" + "::int" * 1_900,
    "a string": "'" + "x" * 9_000,
    "nulls": "\0" * 100,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_that_are_deep(cluster: LocalCluster, name: str) -> None:
    """Some are refused, some end the planner, some are fine: no master dies of any."""
    text = EXPRESSIONS[name]
    jobs = [
        a_job(op="filter", where=text),
        a_job(op="map", expr={"c": text}),
        a_job(op="sql", query=f"SELECT {text[:9_900]} AS c FROM read"),  # noqa: S608
    ]
    for job in jobs:
        try:
            found = cluster.client.submit_json(job)
        except UsageError as error:
            assert error.info.code.startswith("MS-1"), error.info
            assert error.info.message
            assert len(error.info.message) < 2_000
        else:
            assert cluster.client.wait(found).status in (JobStatus.SUCCEEDED, JobStatus.FAILED)


def one_task(fragment: bytes) -> StageGraph:
    stage = Stage(
        0, "all", (Branch(fragment, 1),), Output(OutputKind.SINGLE), Label.DETERMINATE, ("n",)
    )
    return StageGraph((stage,), (ResultSpec("n", 0, ("a",)),), flow={"n": ()})


def deep_plan(terms: int) -> bytes:
    """A sum of so many terms, which Polars itself could not write down."""
    frame = pl.LazyFrame({"a": [1]}).select(pl.col("a") + pl.lit("HERE"))
    plan = msgpack.unpackb(frame.serialize()[len(plan_header()) :], strict_map_key=False)
    (select,) = [
        slot["value"]["Select"] for slot in plan["dsl_plans"] if "Select" in str(slot)[:90]
    ]
    column: bytes = msgpack.packb(select["expr"][0]["BinaryExpr"]["left"])
    select["expr"][0] = "HERE"
    packed: bytes = msgpack.packb(plan)
    before, after = packed.split(msgpack.packb("HERE"))
    left: bytes = b"\x81" + msgpack.packb("BinaryExpr") + b"\x83" + msgpack.packb("left")
    right = b"".join(msgpack.packb(word) for word in ("op", "Plus", "right"))
    right += column
    return plan_header() + before + left * terms + column + right * terms + after


def bomb() -> bytes:
    """Two GB of zeros in some kB."""
    batch = pa.record_batch({"a": pa.array([0] * 1_000_000, pa.int64())})
    out = io.BytesIO()
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.ipc.new_file(out, batch.schema, options=options) as writer:
        for _ in range(250):
            writer.write_batch(batch)
    frame = pl.scan_ipc(out.getvalue())
    assert len(frame.serialize()) < 1 << 20
    return frame.serialize()


@pytest.mark.parametrize(
    ("name", "says"),
    [("garbage", ""), ("deep", ""), ("short", ""), ("bomb", "memory"), ("lists", "")],
)
def test_plans_that_harm_whoever_reads_them(cluster: LocalCluster, name: str, says: str) -> None:
    plans: dict[str, Callable[[], bytes]] = {
        "garbage": lambda: b"\x00\xff" * 1_000,
        "deep": lambda: deep_plan(100_000),
        "short": lambda: pl.LazyFrame({"a": [1]}).serialize()[:-7],
        "bomb": bomb,
        "lists": lambda: plan_header() + b"\x91" * 1_000_000,
    }
    job = cluster.client.submit_planned(one_task(plans[name]()), name=name)
    view = cluster.client.wait(job)
    assert view.status is JobStatus.FAILED
    assert view.error is not None
    assert says in view.error.message
    # Whoever harms others with what they submit harms the process of their task.
    assert [worker["status"] for worker in cluster.client.workers()] == ["UP"]


def test_a_deep_plan_is_what_it_says(cluster: LocalCluster) -> None:
    """Made in the same way, but not deep: it runs."""
    job = cluster.client.submit_planned(one_task(deep_plan(3)), name="shallow")
    assert cluster.client.wait(job).status is JobStatus.SUCCEEDED
    assert cluster.client.result_frame(job).item() == 4


@pytest.mark.parametrize("partitions", [0, -1, 65_537, 10**9])
def test_plans_of_impossible_shapes(cluster: LocalCluster, partitions: int) -> None:
    branch = Branch(b"x", partitions)
    stage = Stage(0, "all", (branch,), Output(OutputKind.SINGLE), Label.DETERMINATE, ("n",))
    with pytest.raises(UsageError):
        cluster.client.submit_planned(StageGraph((stage,), (), flow={}), name="odd")
    output = Output(OutputKind.HASH, partitions, (b"k",))
    stage = Stage(0, "all", (Branch(b"x", 1),), output, Label.DETERMINATE, ("n",))
    with pytest.raises(UsageError):
        cluster.client.submit_planned(StageGraph((stage,), (), flow={}), name="odd")
