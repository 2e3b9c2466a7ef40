from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import SinkSpec
from minispark.task import sinks
from minispark.task.spec import SinkFile

JOB = "job-a-1-1"
KEY = TaskKey(JOB, 2, 0, 0, 0)
ROWS = pl.DataFrame({"word": ["a", "b"], "n": [1, 2]})


def write(
    root: Path, *frames: pl.DataFrame, form: str = "csv", attempt: int = 0, job: str = JOB
) -> list[SinkFile]:
    """Write one partition for each frame, as the attempts of a job do."""
    sink = SinkSpec(form, "out")
    root.mkdir(exist_ok=True)
    keys = [TaskKey(job, 2, 0, partition, attempt) for partition in range(len(frames))]
    files = [
        sinks.write_part(frame, sink, key=key, data_root=str(root))
        for frame, key in zip(frames, keys, strict=True)
    ]
    return [file for file in files if file is not None]


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith("made-")
    }


@pytest.mark.parametrize(
    ("form", "read"),
    [("csv", pl.read_csv), ("jsonl", pl.read_ndjson), ("parquet", pl.read_parquet)],
)
def test_a_part_is_staged_under_its_whole_key_and_published_by_partition(
    tmp_path: Path, form: str, read: Callable[[Path], pl.DataFrame]
) -> None:
    (file,) = write(tmp_path, ROWS, form=form)
    assert file.staged == f"_minispark-{JOB}/part-00000.{JOB}.2.0.0.0.{form}"
    assert file.final == f"part-00000.{form}"
    assert list(tree(tmp_path / "out")) == [file.staged]
    assert file.bytes == (tmp_path / "out" / file.staged).stat().st_size
    assert file.rows == 2
    names = sinks.commit([file], directory=tmp_path / "out", job=JOB, overwrite=False)
    assert names == (file.final,)
    assert set(tree(tmp_path / "out")) == {file.final, "_SUCCESS"}
    assert read(tmp_path / "out" / file.final).equals(ROWS)


def test_where_the_files_of_a_sink_go(tmp_path: Path) -> None:
    sink = SinkSpec("csv", str(tmp_path / "abs"))
    assert sinks.sink_directory(sink, None) == tmp_path / "abs"
    assert sinks.sink_directory(sink, str(tmp_path)) == tmp_path / "abs"
    with pytest.raises(UsageError, match="outside the data root"):
        sinks.sink_directory(sink, "/data")
    assert sinks.sink_directory(SinkSpec("csv", "out"), "/data") == Path("/data/out")
    assert sinks.sink_directory(SinkSpec("csv", "out"), None) == Path("out")


def test_empty_partitions_write_no_file_but_the_first_of_an_empty_result(tmp_path: Path) -> None:
    files = write(tmp_path, ROWS.clear(), ROWS, ROWS.clear())
    assert [file.final for file in files] == ["part-00000.csv", "part-00001.csv"]
    sinks.commit(files, directory=tmp_path / "out", job=JOB, overwrite=False)
    assert set(tree(tmp_path / "out")) == {"part-00001.csv", "_SUCCESS"}

    empty = write(tmp_path / "2", ROWS.clear(), ROWS.clear())
    sinks.commit(empty, directory=tmp_path / "2/out", job=JOB, overwrite=False)
    assert tree(tmp_path / "2/out") == {"part-00000.csv": b"word,n\n", "_SUCCESS": b""}


class Crash(Exception):  # noqa: N818
    pass


