import asyncio
from pathlib import Path

import httpx2
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.worker.fake_master import TOKEN, serving

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.format import write_block
from minispark.blocks.meta import BlockSource
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.wire.guard import App
from minispark.worker.app import block_app, metrics_app

KEY = TaskKey("job-a-1-1", 0, 0, 0, 0)
BLOCK = f"/internal/v1/blocks/{KEY.block_id}"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
HOSTS = ("127.0.0.1", "localhost")


def ask(
    app: App, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> httpx2.Response:
    async def scenario() -> httpx2.Response:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            # Built by hand: a client would tidy up `..` in a path.
            request = client.build_request(method, "/", headers=headers or {})
            request.url = request.url.copy_with(raw_path=path.encode())
            return await client.send(request)

    return asyncio.run(scenario())


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    made = BlockStore(tmp_path / "blocks")
    made.path_of(KEY.block_id).write_bytes(bytes(range(100)))
    (tmp_path / "secret").write_text("secret")
    return made


@pytest.fixture
def app(store: BlockStore) -> App:
    return block_app(store, token=TOKEN, hosts=HOSTS)


def test_a_range_of_a_block(app: App) -> None:
    answer = ask(app, BLOCK, {**AUTH, "Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.content == bytes(range(10, 20))
    assert answer.headers["content-range"] == "bytes 10-19/100"


def test_a_whole_block(app: App) -> None:
    answer = ask(app, BLOCK, AUTH)
    assert (answer.status_code, answer.content) == (200, bytes(range(100)))


def test_a_range_beyond_the_end(app: App) -> None:
    assert ask(app, BLOCK, {**AUTH, "Range": "bytes=200-300"}).status_code == 416


@pytest.mark.parametrize(
    "name",
    [
        "job-a-1-1.0.0.0.1",
        "secret",
        "..%2Fsecret",
        "../secret",
        "%2e%2e%2fsecret",
        "..%2F..%2Fetc%2Fpasswd",
        f"{KEY.block_id}.arrow",
        "job-a-1-1.0.0.0.0%00",
        "JOB.0.0.0.0",
        "job.0.0.0.%D9%A3",
    ],
)
def test_names_that_are_no_blocks_here(app: App, name: str) -> None:
    answer = ask(app, f"/internal/v1/blocks/{name}", AUTH)
    assert answer.status_code in (400, 404)
    assert answer.content != b"secret"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({**AUTH, "Host": "evil.example"}, 403),
        ({**AUTH, "Origin": "http://evil.example"}, 403),
        ({**AUTH, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**AUTH, "Host": "localhost:1"}, 200),
    ],
)
def test_who_may_read_blocks(app: App, headers: dict[str, str], status: int) -> None:
    assert ask(app, BLOCK, headers).status_code == status


def test_blocks_can_only_be_read(app: App, store: BlockStore) -> None:
    assert ask(app, BLOCK, AUTH, method="DELETE").status_code == 405
    assert store.path_of(KEY.block_id).exists()


def test_health_is_open(app: App) -> None:
    assert ask(app, "/healthz").json() == {"status": "ok", "server": "worker"}


def figures() -> dict[str, float]:
    return {"active_tasks": 1.0, "memory_bytes": 12345678.0}


@pytest.mark.parametrize(("open_figures", "status"), [(True, 200), (False, 401)])
def test_metrics_view(open_figures: bool, status: int) -> None:
    app = metrics_app(
        figures, worker_id="w-1", slots=2, token=TOKEN, hosts=HOSTS, open_figures=open_figures
    )
    answer = ask(app, "/metrics")
    assert answer.status_code == status
    if open_figures:
        assert answer.json() == {"worker_id": "w-1", **figures()}
    answer = ask(app, "/metrics", {**AUTH, "Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'minispark_worker_memory_bytes{worker="w-1"} 1.2345678e+07\n' in answer.text
    assert 'minispark_worker_slots{worker="w-1"} 2.0\n' in answer.text


def test_blocks_that_were_served_are_counted(store: BlockStore) -> None:
    sizes: list[int] = []
    app = block_app(store, token=TOKEN, hosts=HOSTS, on_served=sizes.append)
    ask(app, BLOCK, AUTH)
    ask(app, BLOCK, {**AUTH, "Range": "bytes=10-19"})
    ask(app, BLOCK, {**AUTH, "Range": "bytes=200-300"})
    ask(app, BLOCK, AUTH, method="HEAD")
    ask(app, BLOCK)
    assert sizes == [100, 10]


def test_another_host_reads_a_block_over_http(tmp_path: Path) -> None:
    store = BlockStore(tmp_path / "blocks")
    parts = [pl.DataFrame({"a": range(200_000)}), pl.DataFrame({"a": [1, 2]})]
    meta = write_block(store.directory, KEY, parts)

    async def scenario() -> list[pl.DataFrame]:
        async with serving(block_app(store, token=TOKEN, hosts=HOSTS)) as url:
            settings = FetchSettings(host="elsewhere", token=TOKEN)
            sources = [
                BlockSource(KEY, number, part, "here", "/nowhere", url)
                for number, part in enumerate(meta.partitions)
            ]
            return [
                await asyncio.to_thread(read_block, source, settings=settings) for source in sources
            ]

    for expected, found in zip(parts, asyncio.run(scenario()), strict=True):
        assert_frame_equal(found, expected)
