import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import psutil
import pytest
from tests.worker.fake_master import TOKEN, FakeMaster, serving

from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskReport, TaskSpec
from minispark.wire.messages import PollReply
from minispark.worker import WorkerConfig
from minispark.worker.server import METRICS_OFFSET, serve


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give back to pytest what a server in its process has changed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


WORKER = """
import sys
from pathlib import Path
from minispark.worker import WorkerConfig
from minispark.worker.server import serve
serve(
    WorkerConfig(master_url=sys.argv[1], token=sys.argv[2], port=0, work_dir=Path(sys.argv[3])),
    on_ready=lambda url: print(url, flush=True),
)
"""


@pytest.mark.process
def test_a_worker_process_from_start_to_end(tmp_path: Path) -> None:
    fragment = pl.LazyFrame({"a": [1, 2, 3]}).serialize()
    key = TaskKey("job-a-1-1", 0, 0, 0, 0)
    spec = TaskSpec(key, fragment, (), (), Output(OutputKind.SINGLE))

    async def scenario() -> None:
        master = FakeMaster()
        async with serving(master.app()) as url:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, url, TOKEN, str(tmp_path)], stdout=subprocess.PIPE
            )
            assert worker.stdout is not None
            try:
                await master.until(lambda: master.registered, "registration")
                [offer] = master.registered
                assert offer.facts is not None
                assert offer.facts.host == socket.gethostname()
                assert offer.facts.cores > 0
                assert offer.facts.disk_bytes > 0
                master.say(PollReply(tasks=(spec,)))
                await master.until(master.outcomes, "report")
                [report] = master.outcomes()
                assert isinstance(report, TaskReport), report
                assert report.block.rows == 3
                async with httpx2.AsyncClient(trust_env=False) as client:
                    block = await client.get(
                        f"{offer.url}/internal/v1/blocks/{key.block_id}",
                        headers={"Authorization": f"Bearer {TOKEN}"},
                    )
                assert pl.read_ipc_stream(block.content)["a"].to_list() == [1, 2, 3]
                assert Path(offer.directory).is_dir()
                executors = psutil.Process(worker.pid).children(recursive=True)
                assert executors
                worker.send_signal(signal.SIGTERM)
                await master.until(lambda: master.drained, "its wish to leave")
                master.say(PollReply(dismissed=True))
                assert await asyncio.to_thread(worker.wait, 20) == 0
                assert offer.url in worker.stdout.read().decode().splitlines()
                assert master.left == [1]
                assert list(tmp_path.iterdir()) == []
                assert psutil.wait_procs(executors, timeout=60)[1] == []
            finally:
                worker.kill()
                worker.wait()
                worker.stdout.close()
                master.forget()

    asyncio.run(scenario())


@pytest.mark.process
def test_a_storm_of_signals_ends_a_worker_and_leaves_nothing(tmp_path: Path) -> None:
    """Every further one used to interrupt the removal of its directories."""

    async def scenario() -> None:
        master = FakeMaster()
        async with serving(master.app()) as url:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, url, TOKEN, str(tmp_path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                await master.until(lambda: master.registered, "registration")
                ended = asyncio.create_task(asyncio.to_thread(worker.communicate, timeout=60))
                while not ended.done():
                    worker.send_signal(signal.SIGINT)
                    await asyncio.sleep(0.001)
                _, said = await ended
                assert worker.returncode == 0, said
                assert b"Traceback" not in said
                assert list(tmp_path.iterdir()) == []
            finally:
                worker.kill()
                master.forget()

    asyncio.run(scenario())


@pytest.mark.process
def test_executors_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        master = FakeMaster()
        async with serving(master.app()) as url:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, url, TOKEN, str(tmp_path)],
                stdout=subprocess.DEVNULL,
            )
            try:
                await master.until(lambda: master.registered, "registration")
                executors = psutil.Process(worker.pid).children(recursive=True)
                worker.kill()
                worker.wait()
                assert psutil.wait_procs(executors, timeout=60)[1] == []
            finally:
                worker.kill()
                worker.wait()
                master.forget()

    asyncio.run(scenario())


def config(tmp_path: Path, **changes: Any) -> WorkerConfig:
    return WorkerConfig(master_url="http://127.0.0.1:1", token=TOKEN, work_dir=tmp_path, **changes)


def test_a_taken_port_is_the_one_thing_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(port: int, *, taken: int) -> str:
        with pytest.raises(UsageError, match=f"127.0.0.1:{taken}") as refused:
            serve(config(tmp_path / "work", port=port))
        return str(refused.value)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said(port, taken=port)
        if port - METRICS_OFFSET > 1024:
            assert f"--port {port - METRICS_OFFSET}" in said(port - METRICS_OFFSET, taken=port)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    assert not (tmp_path / "work").exists()


def test_a_port_whose_metrics_have_no_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"66000.*65535"):
        serve(config(tmp_path, port=65_000))


def test_clear_text_beyond_this_machine_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unencrypted"):
        serve(config(tmp_path, host="192.0.2.1"))


def test_the_token_is_not_in_the_repr(tmp_path: Path) -> None:
    assert TOKEN not in repr(config(tmp_path))


def test_who_may_read_the_figures(tmp_path: Path) -> None:
    assert config(tmp_path).figures_open
    assert not config(tmp_path, auth="all").figures_open
    assert not config(tmp_path, host="192.0.2.1").figures_open
    assert config(tmp_path, host="192.0.2.1", auth="figures-open").figures_open
