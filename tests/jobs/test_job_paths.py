"""Where paths lead, and where they may not."""

import os
from pathlib import Path

import pytest
from tests.jobs.job_kit import Job, chain, refused

from minispark.jobs import compile_job, parse_job, plan_job


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.txt").write_text("secret\n")
    return secret


@pytest.fixture
def inside(root: Path) -> Path:
    (root / "d").mkdir()
    (root / "d" / "x.txt").write_text("fine\n")
    return root


def read(path: object) -> Job:
    return chain({"id": "r", "op": "read_text", "path": path})


def rows(path: object, root: Path | None) -> list[str]:
    (output,) = compile_job(parse_job(read(path)), data_root=root).outputs
    return output.frame.collect()["text"].to_list()


def test_paths_under_the_root_are_found(inside: Path) -> None:
    for path in ("d/x.txt", "./d/../d/x.txt", "d", "*/x.txt", str(inside / "d/x.txt"), ["d/x.txt"]):
        assert rows(path, inside) == ["fine"]


def test_plans_hold_paths_relative_to_the_root(inside: Path) -> None:
    for path in ("d/x.txt", str(inside / "d" / "*.txt")):
        (stage,) = plan_job(read(path), data_root=inside).stages
        (splits,) = stage.branches[0].scans[0].tasks
        assert [split.path for split in splits] == ["d/x.txt"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret/x.txt",
        "d/../../secret/x.txt",
        "d/*/../../../secret/*",
        "../*/x.txt",
        "{outside}/x.txt",
        "{outside}/*",
        "/etc/passwd",
        "..",
        "../root2/x",
        "link/x.txt",
        "link",
        "l*/x.txt",
        "d/link.txt",
        "d/l*.txt",
        "d",
        ["d/x.txt", "../secret/x.txt"],
    ],
)
def test_nothing_outside_the_root_is_read(inside: Path, outside: Path, path: str) -> None:
    (inside / "link").symlink_to(outside)
    (inside / "d" / "link.txt").symlink_to(outside / "x.txt")
    given = path.format(outside=outside) if isinstance(path, str) else path
    info = refused(read(given), inside)
    # What a pattern or a folder met by a link is told as if it were not there.
    met = path in ("l*/x.txt", "d/l*.txt", "d")
    assert (info.node, info.field, info.code) == ("r", "path", "MS-110" if met else "MS-166")
    assert ("matches no file" if met else "outside the data root") in info.message
    assert "secret\n" not in info.message


def test_a_root_that_is_a_link_is_fine(inside: Path, tmp_path: Path) -> None:
    link = tmp_path / "link-to-root"
    link.symlink_to(inside)
    for path in ("d/x.txt", str(link / "d/x.txt"), str(inside / "d/x.txt")):
        assert rows(path, link) == ["fine"]


@pytest.mark.parametrize(
    "path",
    [
        "http://x/y.txt",
        "s3://b/k",
        "HTTPS://x",
        "file:///etc/passwd",
        "hf://a/b",
        "file:/etc/passwd",
    ],
)
@pytest.mark.parametrize("rooted", [True, False])
def test_urls_are_refused(inside: Path, path: str, rooted: bool) -> None:
    info = refused(read(path), inside if rooted else None)
    assert (info.field, info.code) == ("path", "MS-166")
    assert "URL" in info.message


def test_null_characters_are_refused(inside: Path) -> None:
    assert "null character" in refused(read("d/\0"), inside).message


@pytest.mark.parametrize("path", ["nope.txt", "d/*.csv", "nope/*", "d/y.txt", ["d/x.txt", "gone"]])
def test_what_is_not_there_is_named(inside: Path, path: str | list[str]) -> None:
    info = refused(read(path), inside)
    assert info.exception == "FileNotFoundError"
    missing = path if isinstance(path, str) else path[-1]
    assert (info.node, info.field, info.file, info.code) == ("r", "path", missing, "MS-110")
    assert missing in info.message
    assert str(inside) in (info.hint or "")


def test_an_empty_directory_is_named(inside: Path) -> None:
    (inside / "empty").mkdir()
    assert refused(read("empty"), inside).code == "MS-110"


