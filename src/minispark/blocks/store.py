"""The block directory of a worker: only here block ids become paths."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from minispark.blocks.cache import CACHE_PREFIX
from minispark.blocks.format import SUFFIXES
from minispark.blocks.meta import DATA_SUFFIX
from minispark.config import secure_dir
from minispark.ids import TaskKey


class BlockStore:
    """The blocks that the executors of one worker wrote.

    The directory is made 0700 on construction, and belongs to one worker at a time.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = secure_dir(directory).absolute()

    def path_of(self, block_id: str) -> Path:
        """Return the path of the file of a block, which need not exist.

        Raises
        ------
        ValueError
            ``block_id`` is not a block id; ids come from peers and must not be used as paths.
        """
        return self.directory / f"{TaskKey.parse(block_id).block_id}{DATA_SUFFIX}"

    def delete(self, keys: Iterable[TaskKey]) -> None:
        """Remove blocks, finished or not; one that is missing or cannot be removed is no error.

        Readers that mapped a block keep it until they are done.
        """
        for key in keys:
            for suffix in SUFFIXES:
                _remove(self.directory / f"{key.block_id}{suffix}")

    def names(self) -> frozenset[str]:
        """Return the names of all block files, finished or not, except those of the cache."""
        names = (entry.name for entry in os.scandir(self.directory))
        return frozenset(
            name for name in names if name.endswith(SUFFIXES) and not name.startswith(CACHE_PREFIX)
        )

    def delete_job(
        self, job: str, *, keep: Collection[TaskKey] = (), among: Collection[str] | None = None
    ) -> None:
        """Remove every block of a job, finished or not, except those in ``keep``.

        ``among`` are the names of the files that may be removed, as `names` returned them earlier.
        (Times of files do not show what is new: clocks are set, and a linked file is as old as its
        original.)
        """
        kept_names = {f"{key.block_id}{suffix}" for key in keep for suffix in SUFFIXES}
        for name in self.names() if among is None else among:
            if name.startswith(f"{job}.") and name not in kept_names:
                _remove(self.directory / name)

    def sweep(self) -> int:
        """Remove every block when a worker starts, and return how many files were removed.

        The master no longer counts on blocks that an earlier process of the worker wrote.
        """
        removed = 0
        for entry in os.scandir(self.directory):
            if entry.name.endswith(SUFFIXES) and not entry.is_dir(follow_symlinks=False):
                removed += _remove(Path(entry.path))
        return removed

    def bytes_of_jobs(self) -> int:
        """Return the size of all files except those of the cache."""
        entries = os.scandir(self.directory)
        return _size(entry for entry in entries if not entry.name.startswith(CACHE_PREFIX))


def _remove(path: Path) -> bool:
    """Remove a file; return False if it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _size(entries: Iterable[os.DirEntry[str]]) -> int:
    total = 0
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            total += entry.stat(follow_symlinks=False).st_size
    return total
