"""What is brought here from a directory that a worker has named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.blocks.block_server import BlockServer

from minispark.blocks.copy_block import copy_block
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.host import host_identity
from minispark.blocks.meta import DATA_SUFFIX, BlockUnavailable
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey

KEY = TaskKey("job-a-1-1", 2, 0, 3, 1)
FILE = f"{KEY.block_id}{DATA_SUFFIX}"


def bring(directory: Path, store: BlockStore, *, url: str = "", size: int = 7) -> None:
    copy_block(
        KEY,
        size=size,
        host=host_identity(),
        directory=str(directory),
        url=url,
        into=store.directory,
        settings=FetchSettings(token="a-token"),  # noqa: S106
    )


def test_a_link_in_a_directory_of_another_user_leads_nowhere(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of another account must not make this one serve a file of its user."""
    private, theirs = tmp_path / "key", tmp_path / "theirs"
    private.write_text("private")
    theirs.mkdir()
    (theirs / FILE).symlink_to(private)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(BlockUnavailable):
        bring(theirs, store)
    assert list(store.directory.iterdir()) == []
    monkeypatch.undo()
    bring(theirs, store)
    assert (store.directory / FILE).read_text() == "private"


def test_without_a_right_to_the_file_its_worker_is_asked(
    store: BlockStore, tmp_path: Path, server: BlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = BlockStore(tmp_path / "here")
    (store.directory / FILE).write_text("of whom")
    server.answer = (200, b"of whom")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    bring(store.directory, here, url=server.url)
    assert server.requests == 1
    assert (here.directory / FILE).read_text() == "of whom"


def test_a_pipe_is_not_waited_for(store: BlockStore, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.mkfifo(theirs / FILE)
    bring(theirs, store)  # A name for it does no harm: nobody opens what is no plain file.
    assert not (store.directory / FILE).is_file()