def test_without_a_root_paths_start_where_the_process_did(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside / "d")
    assert rows("x.txt", None) == ["fine"]
    assert rows("../d/x.txt", None) == ["fine"]


def test_the_name_of_the_root_itself_may_come_first(inside: Path) -> None:
    assert rows("root/d/x.txt", inside) == ["fine"]
    (inside / "root").mkdir()
    assert refused(read("root/d/x.txt"), inside).code == "MS-110"


def write(path: str, **fields: object) -> Job:
    return chain(
        {"id": "r", "op": "read_text", "path": "d/x.txt"},
        {"id": "w", "op": "write_csv", "path": path, **fields},
    )


def test_outputs_stay_under_the_root(inside: Path, outside: Path) -> None:
    (inside / "link").symlink_to(outside)
    for path in ("../x", "/elsewhere/x", "link/x", "d/../../secret", "s3://b/k", "."):
        info = refused(write(path), inside)
        assert (info.node, info.field, info.code) == ("w", "path", "MS-166")
    for path in ("out", "a/b/../b", str(inside / "a/b")):
        (output,) = compile_job(parse_job(write(path)), data_root=inside).outputs
        assert output.sink is not None
        assert output.sink.path in ("out", "a/b")


def test_a_job_may_not_write_where_it_reads(inside: Path) -> None:
    for path in ("d", "./d/"):
        info = refused(write(path, overwrite=True), inside)
        assert (info.node, info.field) == ("w", "path")
        assert "'r' reads from there" in info.message


def test_two_writers_need_two_places(inside: Path) -> None:
    job = write("out")
    job["dag"]["nodes"].append({"id": "w2", "op": "write_jsonl", "path": "out/deeper"})
    job["dag"]["edges"].append(["r", "w2"])
    info = refused(job, inside)
    assert info.node == "w2"
    assert "'w' writes there too" in info.message


@pytest.mark.parametrize("name", ["[x].txt", "a*.txt", "[d]", "what?"])
def test_a_file_that_is_there_is_no_pattern(inside: Path, name: str) -> None:
    place = inside / name
    if not place.suffix:
        place.mkdir()
        place /= "x.txt"
    place.write_text("here\n")
    (inside / "ab.txt").write_text("other\n")
    assert rows(name, inside) == ["here"]
    (stage,) = plan_job(read(name), data_root=inside).stages
    (splits,) = stage.branches[0].scans[0].tasks
    assert [split.path for split in splits] == [str(place.relative_to(inside))]


def test_a_root_may_look_like_a_pattern(tmp_path: Path) -> None:
    root = tmp_path / "[r]"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "x.txt").write_text("here\n")
    for path in ("sub", "sub/*.txt", "sub/x.txt"):
        assert rows(path, root) == ["here"]


def test_a_directory_is_all_files_below_it_without_hidden_ones(inside: Path) -> None:
    for name in ("_SUCCESS", ".x.txt.crc", "x.txt.crc", "_temporary/y.txt", ".git/z.txt"):
        (inside / "d" / name).parent.mkdir(exist_ok=True)
        (inside / "d" / name).write_text("hidden\n")
    (inside / "d" / "e" / "f").mkdir(parents=True)
    (inside / "d" / "e" / "f" / "y.TXT").write_text("deep\n")
    assert rows("d", inside) == ["deep", "fine"]
    assert rows("d/*.crc", inside) == ["hidden", "hidden"], "a pattern means what Polars matches"


def test_a_directory_of_different_formats_is_refused(inside: Path) -> None:
    (inside / "d" / "z.csv.gz").write_text("text\n1\n")
    info = refused(read("d"), inside)
    assert (info.node, info.field, info.code) == ("r", "path", "MS-168")
    assert "different endings: .txt (1), .csv (1)" in info.message
    assert info.hint == "Name the files of one format by a pattern: d/**/*.txt."
    assert rows("d/**/*.txt", inside) == ["fine"]


def test_a_pipe_is_refused_before_it_is_opened(inside: Path) -> None:
    # Opening it would wait for a process that writes to it.
    os.mkfifo(inside / "d" / "pipe.txt")
    info = refused(read("d/pipe.txt"), inside)
    assert (info.node, info.field, info.code) == ("r", "path", "MS-166")
    assert "not a regular file" in info.message
