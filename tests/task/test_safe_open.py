"""Files and directories of the data root that become links while a task reads or writes them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from minispark.errors import JobFailedError, MinisparkError, UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import ScanFormat, ScanSpec, SinkSpec, Split
from minispark.task import scan_inputs, sinks
from minispark.task.safe_open import make_directory, open_file, pinned_directory
from minispark.task.scan_inputs import pinned_inputs
from minispark.task.scans import open_scan
from minispark.task.spec import ScanTask, SinkFile

JOB = "job-a-1-1"
KEY = TaskKey(JOB, 2, 0, 0, 0)
SINK = SinkSpec("csv", "sub/out", overwrite=True)
ROWS = pl.DataFrame({"a": [1, 2, 3]})
SECRET = pl.DataFrame({"a": [7, 7, 7]})
SCHEMA = pl.Schema({"a": pl.Int64})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("root/sub", "outside"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "root"


def exchange(path: Path, target: Path) -> None:
    """Replace a file or a directory by a link."""
    path.rename(path.with_name(f"{path.name}-before"))
    path.symlink_to(target)


# Reading.

WRITERS: dict[ScanFormat, Callable[[pl.DataFrame, Path], object]] = {
    ScanFormat.CSV: pl.DataFrame.write_csv,
    ScanFormat.JSONL: pl.DataFrame.write_ndjson,
    ScanFormat.PARQUET: pl.DataFrame.write_parquet,
    ScanFormat.TEXT: pl.DataFrame.write_csv,
}


def scan_of(root: Path, form: ScanFormat, parts: int) -> ScanTask:
    """The splits of a file in the root; one that leads out by the same name holds a secret."""
    WRITERS[form](ROWS, root / "sub" / "x")
    WRITERS[form](SECRET, root.parent / "outside" / "x")
    status = (root / "sub" / "x").stat()
    end = ROWS.height if form is ScanFormat.PARQUET else status.st_size
    cuts = [end * part // parts for part in range(parts + 1)]
    splits = tuple(
        Split("sub/x", start, stop, status.st_size, status.st_mtime_ns)
        for start, stop in pairwise(cuts)
    )
    options = {"name": "a"} if form is ScanFormat.TEXT else {}
    return ScanTask("leaf", ScanSpec(form, options), splits)


@pytest.mark.parametrize("what", ["sub", "sub/x"])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("form", WRITERS)
def test_a_file_is_read_that_was_checked(
    root: Path, form: ScanFormat, parts: int, what: str
) -> None:
    scan = scan_of(root, form, parts)
    schema = pl.Schema({"a": pl.String}) if form is ScanFormat.TEXT else SCHEMA
    with pinned_inputs():
        frame = open_scan(scan, schema, quotes=None, data_root=root)
        exchange(root / what, root.parent / what.replace("sub", "outside"))
        assert frame.collect(engine="streaming")["a"].cast(pl.String).to_list()[-3:] == [*"123"]
        with pytest.raises(JobFailedError) as caught:
            scan_inputs.input_path(Split("sub/y", 0, 1, 1, 0), root)
        assert caught.value.info.code in ("MS-230", "MS-234")
    assert scan_inputs._pinned is None


@pytest.mark.parametrize("what", ["sub", "sub/x"])
def test_a_file_that_becomes_a_link_between_look_and_opening_is_refused(
    root: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_of(root, ScanFormat.CSV, 1)
    real = Path.resolve

    def resolve(self: Path, strict: bool = False) -> Path:
        resolved = real(self, strict)
        if self.name == "x" and not (root / what).is_symlink() and looked:
            exchange(root / what, root.parent / what.replace("sub", "outside"))
        if self.name == "x":
            looked.append(self)
        return resolved

    looked: list[Path] = []
    monkeypatch.setattr(Path, "resolve", resolve)
    with pinned_inputs(), pytest.raises(JobFailedError, match="outside the data root") as caught:
        open_scan(scan, SCHEMA, quotes=None, data_root=root)
    assert caught.value.info.code == "MS-234"
    assert len(looked) == 2


@pytest.mark.parametrize("kind", [JobFailedError, pl.exceptions.ComputeError, ValueError])
def test_errors_name_the_file_and_not_its_descriptor(root: Path, kind: type[Exception]) -> None:
    (split,) = scan_of(root, ScanFormat.CSV, 1).splits

    def fail() -> None:
        with pinned_inputs():
            path = scan_inputs.input_path(split, root)
            assert path != root / "sub" / "x"
            assert scan_inputs.file_name(path) == root / "sub" / "x"
            raise kind(f"{path} is bad, /proc/self/fd/99999 is not ours")

    with pytest.raises(kind, match=rf"^{root}/sub/x is bad, /proc/self/fd/99999 is") as caught:
        fail()
    if isinstance(caught.value, JobFailedError):
        assert caught.value.info.message.startswith(f"{root}/sub/x is bad")


def test_links_within_the_root_are_followed_and_others_are_not(root: Path) -> None:
    (root / "sub" / "x").write_text("1")
    (root / "inner").symlink_to("sub")
    (root / "absolute").symlink_to(root / "sub" / "x")
    (root / "out").symlink_to(root.parent / "outside")
    os.mkfifo(root / "pipe")
    for name in ("inner/x", "absolute"):
        descriptor = open_file(root / name, root)
        assert os.read(descriptor, 9) == b"1"
        os.close(descriptor)
    for name in ("out/x", "../outside/x", "out", "."):
        with pytest.raises(UsageError, match="outside the data root"):
            open_file(root / name, root)
    for name in ("pipe", "sub", "nothing", "nothing/x"):
        with pytest.raises(OSError, match=re.escape(str(root / name))) as caught:
            open_file(root / name, root)
        assert caught.value.filename == str(root / name)
    with pytest.raises(UsageError), pinned_directory(root / "out", root):
        pass
    assert make_directory(root / "inner" / "a" / "b", root) == 2
    assert make_directory(root / "inner" / "a" / "b", root) == 0
    assert (root / "sub" / "a" / "b").is_dir()


def test_more_files_than_may_be_open_by_default(root: Path) -> None:
    import resource

    (root / "sub" / "x").write_text("1")
    status = (root / "sub" / "x").stat()
    for number in range(200):
        (root / f"x{number}").hardlink_to(root / "sub" / "x")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 99, limits[1])
    )
    try:
        with pinned_inputs():
            for number in range(200):
                split = Split(f"x{number}", 0, 1, 1, status.st_mtime_ns)
                assert scan_inputs.input_path(split, root).read_text() == "1"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# Writing.


CHANGING = ("mkdir", "rename", "replace", "unlink", "rmdir")
CALLS = frozenset((*CHANGING, "open", "scandir", "listdir", "stat", "lstat", "readlink"))
"""What takes a path, so that it matters where the path leads."""


class At:
    """Calls a function before the nth call of the system; counts them."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self.count, self._number, self._then = 0, number, then

    def __call__(self, _frame: object, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in CALLS:
            self.count += 1
            if self.count == self._number:
                self._then()

    def around(self, work: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            work()
        except (OSError, MinisparkError):
            pass
        finally:
            sys.setprofile(None)


def tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() if path.is_file() else ""
        for path in directory.rglob("*")
    }


def staged(root: Path) -> SinkFile:
    file = sinks.write_part(ROWS, SINK, key=KEY, data_root=str(root))
    assert file is not None
    return file


def tempting(outside: Path) -> None:
    """Files of others, under all the names that a sink writes or removes."""
    folder = outside / f"_minispark-{JOB}"
    folder.mkdir(parents=True)
    for path in (
        outside / "part-00000.csv",
        outside / "part-00001.csv",
        outside / "_SUCCESS",
        folder / f"part-00000.{KEY.block_id}.csv",
    ):
        path.write_text("theirs")


def write(root: Path) -> None:
    staged(root)


def publish(root: Path) -> None:
    file = SinkFile(f"_minispark-{JOB}/part-00000.{KEY.block_id}.csv", "part-00000.csv", 3, 8, None)
    out = root / SINK.path
    sinks.commit([file], directory=out, job=JOB, overwrite=True, root=root)


def withdraw(root: Path) -> None:
    file = SinkFile(f"_minispark-{JOB}/part-00000.{KEY.block_id}.csv", "part-00000.csv", 3, 8, None)
    sinks.withdraw([file], directory=root / SINK.path, job=JOB, root=root)


def discard(root: Path) -> None:
    sinks.discard_part(SINK, key=KEY, data_root=str(root))


def abort(root: Path) -> None:
    sinks.abort(root / SINK.path, JOB, root=root)


@pytest.mark.parametrize(
    ("what", "target"),
    [
        ("sub", "."),
        ("sub/out", "out"),
        (f"sub/out/_minispark-{JOB}", f"out/_minispark-{JOB}"),
        (
            f"sub/out/_minispark-{JOB}/part-00000.{KEY.block_id}.csv",
            f"out/_minispark-{JOB}/part-00000.{KEY.block_id}.csv",
        ),
    ],
)
@pytest.mark.parametrize("work", [write, publish, withdraw, discard, abort])
def test_nothing_outside_changes_whenever_a_link_appears(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Path], None],
    what: str,
    target: str,
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    number, calls = 0, 1
    while number < calls:
        number += 1
        root, outside = tmp_path / f"{number}/root", tmp_path / f"{number}/outside"
        root.mkdir(parents=True)
        tempting(outside / "out")
        if work is not write:
            staged(root)
        before = tree(outside)

        def link(root: Path = root, outside: Path = outside) -> None:
            if (root / what).exists():
                exchange(root / what, outside / target)

        at = At(number, link)
        at.around(partial(work, root))
        calls = max(calls, at.count)
        assert tree(outside) == before, f"after {number} of {calls} calls"
        published = root / SINK.path / "part-00000.csv"
        assert (root / SINK.path).is_symlink() or not published.is_symlink()
    assert calls > 5
