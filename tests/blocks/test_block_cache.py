"""The cache of a worker: its budgets, what goes first, and that its books are the files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from minispark.blocks.cache import BlockCache, CacheChanges, cache_key, memory_budget
from minispark.blocks.format import EMPTY_BLOCK
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.settings import CacheSettings

SHM = Path("/dev/shm")  # noqa: S108
A, B, C = (cache_key(name * 32, 0) for name in "abc")


def budgets(memory: int = 100, disk: int = 300) -> CacheSettings:
    return CacheSettings(memory_bytes=memory, disk_bytes=disk, reserve=0.0)


class Shelf:
    """A cache over a directory, and the blocks of jobs that are put into it."""

    def __init__(self, root: Path, settings: CacheSettings, *, tmpfs: int = 1 << 30) -> None:
        self.store = BlockStore(root / "blocks")
        self.memory = root / "memory"
        self.memory.mkdir()
        self.jobs = root / "jobs"
        self.jobs.mkdir()
        self.tmpfs = tmpfs
        self.cache = BlockCache(
            self.store.directory, memory=self.memory, settings=settings, room=self.room
        )

    def room(self, directory: Path) -> int:
        return self.tmpfs - sum(file.stat().st_size for file in directory.iterdir())

    def put(self, key: TaskKey, size: int) -> bool:
        source = self.jobs / key.block_id
        source.write_bytes(os.urandom(size))
        kept = self.cache.put(key, EMPTY_BLOCK, source)
        source.unlink()
        return kept

    def tier(self, key: TaskKey) -> str:
        path = self.store.path_of(key.block_id)
        if path.is_symlink():
            return "memory" if path.exists() else "broken"
        return "disk" if path.exists() else "gone"

    def tiers(self) -> str:
        return " ".join(self.tier(key) for key in (A, B, C))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, budgets())


def test_a_block_lies_under_one_name_wherever_it_is(shelf: Shelf) -> None:
    shelf.put(A, 60)
    before = shelf.store.path_of(A.block_id).read_bytes()
    assert shelf.tiers() == "memory gone gone"
    shelf.put(B, 60)
    assert shelf.tiers() == "disk memory gone"
    assert shelf.store.path_of(A.block_id).read_bytes() == before
    assert shelf.cache.spills == 1


def test_what_was_used_longest_ago_goes_first(shelf: Shelf) -> None:
    shelf.put(A, 40)
    shelf.put(B, 40)
    shelf.cache.use([A])
    shelf.put(C, 40)
    assert shelf.tiers() == "memory disk memory"
    assert shelf.cache.hits == 1


def test_partitions_of_a_node_do_not_push_each_other_out(shelf: Shelf) -> None:
    first, second = (cache_key("d" * 32, partition) for partition in range(2))
    shelf.put(first, 60)
    shelf.put(second, 60)
    assert (shelf.tier(first), shelf.tier(second)) == ("memory", "disk")


def test_a_disk_that_is_full_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, budgets(memory=0, disk=100))
    shelf.put(A, 40)
    shelf.put(B, 40)
    shelf.cache.use([A])
    assert shelf.put(C, 40)
    assert shelf.tiers() == "disk gone disk"
    assert not shelf.put(B, 101)
    assert shelf.tiers() == "disk gone disk"


def test_the_disk_keeps_a_reserve_for_those_who_work(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, CacheSettings(memory_bytes=0, disk_bytes=100, reserve=1.1))
    assert not shelf.put(A, 10)
    shelf.cache.settings = budgets(memory=0)
    assert shelf.put(A, 10)
    shelf.cache.settings = CacheSettings(memory_bytes=0, disk_bytes=100, reserve=1.1)
    shelf.cache.make_room()
    assert shelf.tiers() == "gone gone gone"


def test_the_memory_tier_makes_way_for_those_who_work(shelf: Shelf) -> None:
    shelf.put(A, 40)
    shelf.put(B, 40)
    shelf.tmpfs = 50
    shelf.cache.make_room()
    assert shelf.tiers() == "disk memory gone"


def test_the_memory_tier_never_takes_more_than_the_tmpfs_has(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, budgets(memory=1000), tmpfs=50)
    assert shelf.put(A, 40)
    assert shelf.put(B, 40)
    assert shelf.tiers() == "disk memory gone"
    assert shelf.put(C, 60)
    assert shelf.tier(C) == "disk"


def test_a_tmpfs_that_fills_up_meanwhile_is_no_accident(tmp_path: Path) -> None:
    """Room is reserved when a file is made: what does not fit is refused, not found out later."""
    shelf = Shelf(tmp_path, budgets())
    shutil.rmtree(shelf.memory)  # stands for any error of the tmpfs
    shelf.cache._memory_room = lambda _: 1 << 30
    assert shelf.put(A, 40)
    assert shelf.tiers() == "disk gone gone"


@pytest.mark.skipif(not SHM.is_dir(), reason="there is no tmpfs")
def test_on_a_real_tmpfs_all_of_a_block_is_there(tmp_path: Path) -> None:
    with TemporaryDirectory(dir=SHM, prefix="minispark-test-") as memory:
        cache = BlockCache(tmp_path, memory=Path(memory), settings=budgets(1 << 20))
        source = tmp_path / "source"
        source.write_bytes(bytes(300_000))
        assert cache.put(A, EMPTY_BLOCK, source)
        (file,) = Path(memory).iterdir()
        assert file.stat().st_blocks * 512 >= 300_000
    assert memory_budget(SHM, 1 << 60) == shutil.disk_usage(SHM).total // 2
    assert memory_budget(tmp_path / "none", 1) == 0


def test_a_block_that_was_deleted_before_it_could_be_kept(shelf: Shelf) -> None:
    assert not shelf.cache.put(A, EMPTY_BLOCK, shelf.jobs / "gone")
    assert shelf.cache.get(A) is None


def test_what_is_kept_is_no_job_of_the_worker(shelf: Shelf) -> None:
    shelf.put(A, 10)
    assert shelf.store.names() == frozenset()


def followed(known: dict[TaskKey, object], changes: CacheChanges) -> None:
    """Do with changes what a master does."""
    if not changes.since:
        known.clear()
    known.update((block.key, block.meta) for block in changes.added)
    for key in changes.removed:
        known.pop(key, None)


class CacheMachine(RuleBasedStateMachine):
    """The cache beside a model: lists of keys, the one used longest ago first."""

    MEMORY, DISK = 100, 200

    def __init__(self) -> None:
        super().__init__()
        self.root = TemporaryDirectory(prefix="minispark-test-")
        self.shelf = Shelf(Path(self.root.name), budgets(self.MEMORY, self.DISK), tmpfs=130)
        self.order: list[TaskKey] = []
        self.memory: dict[TaskKey, int] = {}
        self.disk: dict[TaskKey, int] = {}
        self.known: dict[TaskKey, object] = {}
        self.heard = 0

    def teardown(self) -> None:
        self.root.cleanup()

    def to_disk(self, key: TaskKey, size: int) -> bool:
        if size > self.DISK:
            return False
        while sum(self.disk.values()) + size > self.DISK:
            oldest = next(k for k in self.order if k in self.disk)
            del self.disk[oldest]
            self.order.remove(oldest)
        self.disk[key] = size
        return True

    def to_memory(self, key: TaskKey, size: int) -> bool:
        if not 0 < size <= self.MEMORY:
            return False
        while sum(self.memory.values()) + size > self.MEMORY:
            others = (k for k in self.order if k in self.memory and k.job != key.job)
            oldest = next(others, None)
            if oldest is None:
                return False
            if not self.to_disk(oldest, self.memory.pop(oldest)):
                self.order.remove(oldest)
        self.memory[key] = size
        return True

    keys = st.builds(cache_key, st.sampled_from(["a" * 32, "b" * 32, "c" * 32]), st.integers(0, 3))

    @rule(key=keys, size=st.integers(0, 230))
    def put(self, key: TaskKey, size: int) -> None:
        kept = self.shelf.put(key, size)
        if key in self.order:
            self.order.remove(key)
        elif not self.to_memory(key, size) and not self.to_disk(key, size):
            assert not kept
            return
        assert kept
        self.order.append(key)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.order))
        self.shelf.cache.use([key])
        self.order.remove(key)
        self.order.append(key)

    @rule(key=keys)
    def drop(self, key: TaskKey) -> None:
        self.shelf.cache.drop([key])
        if key in self.order:
            self.order.remove(key)
            self.memory.pop(key, None)
            self.disk.pop(key, None)

    @rule(forgets=st.booleans())
    def tell(self, forgets: bool) -> None:
        changes = self.shelf.cache.changes(0 if forgets else self.heard)
        followed(self.known, changes)
        self.heard = changes.version
        assert list(self.known) == [k for k in self.known if self.shelf.cache.get(k) is not None]
        assert set(self.known) == set(self.order)

    @invariant()
    def the_books_are_the_files(self) -> None:
        cache = self.shelf.cache
        in_memory = {f.name: f.stat().st_size for f in self.shelf.memory.iterdir()}
        names = list(self.shelf.store.directory.iterdir())
        on_disk = {f.name: f.stat().st_size for f in names if not f.is_symlink()}
        assert in_memory == {f"{k.block_id}.arrow": size for k, size in self.memory.items()}
        assert on_disk == {f"{k.block_id}.arrow": size for k, size in self.disk.items()}
        assert len(names) == len(in_memory) + len(on_disk)
        assert cache.memory_bytes == sum(in_memory.values()) <= self.MEMORY
        assert cache.disk_bytes == sum(on_disk.values()) <= self.DISK
        assert list(cache._entries) == self.order
        assert cache._added.keys() == cache._entries.keys()
        assert cache._in_memory.total() == len(in_memory)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