def crashing_after(steps: int) -> Callable[[Path, Path], None]:
    left = [steps]

    def rename(source: Path, target: Path) -> None:
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        source.replace(target)

    return rename


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("steps", range(3))
def test_a_commit_cut_short_at_any_rename_ends_the_same(
    tmp_path: Path, steps: int, overwrite: bool
) -> None:
    out = tmp_path / "out"
    if overwrite:
        old = write(tmp_path, *[ROWS.head(1)] * 5, job="job-a-1-0")
        sinks.commit(old, directory=out, job="job-a-1-0", overwrite=False)
        (out / "notes.txt").write_text("mine")
        (out / "part-00001.csv.bak").write_text("mine")
    files = write(tmp_path, ROWS, ROWS.clear(), ROWS.reverse(), ROWS)
    for _ in range(2):
        with pytest.raises(Crash):
            sinks.commit(
                files, directory=out, job=JOB, overwrite=overwrite, rename=crashing_after(steps)
            )
        assert not (out / "_SUCCESS").exists()
        steps = 0
    # Once more after the end: a journal that was not told replays everything.
    for _ in range(2):
        sinks.commit(files, directory=out, job=JOB, overwrite=overwrite)
        found = tree(out)
        assert found.pop("_SUCCESS") == b""
        if overwrite:
            assert found.pop("notes.txt") == found.pop("part-00001.csv.bak") == b"mine"
        assert found == {
            "part-00000.csv": b"word,n\na,1\nb,2\n",
            "part-00002.csv": b"word,n\nb,2\na,1\n",
            "part-00003.csv": b"word,n\na,1\nb,2\n",
        }


def test_a_commit_cut_short_before_its_mark_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, ROWS, ROWS)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "_mark", lambda _: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            sinks.commit(files, directory=out, job=JOB, overwrite=False)
    assert not (out / "_SUCCESS").exists()
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "abort", lambda *_, **__: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            sinks.commit(files, directory=out, job=JOB, overwrite=False)
    sinks.commit(files, directory=out, job=JOB, overwrite=False)
    assert set(tree(out)) == {"part-00000.csv", "part-00001.csv", "_SUCCESS"}
    assert not (out / f"_minispark-{JOB}").exists()


def test_a_commit_that_somebody_takes_back_meanwhile_leaves_no_mark(tmp_path: Path) -> None:
    files = write(tmp_path, ROWS, ROWS)
    out = tmp_path / "out"

    def rename(source: Path, target: Path) -> None:
        source.replace(target)
        (out / "part-00000.csv").unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError, match=r"part-00000\.csv was not published"):
        sinks.commit(files, directory=out, job=JOB, overwrite=False, rename=rename)
    assert set(tree(out)) == {"part-00001.csv"}


