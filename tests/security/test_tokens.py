"""Lesser tokens: what they open, on a real cluster too; wrong ones: how they are slowed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import polars as pl
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from tests.security.apps import call, master

import minispark as ms
from minispark.cli import main
from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient
from minispark.errors import UsageError
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service
from minispark.master.control.components import Identity
from minispark.master.http.api import spare_places
from minispark.master.settings import check_config
from minispark.settings import ConnectionLimits
from minispark.tokens import BlockKey, Keyring, Level, derive, derive_strong, level_of
from minispark.wire.throttle import OpenRequest, Throttle, peer_of

SECRET = "a-secret-of-more-than-twenty-characters"  # noqa: S105


def test_tokens_are_told_apart() -> None:
    tokens = {level: derive(SECRET, level) for level in Level}
    assert len(set(tokens.values())) == len(Level)
    ring = Keyring(SECRET)
    for level, token in tokens.items():
        assert ring.level(token) is level
        assert level_of(token) is level
        assert SECRET not in token or level is Level.ROOT
        assert ring.level(token[:-1]) is None
    assert ring.level("") is None
    assert Keyring(f"{SECRET}x").level(tokens[Level.VIEW]) is None
    own = Keyring(tokens[Level.WORKER])
    assert own.level(tokens[Level.WORKER]) is Level.WORKER
    assert own.level(SECRET) is None


@pytest.mark.parametrize("level", [Level.VIEW, Level.SUBMIT, Level.WORKER])
def test_nothing_comes_of_a_lesser_token(level: Level) -> None:
    for wanted in (Level.VIEW, Level.SUBMIT, Level.WORKER):
        with pytest.raises(UsageError, match="not a shared secret"):
            derive(derive(SECRET, level), wanted)


def test_a_ticket_opens_one_job() -> None:
    ring, worker = Keyring(SECRET), derive(SECRET, Level.WORKER)
    ticket = BlockKey(SECRET).ticket("job-a-1-1")
    assert ticket == BlockKey(worker).ticket("job-a-1-1")
    assert ring.opens(ticket, "job-a-1-1")
    assert Keyring(worker).opens(ticket, "job-a-1-1")
    assert not ring.opens(ticket, "job-a-1-2")
    assert not ring.opens(worker, "job-a-1-1")
    assert ring.level(ticket) is None
    assert not Keyring(derive(SECRET, Level.VIEW)).opens(ticket, "job-a-1-1")
    assert ticket not in repr(BlockKey(SECRET))
    for lesser in (Level.VIEW, Level.SUBMIT):
        with pytest.raises(UsageError):
            BlockKey(derive(SECRET, lesser))


def test_a_guessable_secret_gives_no_tokens() -> None:
    with pytest.raises(UsageError, match="could be guessed"):
        derive_strong("short", Level.VIEW)
    assert derive_strong(SECRET, Level.VIEW) == derive(SECRET, Level.VIEW)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MINISPARK_TOKEN", SECRET)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["token", *words])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    for level in ("view", "submit", "worker"):
        assert run(level) == (0, derive(SECRET, Level(level)) + "\n", "")
    (tmp_path / "secret").write_text(SECRET + "2\n")
    assert run("view", "--token-file", str(tmp_path / "secret"))[1] == (
        derive(SECRET + "2", Level.VIEW) + "\n"
    )
    assert run("root")[0] == 2
    monkeypatch.setenv("MINISPARK_TOKEN", derive(SECRET, Level.SUBMIT))
    code, out, err = run("view")
    assert (code, out) == (2, "")
    assert "MS-605" in err
    monkeypatch.delenv("MINISPARK_TOKEN")
    assert "MS-611" in run("view")[2]


def test_a_master_takes_no_lesser_token_for_its_secret(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a shared secret"):
        check_config(MasterConfig(state_dir=tmp_path, token=derive(SECRET, Level.SUBMIT)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[LocalCluster, Path]]:
    """A master, and a worker that holds the worker token only and maps no blocks."""
    with LocalCluster(workers=0) as running:
        environment = {
            **os.environ,
            "MINISPARK_TOKEN": derive(running.token, Level.WORKER),
            "MINISPARK_STATE_DIR": str(running.directory / "elsewhere"),
        }
        workers = []
        for number in range(2):
            log = running.directory / f"lesser-{number}.log"
            with log.open("wb") as file:
                workers.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "minispark", "worker", "--master", running.url),
                            *("--port", "0", "--threads", "1", "--no-map-blocks"),
                            *("--work-dir", str(running.directory / f"work-{number}")),
                        ],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )
        try:
            running.wait_for_workers(2)
            yield running, running.directory
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(60)


def query() -> pl.LazyFrame:
    return pl.LazyFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}).group_by("k").agg(pl.sum("v"))


@pytest.mark.process
def test_a_whole_job_with_lesser_tokens_only(cluster: tuple[LocalCluster, Path]) -> None:
    """Blocks go from worker to worker, and to the client, by tickets."""
    running, folder = cluster
    submit = derive(running.token, Level.SUBMIT)
    data = folder / "rows.csv"
    pl.DataFrame({"k": [f"k{i % 7}" for i in range(5_000)], "v": range(5_000)}).write_csv(data)
    frame = pl.scan_csv(data).group_by("k").agg(pl.sum("v")).sort("k")
    engine = ms.Engine(running.url, token=submit, progress=False, parallelism=4)
    assert frame.collect(engine=engine).equals(frame.collect())
    with MasterClient(running.url, token=submit) as client:
        (job, *_) = client.jobs()
        assert client.metrics(job.job_id) is not None
        sources, ticket = client.result_blocks(job.job_id, "result")
        source = sources[0]
        assert ticket is not None
    url = f"{source.url}/internal/v1/blocks/{source.key.block_id}"
    for shown, status in ((ticket, 200), (submit, 401), (running.token, 401), ("x", 401)):
        reply = httpx2.get(url, headers={"Authorization": f"Bearer {shown}"}, trust_env=False)
        assert reply.status_code == status, shown


@pytest.mark.process
def test_what_the_lesser_tokens_do_not_open(cluster: tuple[LocalCluster, Path]) -> None:
    running, _ = cluster
    for level in (Level.VIEW, Level.WORKER):
        engine = ms.Engine(running.url, token=derive(running.token, level), progress=False)
        with pytest.raises(UsageError) as caught:
            query().collect(engine=engine)
        assert caught.value.info.code == "MS-607"
        assert "submit" in caught.value.info.message
    with MasterClient(running.url, token=derive(running.token, Level.VIEW)) as client:
        assert client.jobs() is not None
        with pytest.raises(UsageError, match="not enough"):
            client.cancel("job-x")


@pytest.mark.process
@pytest.mark.parametrize("level", [Level.VIEW, Level.SUBMIT])
def test_a_worker_with_a_token_for_something_else(
    cluster: tuple[LocalCluster, Path], tmp_path: Path, level: Level
) -> None:
    running, _ = cluster
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "minispark", "worker", "--master", running.url),
            *("--port", "0", "--threads", "1", "--work-dir", str(tmp_path / "work")),
        ],
        env={
            **os.environ,
            "MINISPARK_TOKEN": derive(running.token, level),
            "MINISPARK_STATE_DIR": str(tmp_path / "state"),
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"MS-60" in ended.stderr, ended.stderr


def test_jobs_of_lesser_tokens_leave_room_for_the_owner(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    service = Service(MasterConfig(state_dir=tmp_path, token=SECRET), journal, Identity("c", 1))
    levels = (Level.ROOT, Level.SUBMIT, None)
    seen = [Request({"type": "http", "minispark.level": level}) for level in levels]
    found = [spare_places(request, service) for request in seen]
    journal.close()
    assert found == [0, 100, 100]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_wrong_tokens_are_slowed_per_peer() -> None:
    clock, settings = (
        Clock(),
        ConnectionLimits(free_failures=3, first_pause_s=0.1, last_pause_s=1.0),
    )
    throttle = Throttle(settings, clock)
    pauses = [throttle.failed("a") for _ in range(9)]
    assert pauses == [0.0, 0.0, 0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert throttle.failed("b") == 0.0
    clock.now += settings.forget_failures_s + 1
    assert throttle.failed("a") == 0.0


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(ConnectionLimits(remembered_peers=8), Clock())
    for number in range(1_000):
        throttle.failed(f"10.0.{number}.1")
        request = OpenRequest(f"10.0.{number}.1", None)
        assert throttle.enter(request)
        throttle.leave(request)
    assert len(throttle._failures) == 8
    assert throttle._open == {}


def test_a_peer_that_waits_too_much_is_not_looked_at_but_never_on_loopback() -> None:
    throttle = Throttle(ConnectionLimits(held_answers=2), Clock())
    for peer in ("10.0.0.1", "127.0.0.1", peer_of(("::1", 5))):
        throttle.failed(peer)
        for _ in range(2):
            throttle.hold(peer, 1)
    assert throttle.ignores("10.0.0.1")
    assert not throttle.ignores("127.0.0.1")
    assert not throttle.ignores(peer_of(("::1", 5)))
    assert not throttle.ignores("10.0.0.2")
    throttle.hold("10.0.0.1", -1)
    assert not throttle.ignores("10.0.0.1")


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8::1", 5), "2001:db8::/64"),
        (("2001:db8::ffff:1%eth0", 5), "2001:db8::/64"),
        (("::1", 5), "127.0.0.1"),
        (("127.9.9.9", 5), "127.0.0.1"),
        (("::ffff:127.0.0.2", 5), "127.0.0.1"),
        (("testclient", 5), "testclient"),
        (None, ""),
    ],
)
def test_peers(client: tuple[str, int] | None, peer: str) -> None:
    assert peer_of(client) == peer


def test_the_owner_gets_in_while_somebody_guesses(tmp_path: Path) -> None:
    """On one address: wrong tokens wait, the right one does not."""
    connection_limits = ConnectionLimits(free_failures=1, first_pause_s=5.0, last_pause_s=5.0)

    async def story(app: FastAPI) -> None:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            wrong = {"authorization": "Bearer wrong"}
            assert (await client.get("/api/v1/jobs", headers=wrong)).status_code == 401
            # An open route may tell whether a token is right: guesses wait there too.
            paths = ["/api/v1/state", *["/api/v1/jobs"] * 40]
            guesses = [asyncio.create_task(client.get(path, headers=wrong)) for path in paths]
            good = {"authorization": f"Bearer {SECRET}"}
            for _ in range(3):
                reply = await asyncio.wait_for(client.get("/api/v1/jobs", headers=good), 2)
                assert reply.status_code == 200
            done = [task for task in guesses if task.done()]
            # So many may wait; the rest is told at once that it is wrong.
            assert len(guesses) - len(done) >= connection_limits.held_answers
            assert all(task.result().status_code == 401 for task in done)
            for task in guesses:
                task.cancel()
            await asyncio.gather(*guesses, return_exceptions=True)

    with master(tmp_path, token=SECRET, connection_limits=connection_limits) as app:
        asyncio.run(story(app))


def test_requests_open_per_peer_are_bounded(tmp_path: Path) -> None:
    """A long poll is a request that stays open."""
    connection_limits = ConnectionLimits(open_requests=3)
    good = {"authorization": f"Bearer {SECRET}"}

    async def story(app: FastAPI) -> list[int]:
        def client(address: str) -> httpx2.AsyncClient:
            transport = httpx2.ASGITransport(app, client=(address, 1))
            return httpx2.AsyncClient(transport=transport, base_url="http://localhost")

        async with client("10.0.0.1") as one, client("10.0.0.2") as other:
            release = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                await release.wait()
                yield b"{}"

            held = [
                asyncio.create_task(one.post("/api/v1/jobs", content=body(), headers=good))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            while (await one.get("/healthz", headers=good)).status_code == 200:
                await asyncio.sleep(0)
            assert (await one.get("/healthz")).status_code == 200
            refused = await one.get("/api/v1/jobs", headers=good)
            let_in = await other.get("/api/v1/jobs", headers=good)
            release.set()
            await asyncio.gather(*held)
            after = await one.get("/api/v1/jobs", headers=good)
            assert refused.json()["error"]["code"] == "MS-609"
            return [refused.status_code, let_in.status_code, after.status_code]

    with master(tmp_path, token=SECRET, connection_limits=connection_limits) as app:
        assert asyncio.run(story(app)) == [429, 200, 200]


def test_errors_do_not_repeat_a_token(tmp_path: Path) -> None:
    with master(tmp_path, token=SECRET) as app:
        for reply in call(
            app, [("GET", "/api/v1/jobs", {"authorization": "Bearer almost-the-right-one"})]
        ):
            assert "almost" not in reply.text
