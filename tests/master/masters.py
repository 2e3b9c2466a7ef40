"""A real master on a free port, and a worker that does what a test tells it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
from pydantic import BaseModel

from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.master import MasterConfig, running
from minispark.observe.views import ENDED
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    SinkSpec,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.task.spec import (
    InputGeneration,
    SinkFile,
    TaskFailure,
    TaskProgress,
    TaskReport,
    TaskSpec,
)
from minispark.wire.http import auth_headers, versions
from minispark.wire.messages import (
    Full,
    GraphMessage,
    HeartbeatRequest,
    Membership,
    PlannedJob,
    PollReply,
    PollRequest,
    RegisterReply,
    RegisterRequest,
    ReportRequest,
    WorkerReply,
)

TOKEN = "a-test-token"  # noqa: S105
DEADLINE_S = 60.0

# Answers every job with the graph it was started with; a job's name can ask for trouble.
PLANNER = """
import json, os, sys, time
graph = json.loads(sys.argv[1])
count = 0
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        break
    request = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    job = json.loads(request.partition(bytes([10]))[2])
    name = job.get("name")
    count += 1
    if name == "crash":
        os.abort()
    if name in ("killed", "no memory", "slow file"):
        note = json.dumps({"reading": {"node": "r", "file": "x.gz", "compressed": True}}).encode()
        sys.stdout.buffer.write(len(note).to_bytes(4, "big") + note)
        sys.stdout.buffer.flush()
    if name == "killed":
        os.kill(os.getpid(), 9)
    if name == "no memory":
        print("memory allocation of 9 bytes failed", file=sys.stderr, flush=True)
        os.abort()
    if name == "slow file":
        time.sleep(3600)
    if name == "hang":
        time.sleep(3600)
    if name == "garbage":
        sys.stdout.buffer.write(b"\\0\\0\\0\\2{]")
        sys.stdout.buffer.flush()
        continue
    if name == "wrong":
        error = {"code": "MS-110", "message": "no column x", "node": "map1", "field": "expr"}
        reply = {"error": error, "status": 422}
    elif name == "pid":
        error = {"code": "MS-1", "message": f"{os.getpid()} {count}"}
        reply = {"error": error}
    elif name == "panic":
        error = {"code": "MS-215", "message": f"{os.getpid()} {count}"}
        reply = {"error": error, "status": 422}
    else:
        reply = {"graph": graph, "name": name, "weight": job.get("weight", 1)}
    data = json.dumps(reply).encode()
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()
"""


def two_stages(*, tasks: int = 2, sink: SinkSpec | None = None) -> StageGraph:
    """A map stage and a reduce stage of two tasks; the fragments are only names here."""
    output = Output(OutputKind.SINGLE)
    if sink is not None:
        output = Output(OutputKind.SINK, sink=sink)
    return StageGraph(
        stages=(
            Stage(
                0,
                "map",
                (Branch(b"\x00map\xff", tasks),),
                Output(OutputKind.HASH, 2, (b"key",)),
                Label.UNORDERED,
                nodes=("read",),
            ),
            Stage(
                1,
                "reduce",
                (Branch(b"reduce", 2, inputs=(StageInput("in", 0, ReadMode.PARTITION),)),),
                output,
                Label.DETERMINATE,
                nodes=("agg",),
            ),
        ),
        results=(ResultSpec("agg", 1, ("token", "count")),),
        flow={"read": (), "agg": ("read",)},
    )


def one_stage() -> StageGraph:
    """A job of one task."""
    stage = Stage(
        0, "all", (Branch(b"all", 1),), Output(OutputKind.SINGLE), Label.DETERMINATE, ("read",)
    )
    return StageGraph((stage,), (ResultSpec("read", 0, ("token", "count")),), flow={"read": ()})


def planner_of(graph: StageGraph) -> tuple[str, ...]:
    """A planner command that knows one answer."""
    answer = GraphMessage(graph=graph).model_dump_json()
    return (sys.executable, "-S", "-c", PLANNER, answer)


class Client:
    """Talks to a master with the token."""

    def __init__(self, url: str, config: MasterConfig) -> None:
        self.url = url
        self.config = config
        self.http = httpx2.AsyncClient(
            base_url=url, headers=auth_headers(config.token), timeout=DEADLINE_S, trust_env=False
        )

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.http.get(path, params=params)

    async def submit(self, graph: StageGraph, *, name: str = "test", key: str | None = None) -> str:
        body = PlannedJob(name=name, graph=graph, versions=versions()).model_dump_json()
        headers = {} if key is None else {"Idempotency-Key": key}
        reply = await self.http.post("/internal/v1/jobs", content=body, headers=headers)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["job_id"])

    async def submit_json(self, **job: Any) -> httpx2.Response:
        return await self.http.post("/api/v1/jobs", json={"name": "test", "dag": {}, **job})

    async def until(self, job: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Follow a job by long polls until a condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            view: dict[str, Any] = (await self.get(f"/api/v1/jobs/{job}")).json()
            while not holds(view):
                assert view["status"] not in ENDED, view
                reply = await self.get(f"/api/v1/jobs/{job}", wait_s=5, seen=view["version"])
                view = reply.json()
            return view

    async def ended(self, job: str) -> dict[str, Any]:
        return await self.until(job, lambda view: view["status"] in ENDED)


class FakeWorker:
    """Speaks the worker's side of the wire; writes real blocks."""

    def __init__(self, client: Client, name: str, directory: Path, *, slots: int = 4) -> None:
        self.client = client
        self.name = name
        self.directory = directory
        self.slots = slots
        self.member = Membership(cluster_id="", epoch=0)
        self.released_jobs: list[str] = []
        self.cancelled: list[TaskKey] = []
        self.ran: list[TaskSpec] = []

    async def send(self, path: str, message: BaseModel) -> httpx2.Response:
        return await self.client.http.post(
            f"/internal/v1/workers{path}", content=message.model_dump_json()
        )

    def request(self, **changes: Any) -> RegisterRequest:
        request = RegisterRequest(
            worker_id=self.name,
            url=f"http://{self.name}:1",
            host=host_identity(),
            directory=str(self.directory),
            slots=self.slots,
            versions=versions(),
        )
        return request.model_copy(update=changes)

    async def register(self, **changes: Any) -> FakeWorker:
        self.directory.mkdir(exist_ok=True)
        reply = await self.send("", self.request(**changes))
        assert reply.status_code == 200, reply.text
        self.member = RegisterReply.model_validate_json(reply.content).member
        return self

    @property
    def epoch(self) -> int:
        return self.member.epoch

    async def drain(self) -> WorkerReply:
        path = f"/internal/v1/workers/{self.name}/drain"
        reply = await self.client.http.post(path, params=self.member.model_dump())
        assert reply.status_code == 200, reply.text
        return WorkerReply.model_validate_json(reply.content)

    async def leave(self) -> httpx2.Response:
        path = f"/internal/v1/workers/{self.name}"
        return await self.client.http.delete(path, params=self.member.model_dump())

    async def poll(self, *, wait_s: float = 10.0) -> PollReply:
        message = PollRequest(member=self.member, wait_s=wait_s)
        reply = await self.send(f"/{self.name}/poll", message)
        assert reply.status_code == 200, reply.text
        answer = PollReply.model_validate_json(reply.content)
        self.released_jobs += answer.release_jobs
        self.cancelled += answer.cancel
        return answer

    async def report(self, *reports: TaskReport | TaskFailure) -> dict[str, Any]:
        message = ReportRequest(member=self.member, reports=reports)
        reply = await self.send(f"/{self.name}/reports", message)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def heartbeat(self, *attempts: TaskKey, **metrics: float) -> dict[str, Any]:
        message = HeartbeatRequest(member=self.member, attempts=attempts, metrics=metrics)
        reply = await self.send(f"/{self.name}/heartbeat", message)
        return dict(reply.json())

    async def heartbeat_progress(self, *progress: TaskProgress) -> None:
        """Say what running attempts have read."""
        attempts = tuple(each.key for each in progress)
        message = HeartbeatRequest(member=self.member, attempts=attempts, progress=progress)
        reply = await self.send(f"/{self.name}/heartbeat", message)
        assert reply.status_code == 200, reply.text

    async def heartbeat_full(self, full: Full | None, *held: str) -> None:
        message = HeartbeatRequest(member=self.member, attempts=(), full=full, held_jobs=held)
        reply = await self.send(f"/{self.name}/heartbeat", message)
        assert reply.status_code == 200, reply.text

    def run(self, spec: TaskSpec, *, rows: int = 3) -> TaskReport:
        """Write a block of made-up rows, as the output of a task would be."""
        self.ran.append(spec)
        frame = pl.DataFrame(
            {
                "token": [f"t{spec.key.partition}-{n}" for n in range(rows)],
                "count": list(range(rows)),
            }
        )
        sink, partitions = None, spec.output.partitions
        block = BlockMeta((PartitionMeta(0, 0, 0, 0),))
        if spec.output.sink is not None:
            sink = self._stage(spec, frame)
        else:
            block = write_block(self.directory, spec.key, [frame] * partitions)
        return TaskReport(
            spec.key,
            block,
            inputs=tuple(InputGeneration(i.stage, i.generation) for i in spec.inputs),
            nodes={"read" if spec.key.stage == 0 else "agg": rows},
            rows_in=rows,
            bytes_read=rows * 10,
            sink=sink,
        )

    def _stage(self, spec: TaskSpec, frame: pl.DataFrame) -> SinkFile:
        assert spec.output.sink is not None
        directory = Path(spec.output.sink.path)
        name = f"part-{spec.key.partition:05d}"
        staged = f"_minispark-{spec.key.job}/{name}.{spec.key.block_id}.csv"
        path = directory / staged
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_csv(path)
        return SinkFile(staged, f"{name}.csv", frame.height, path.stat().st_size)

    def fail(self, spec: TaskSpec, failure: Failure) -> TaskFailure:
        return TaskFailure(
            spec.key, failure, tuple(InputGeneration(i.stage, i.generation) for i in spec.inputs)
        )

    async def work(self, *, polls: int) -> None:
        """Run what comes with so many polls."""
        for _ in range(polls):
            answer = await self.poll()
            if answer.tasks:
                await self.report(*(self.run(spec) for spec in answer.tasks))

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self.work(polls=1)


