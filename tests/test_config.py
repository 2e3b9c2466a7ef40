from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minispark import config
from minispark.errors import UsageError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MINISPARK_TOKEN", "MINISPARK_MASTER", "MASTER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_state_dir_is_named_by_the_environment(tmp_path: Path) -> None:
    assert config.state_dir() == tmp_path / "state"


def test_a_made_token_is_private_and_stays(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    token = config.find_token(state, create=True)
    assert token is not None
    assert len(token) >= 43
    assert mode(state) == 0o700
    assert mode(state / "token") == 0o600
    assert config.find_token(state, create=True) == token
    assert config.find_token(state) == token
    assert [path.name for path in state.iterdir()] == ["token"]


def test_first_starts_at_once_agree(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: config.find_token(state, create=True), range(32)))
    assert len(tokens) == 1


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    assert config.find_token(tmp_path / "state") is None
    assert not (tmp_path / "state").exists()


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.find_token(tmp_path / "state", create=True)
    monkeypatch.setenv("MINISPARK_TOKEN", " given\n")
    assert config.find_token(tmp_path / "state") == "given"


def test_the_environment_names_a_file_that_holds_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("mounted\n")
    monkeypatch.setenv("MINISPARK_TOKEN_FILE", str(tmp_path / "secret"))
    assert config.find_token(tmp_path / "state", create=True) == "mounted"
    assert not (tmp_path / "state").exists()
    monkeypatch.setenv("MINISPARK_TOKEN", "given")
    assert config.find_token(tmp_path / "state") == "given"


def test_the_file_of_the_token_that_a_master_is_given_or_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.token_file(tmp_path) == tmp_path / "token"
    monkeypatch.setenv("MINISPARK_TOKEN_FILE", "/run/secrets/token")
    assert config.token_file(tmp_path) == Path("/run/secrets/token")
    monkeypatch.setenv("MINISPARK_TOKEN", "given")
    assert config.token_file(tmp_path) is None


def give_away(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file or link that of another user, or let it look so where that takes a right."""
    if os.getuid() == 0:
        os.chown(entry, 12345, 12345, follow_symlinks=False)
    else:
        found = Path.lstat
        theirs = os.stat_result([*entry.lstat()[:4], os.getuid() + 1, *entry.lstat()[5:]])
        monkeypatch.setattr(Path, "lstat", lambda path: theirs if path == entry else found(path))


def test_a_linked_state_dir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="symbolic link"):
        config.secure_dir(tmp_path / "state")


def test_a_link_of_somebody_else_above_the_state_dir_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "minispark"
    link.symlink_to(tmp_path / "real")
    give_away(link, monkeypatch)
    for place in (link / "state", link / "deep" / "state"):
        with pytest.raises(UsageError, match="another user"):
            config.secure_dir(place)
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("what", ["file", "fifo", "dangling link"])
def test_what_is_no_directory_above_the_state_dir_is_named(tmp_path: Path, what: str) -> None:
    above = tmp_path / "minispark"
    if what == "file":
        above.touch()
    elif what == "fifo":
        os.mkfifo(above)
    else:
        above.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"not a directory|broken symbolic link") as refused:
        config.secure_dir(above / "state")
    assert refused.value.info.file == str(above)


@pytest.mark.parametrize("planted", ["journal.db", "lock", "link"])
def test_a_dir_in_which_others_have_put_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """A journal that another user made, or can still write to, would be believed."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    (state / "token").touch()
    theirs = state / planted
    if planted == "link":
        theirs.symlink_to(tmp_path / "elsewhere")
    else:
        theirs.touch()
    give_away(theirs, monkeypatch)
    for _ in range(2):
        with pytest.raises(UsageError, match="another user") as refused:
            config.secure_dir(state)
        assert refused.value.info.file == str(theirs)
    theirs.unlink()
    assert mode(config.secure_dir(state)) == 0o700


def test_a_foreign_state_dir_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = config.secure_dir(tmp_path / "state")
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(UsageError, match="another user"):
        config.secure_dir(state)


def test_an_open_state_dir_is_closed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    assert mode(config.secure_dir(state)) == 0o700


@pytest.mark.parametrize("spoil", ["link", "open", "fifo"])
def test_a_token_file_that_others_reach_is_refused(tmp_path: Path, spoil: str) -> None:
    state = config.secure_dir(tmp_path / "state")
    token = state / "token"
    if spoil == "link":
        (tmp_path / "elsewhere").write_text("theirs")
        token.symlink_to(tmp_path / "elsewhere")
    elif spoil == "open":
        token.write_text("known to all")
        token.chmod(0o644)
    else:
        os.mkfifo(token, 0o600)
    for create in (False, True):
        with pytest.raises(UsageError):
            config.find_token(state, create=create)


def test_an_empty_named_token_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        config.read_token_file(tmp_path / "secret")