@pytest.mark.parametrize("steps", range(4))
def test_what_a_failed_commit_published_is_taken_back(tmp_path: Path, steps: int) -> None:
    out = tmp_path / "out"
    files = write(tmp_path, ROWS, ROWS.clear(), ROWS.reverse(), ROWS)
    if steps < 3:
        with pytest.raises(Crash):
            sinks.commit(
                files, directory=out, job=JOB, overwrite=False, rename=crashing_after(steps)
            )
        (out / "part-00003.csv").write_text("mine")
    else:
        sinks.commit(files, directory=out, job=JOB, overwrite=False)
    strange = replace(files[0], final="../notes.txt", staged="nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    sinks.withdraw([*files, strange], directory=out, job=JOB)
    sinks.abort(out, JOB)
    assert tree(out) == ({"part-00003.csv": b"mine"} if steps < 3 else {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_only_accepted_attempts_are_published(tmp_path: Path) -> None:
    write(tmp_path, ROWS.head(1), attempt=0)
    accepted = write(tmp_path, ROWS, attempt=1)
    sinks.commit(accepted, directory=tmp_path / "out", job=JOB, overwrite=False)
    assert tree(tmp_path / "out") == {"part-00000.csv": b"word,n\na,1\nb,2\n", "_SUCCESS": b""}


def test_a_lost_file_and_a_stranger_stop_the_commit_before_it_begins(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = write(tmp_path, ROWS, ROWS)
    stranger = out / "part-00001.csv"
    stranger.write_text("mine")
    with pytest.raises(UsageError, match="appeared while"):
        sinks.commit(files, directory=out, job=JOB, overwrite=False)
    stranger.unlink()
    (out / files[1].staged).unlink()
    with pytest.raises(FileNotFoundError, match="was not published"):
        sinks.commit(files, directory=out, job=JOB, overwrite=False)
    assert not (out / "part-00000.csv").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"staged": f"_minispark-{JOB}/../../part-00000.{JOB}.2.0.0.0.csv"},
        {"staged": f"_minispark-job-b-1-1/part-00000.{JOB}.2.0.0.0.csv"},
        {"staged": f"_minispark-{JOB}/part-00000.job-b-1-1.2.0.0.0.csv"},
        {"staged": f"_minispark-{JOB}/part-00000.nonsense.csv"},
        {"staged": f"_minispark-{JOB}/part-00001.{JOB}.2.0.0.0.csv", "final": "part-00001.csv"},
        {"final": "part-00001.csv"},
        {"final": "../part-00000.csv"},
        {"final": "part-00000.parquet"},
        {"final": "_SUCCESS"},
    ],
)
def test_names_from_elsewhere_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    (file,) = write(tmp_path, ROWS)
    renamed = replace(file, **change)  # type: ignore[arg-type]  # both fields are texts
    with pytest.raises(UsageError, match="no file names"):
        sinks.commit([renamed], directory=tmp_path / "out", job=JOB, overwrite=True)


def test_prepare_refuses_what_holds_something(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sinks.check_directory(out, overwrite=False)
    write(tmp_path, ROWS)
    sinks.check_directory(out, overwrite=False)
    (out / "old.csv").touch()
    with pytest.raises(UsageError, match="not empty"):
        sinks.check_directory(out, overwrite=False)
    sinks.check_directory(out, overwrite=True)
    with pytest.raises(UsageError, match="is a file"):
        sinks.check_directory(out / "old.csv", overwrite=True)


def test_abort_takes_what_was_staged(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    (tmp_path / "out/mine").touch()
    sinks.abort(tmp_path / "out", JOB)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    sinks.abort(tmp_path / "out", JOB)


def test_an_unknown_format_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format 'xls'"):
        write(tmp_path, ROWS, form="xls")


def test_a_part_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    nested = pl.DataFrame({"l": [[1]]})
    with pytest.raises(pl.exceptions.ComputeError):
        write(tmp_path, nested)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(pl.exceptions.ComputeError):
        sinks.write_part(nested, SinkSpec("csv", str(tmp_path / "a/b/c")), key=KEY, data_root=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rooted", [True, False])
def test_a_job_that_fails_removes_the_directories_that_it_made_and_no_other(
    tmp_path: Path, rooted: bool
) -> None:
    (tmp_path / "mine").mkdir()
    data_root, root = (str(tmp_path), tmp_path) if rooted else (None, None)
    for name, left in (("a/b/c", ["mine"]), ("mine", ["mine"]), ("mine/d/e", ["mine"])):
        out = tmp_path / name
        sink = SinkSpec("csv", name if rooted else str(out))
        other = KEY._replace(partition=1)
        for key in (KEY, other):
            sinks.write_part(ROWS, sink, key=key, data_root=data_root)
        sinks.discard_part(sink, key=other, data_root=data_root)
        assert len(tree(out)) == 1
        sinks.abort(out, JOB, root=root)
        assert [path.name for path in tmp_path.iterdir()] == left
        assert list((tmp_path / "mine").iterdir()) == []
        # An attempt that is late, its job over, leaves nothing either.
        sinks.write_part(ROWS, sink, key=KEY, data_root=data_root)
        sinks.discard_part(sink, key=KEY, data_root=data_root)
        assert [path.name for path in tmp_path.iterdir()] == left


def test_an_output_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "file").touch()
    (tmp_path / "good").mkdir()
    (tmp_path / "link").symlink_to("good")
    for name, says in (
        ("dangling", "the output .*/dangling is a broken link"),
        ("round", "the output .*/round is a broken link"),
        ("dangling/out", "the output .*/out cannot be created: .*/dangling is a broken link"),
        ("file/a/b", "the output .*/b cannot be created: .*/file is a file, not a directory"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            sinks.check_directory(tmp_path / name, overwrite=True)
        assert caught.value.info.code == "MS-120"
    for name in ("good", "link", "link/out", "new/a/b"):
        sinks.check_directory(tmp_path / name, overwrite=False)


def test_a_link_is_not_published(tmp_path: Path) -> None:
    """Another account may own the staging directory: what it links to is not ours to show."""
    (file,) = write(tmp_path, ROWS)
    secret = tmp_path / "secret"
    secret.write_text("word,n\nhidden,1\n")
    staged = tmp_path / "out" / file.staged
    staged.unlink()
    staged.symlink_to(secret)
    with pytest.raises(UsageError, match="is a link"):
        sinks.commit([file], directory=tmp_path / "out", job=JOB, overwrite=False)
    assert not (tmp_path / "out" / file.final).exists()
