from __future__ import annotations

import os
import time
from pathlib import Path

import polars as pl
import pytest

from minispark.blocks.format import write_block
from minispark.blocks.store import BlockStore
from minispark.errors import UsageError
from minispark.ids import TaskKey

ROWS = pl.DataFrame({"n": [1, 2, 3]})
KEYS = [TaskKey("job-a-1-1", 0, 0, number, 0) for number in range(3)]


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../etc/passwd", "/etc/passwd", "job.0.0.0", "job.0.0.0.0/x", "a b.0.0.0.0"],
)
def test_only_block_ids_become_paths(store: BlockStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a block id"):
        store.path_of(name)


def test_an_id_has_one_spelling(store: BlockStore) -> None:
    assert store.path_of("job.00.0.0.0") == store.path_of("job.0.0.0.0")


def test_deleting_takes_the_data_and_what_was_unfinished(store: BlockStore) -> None:
    for key in KEYS:
        write_block(store.directory, key, [ROWS])
    (store.directory / f"{KEYS[0].block_id}.arrow.tmp").touch()
    store.delete(KEYS[:2])
    assert [file.name for file in store.directory.iterdir()] == [f"{KEYS[2].block_id}.arrow"]
    store.delete(KEYS)
    store.delete(KEYS)
    assert list(store.directory.iterdir()) == []


def test_a_sweep_takes_every_block_and_nothing_else(store: BlockStore) -> None:
    write_block(store.directory, KEYS[0], [ROWS])
    other = store.directory / "notes.txt"
    other.write_text("mine")
    assert store.sweep() == 1
    assert list(store.directory.iterdir()) == [other]


def test_bytes_of_jobs_are_those_of_their_files(store: BlockStore) -> None:
    assert store.bytes_of_jobs() == 0
    write_block(store.directory, KEYS[0], [ROWS])
    sizes = [file.stat().st_size for file in store.directory.iterdir()]
    assert store.bytes_of_jobs() == sum(sizes) > 0


def test_a_directory_behind_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="symbolic link"):
        BlockStore(tmp_path / "link")


def test_of_a_job_only_what_is_kept_and_what_is_new_stays(tmp_path: Path) -> None:
    """New is what was not here when the master was asked, whatever a file's time says."""
    store = BlockStore(tmp_path)
    old, result, new, other = (
        TaskKey(job, 0, 0, part, 0)
        for job, part in (("j-1", 0), ("j-1", 1), ("j-1", 2), ("j-10", 0))
    )

    def write(*keys: TaskKey, age_s: float) -> None:
        for key in keys:
            write_block(tmp_path, key, [pl.DataFrame({"a": [1]})])
            os.utime(store.path_of(key.block_id), (time.time() - age_s,) * 2)

    write(old, result, other, age_s=-3_600)
    before = store.names()
    write(new, age_s=3_600)
    store.delete_job("j-1", keep=[result], among=before)
    left = {TaskKey.parse(path.stem) for path in tmp_path.glob("*.arrow")}
    assert left == {result, new, other}
    store.delete_job("j-1")
    assert store.names() == {f"{other.block_id}.arrow"}
