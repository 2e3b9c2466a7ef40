"""A worker's agent between a fake master and fake executors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.worker.fake_master import TOKEN, FakeMaster, serving

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.meta import BlockMeta
from minispark.blocks.store import BlockStore
from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskFailure, TaskProgress, TaskReport, TaskSpec
from minispark.tokens import BlockKey
from minispark.wire.http import versions
from minispark.wire.messages import RegisterRequest
from minispark.worker.agent import Agent
from minispark.worker.capacity import CapacityGate, read_sizes
from minispark.worker.rpc import MasterRpc
from minispark.worker.settings import WorkerConfig

DISK_LIMIT = 1 << 20


def spec(number: int, attempt: int = 0) -> TaskSpec:
    key = TaskKey("job-a-1-1", 0, 0, number, attempt)
    return TaskSpec(key, b"\x00\xff", (), (), Output(OutputKind.SINGLE))


class FakeExecutors:
    """Tasks end when the test says so."""

    def __init__(self) -> None:
        self.running: dict[TaskKey, asyncio.Future[TaskReport | TaskFailure]] = {}
        self.started: list[TaskSpec] = []
        self.cancelled: list[TaskKey] = []

    async def run(self, task: TaskSpec) -> TaskReport | TaskFailure:
        self.started.append(task)
        self.running[task.key] = asyncio.get_running_loop().create_future()
        return await self.running[task.key]

    async def cancel(self, key: TaskKey) -> None:
        self.cancelled.append(key)
        self.finish(TaskFailure(key, Cancelled()))

    def progress(self) -> tuple[TaskProgress, ...]:
        return tuple(TaskProgress(key, ran_s=1.5, bytes_read=70) for key in self.running)

    async def close(self) -> None:
        pass

    def finish(self, outcome: TaskReport | TaskFailure) -> None:
        self.running.pop(outcome.key).set_result(outcome)


class World:
    """A fake master, an agent and its executors."""

    def __init__(
        self, master: FakeMaster, agent: Agent, executors: FakeExecutors, store: BlockStore
    ) -> None:
        self.master, self.agent, self.executors, self.store = master, agent, executors, store

    async def started(self, *tasks: TaskSpec) -> None:
        keys = {task.key for task in tasks}
        await self.master.until(lambda: keys <= self.executors.running.keys(), f"start of {keys}")


def agent_for(url: str, tmp_path: Path, executors: FakeExecutors, slots: int = 1) -> Agent:
    config = WorkerConfig(
        master_url=url,
        token=TOKEN,
        work_dir=tmp_path,
        slots=slots,
        heartbeat_s=0.05,
        data_root=tmp_path,
        task_timeout_s=9.0,
    )
    store = BlockStore(tmp_path / "blocks")
    return Agent(
        config,
        rpc=MasterRpc(url, TOKEN, "w-00000000"),
        fetch=FetchSettings(key=BlockKey(TOKEN)),
        executors=executors,
        store=store,
        capacity=CapacityGate(lambda: read_sizes(store, 0), disk_limit_bytes=DISK_LIMIT),
        register=RegisterRequest(
            worker_id="w-00000000",
            url="http://127.0.0.1:1",
            host="here",
            directory=str(store.directory),
            slots=slots,
            versions=versions(),
        ),
        on_registered=lambda: None,
    )


@contextlib.asynccontextmanager
async def world(tmp_path: Path, *, slots: int = 1) -> AsyncIterator[World]:
    master, executors = FakeMaster(), FakeExecutors()
    async with serving(master.app()) as url:
        agent = agent_for(url, tmp_path, executors, slots)
        running = asyncio.create_task(agent.run())
        try:
            await master.until(lambda: master.polls, "first poll")
            yield World(master, agent, executors, BlockStore(tmp_path / "blocks"))
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await agent.close()
            master.forget()


def done(task: TaskSpec) -> TaskReport:
    return TaskReport(task.key, BlockMeta(()))