class Bench:
    """What a test needs to have a master of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.config = MasterConfig(
            state_dir=tmp_path / "state",
            token=TOKEN,
            port=0,
            planner_command=planner_of(two_stages()),
        )

    @asynccontextmanager
    async def master(self, **changes: Any) -> AsyncIterator[Client]:
        config = replace(self.config, **changes)
        async with running(config) as (url, _):
            client = Client(url, config)
            async with client.http:
                yield client

    async def worker(self, client: Client, name: str = "w1", *, slots: int = 4) -> FakeWorker:
        return await FakeWorker(client, name, self.tmp_path / name, slots=slots).register()

    def client_of(self, config: MasterConfig) -> Client:
        return Client("http://127.0.0.1:8080", config)

    def worker_of(self, client: Client, name: str, *, slots: int = 4) -> FakeWorker:
        return FakeWorker(client, name, self.tmp_path / name, slots=slots)

    @asynccontextmanager
    async def working(self, client: Client, name: str = "w1") -> AsyncIterator[FakeWorker]:
        """A worker that serves beside the test."""
        worker = await self.worker(client, name)
        task = asyncio.create_task(worker.serve())
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    two_stages = staticmethod(two_stages)
    one_stage = staticmethod(one_stage)
    planner_of = staticmethod(planner_of)
