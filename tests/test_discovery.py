"""Programs find the masters of their user, and the secret of each."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from minispark import config, discovery
from minispark.discovery import Discovery, advertised
from minispark.errors import UsageError

ONE, TWO = "http://127.0.0.1:9991", "http://127.0.0.1:9992"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the state directory of a user without settings and without masters."""
    for name in ("MINISPARK_TOKEN", "MINISPARK_MASTER", "MASTER_URL", "MINISPARK_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return config.user_dir()


def master(state: Path, url: str, *, token: str | None = "") -> AbstractContextManager[None]:
    """Show a master of this state directory, whose secret is ``token`` or made there."""
    file = state / "token"
    if token:
        config.secure_dir(state)
        config.write_private(file, token)
    else:
        config.find_token(state, create=True)
    running = Discovery(url, None if token is None else str(file), os.getpid())
    return advertised(running, state=state, registry=config.user_dir())


@contextmanager
def killed(state: Path, url: str, *, token: str) -> Iterator[None]:
    """Have the files of a master that was killed: without their locks."""
    with master(state, url, token=token):
        texts = {path: path.read_text() for path in state.parent.rglob("*.json")}
    for path, text in texts.items():
        config.write_private(path, text)
    yield


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_running_master_is_found_until_it_ends(home: Path) -> None:
    assert discovery.find_master() == discovery.DEFAULT_MASTER
    with master(home, ONE, token="shared\n"):  # noqa: S106
        assert {mode(path) for path in home.rglob("*.json")} == {0o600}
        assert discovery.find_master() == ONE
        assert discovery.find_token(ONE, home) == "shared"
    assert discovery.find_master() == discovery.DEFAULT_MASTER
    assert not list(home.rglob("*.json"))


def test_each_url_has_the_token_of_its_master(home: Path, tmp_path: Path) -> None:
    own = config.find_token(home, create=True)
    with (
        master(tmp_path / "a", ONE, token="of a"),  # noqa: S106
        master(tmp_path / "b", TWO, token="of b"),  # noqa: S106
    ):
        assert discovery.find_token(ONE, home) == "of a"
        assert discovery.find_token("http://localhost:9992", home, create=True) == "of b"
        assert discovery.find_token("http://127.0.0.1:9993", home) == own
        assert discovery.find_token("http://elsewhere:9991", home) == own


def test_masters_leave_the_files_of_each_other(home: Path, tmp_path: Path) -> None:
    with master(home, ONE):
        with master(tmp_path / "b", TWO):
            assert discovery.find_discovery(home) == Discovery(
                ONE, str(home / "token"), os.getpid()
            )
            assert discovery.find_master() == ONE
        assert discovery.find_master() == ONE
        assert [each.url for each in discovery.running_masters()] == [ONE]


def test_of_several_masters_none_is_guessed(tmp_path: Path) -> None:
    with master(tmp_path / "a", ONE):
        assert discovery.find_master() == ONE
        with master(tmp_path / "b", TWO):
            with pytest.raises(UsageError, match=f"{ONE}, {TWO}") as refused:
                discovery.find_master()
            assert refused.value.info.code == "MS-504"
            with master(tmp_path / "c", discovery.DEFAULT_MASTER):
                assert discovery.find_master() == discovery.DEFAULT_MASTER


def test_a_named_state_directory_has_its_own_master_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with master(tmp_path / "a", ONE, token="of a"):  # noqa: S106
        monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "b"))
        assert discovery.find_master() == discovery.DEFAULT_MASTER
        # A URL is named: its token is known in every state directory.
        assert discovery.find_token(ONE, tmp_path / "b") == "of a"
        with master(tmp_path / "b", TWO):
            assert discovery.find_master() == TWO


def test_the_environment_gives_the_token_before_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINISPARK_TOKEN", "given")
    with master(tmp_path / "a", ONE, token="of a"):  # noqa: S106
        assert discovery.find_token(ONE, tmp_path) == "given"


def test_a_killed_master_gives_way_to_a_running_one(home: Path, tmp_path: Path) -> None:
    with killed(home, ONE, token="of home"):  # noqa: S106
        found = discovery.find_discovery(home)
        assert found is not None
        assert not found.running
        assert discovery.find_master() == ONE  # It may be started again.
        with master(tmp_path / "b", TWO, token="of b"):  # noqa: S106
            assert discovery.find_master() == TWO
            assert discovery.find_token(ONE, home) == "of home"
    with killed(tmp_path / "a", TWO, token="old"), master(tmp_path / "b", TWO, token="new"):  # noqa: S106
        assert discovery.find_token(TWO, home) == "new"


def test_the_file_of_a_killed_master_goes_with_its_secret(home: Path, tmp_path: Path) -> None:
    with killed(tmp_path / "a", ONE, token="of a"):  # noqa: S106
        with master(home, TWO):
            assert discovery.find_token(ONE, home) == "of a"
        (tmp_path / "a" / "token").unlink()
        with master(home, TWO):
            assert [each.url for each in discovery.masters_at(ONE)] == []


def test_a_master_whose_user_directory_is_not_writable_is_found_at_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.parent.mkdir()
    home.touch()
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "b"))
    with master(tmp_path / "b", ONE):
        assert discovery.find_master() == ONE


def test_the_environment_names_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_URL", "http://seed:8080/")
    assert discovery.find_master() == "http://seed:8080"
    monkeypatch.setenv("MINISPARK_MASTER", "127.0.0.1:8080")
    assert discovery.find_master() == "http://127.0.0.1:8080"


def test_an_address_without_scheme_has_that_of_the_master_there(tmp_path: Path) -> None:
    with master(tmp_path / "a", "https://127.0.0.1:9991"):
        assert discovery.resolve("localhost:9991") == "https://127.0.0.1:9991"
    with master(tmp_path / "b", "http://cluster.example:8080"):
        assert discovery.resolve("cluster.example:8080") == "http://cluster.example:8080"
    assert discovery.resolve("localhost:9991") == "http://localhost:9991"


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"url": 1}), '{"url": "x", "pid": 1}'])
def test_a_broken_discovery_file_is_no_master(home: Path, text: str) -> None:
    config.write_private(config.secure_dir(home) / "master.json", text)
    assert discovery.find_discovery(home) is None
