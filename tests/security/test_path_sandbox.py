"""With a data root: 40 ways to leave it, as a path, a pattern, a link, a URL, SQL or a sink.

Each is tried on a JSON job (refused by the planner) and on a Polars plan (refused in the task).
A secret lies beside the data root; no answer may hold it, nor tell whether there is such a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import polars as pl
import pytest
from tests.task.bench import attempt

from minispark.blocks.fetch import FetchSettings
from minispark.errors import ErrorInfo, TaskError, UsageError
from minispark.ids import TaskKey
from minispark.jobs.compile import plan_job
from minispark.plan.polars_plan import plan_header
from minispark.plan.stages import Output, OutputKind, ScanFormat, ScanSpec, SinkSpec, Split
from minispark.task.safe_open import is_inside
from minispark.task.spec import ScanTask, TaskFailure, TaskReport, TaskSpec

SECRET = "hunter2"  # noqa: S105
KEY = TaskKey("job-a-1-1", 0, 0, 0, 0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with one file and some links, and a secret beside it."""
    inside = tmp_path / "data"
    (inside / "sub" / "deep").mkdir(parents=True)
    (inside / "x.csv").write_text("a,b\n1,2\n")
    (inside / "sub" / "y.csv").write_text("a,b\n3,4\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(f"a,b\n{SECRET},1\n")
    (tmp_path / "data-not").mkdir()
    (tmp_path / "data-not" / "secret.csv").write_text(f"a,b\n{SECRET},1\n")
    (inside / "file-link.csv").symlink_to(outside / "secret.csv")
    (inside / "dangling.csv").symlink_to(outside / "nothing.csv")
    (inside / "dir-link").symlink_to(outside)
    (inside / "up").symlink_to("..")
    (inside / "round").symlink_to("round")
    (inside / "inner-link.csv").symlink_to(inside / "x.csv")
    monkeypatch.chdir(inside)
    monkeypatch.setenv("HOME", str(outside))
    return inside


HOSTILE = [
    "{outside}/secret.csv",
    "{outside}/nothing.csv",
    "/etc/passwd",
    "/proc/self/environ",
    "//{outside}/secret.csv",
    "/./{outside}/./secret.csv",
    "../outside/secret.csv",
    "../outside/nothing.csv",
    "sub/../../outside/secret.csv",
    "sub/deep/../../../outside/secret.csv",
    "./../outside/secret.csv",
    "..//outside//secret.csv",
    "up/outside/secret.csv",
    "up/data/../outside/secret.csv",
    "../data-not/secret.csv",
    "{root}-not/secret.csv",
    "{root}/../outside/secret.csv",
    "file-link.csv",
    "dangling.csv",
    "dir-link/secret.csv",
    "dir-link/nothing.csv",
    "dir-link",
    "dir-link/",
    "dir-link/*.csv",
    "dir-link/*",
    "dir-l*/secret.csv",
    "dir-l?nk/*.csv",
    "[d]ir-link/secret.csv",
    "*/secret.csv",
    "**/secret.csv",
    "up/out*/secret.csv",
    "../*/secret.csv",
    "round",
    "round/secret.csv",
    "~/secret.csv",
    "file://{outside}/secret.csv",
    "file:{outside}/secret.csv",
    "FILE://{outside}/secret.csv",
    "file://localhost{outside}/secret.csv",
    "http://127.0.0.1:9/secret.csv",
    "https://127.0.0.1:9/secret.csv",
    "s3://bucket/secret.csv",
    "gs://bucket/secret.csv",
    "hf://datasets/a/b/secret.csv",
    "abfss://a@b/secret.csv",
    "x.csv\0.parquet",
    "../outside/secret.csv\0",
    "a" * 300 + "/" + "b" * 5_000,
    "../" * 2_000 + "etc/passwd",
    "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/outside/secret.csv",
    "%2e%2e/outside/secret.csv",
    "..\\outside\\secret.csv",
    "\N{RIGHT-TO-LEFT OVERRIDE}../outside/secret.csv",
    " ../outside/secret.csv",
    "../OUTSIDE/secret.csv",
    "../outside/./SECRET.CSV",
]


def filled(path: str, root: Path) -> str:
    return path.replace("{root}", str(root)).replace("{outside}", str(root.parent / "outside"))


def job(path: str, op: str = "read_csv") -> dict[str, object]:
    return {"dag": {"nodes": [{"id": "read", "op": op, "path": path}], "edges": []}}


def refused(obj: object, root: Path) -> ErrorInfo:
    with pytest.raises(UsageError) as caught:
        plan_job(obj, data_root=root)
    return caught.value.info


def run(frame: pl.LazyFrame, root: Path | None, blocks: Path) -> TaskReport | TaskFailure:
    return run_bytes(frame.serialize(), root, blocks)


def run_bytes(
    fragment: bytes,
    root: Path | None,
    blocks: Path,
    output: Output | None = None,
    scans: tuple[ScanTask, ...] = (),
) -> TaskReport | TaskFailure:
    spec = TaskSpec(
        KEY,
        fragment,
        scans,
        (),
        output or Output(OutputKind.SINGLE),
        block_directory=str(blocks),
        data_root=None if root is None else str(root),
    )
    return attempt(spec, fetch=FetchSettings())


def failed(outcome: TaskReport | TaskFailure) -> ErrorInfo:
    assert isinstance(outcome, TaskFailure), outcome
    assert isinstance(outcome.failure, TaskError), outcome
    return outcome.failure.error


def quiet(info: ErrorInfo) -> None:
    """An error must not hold what lies outside."""
    assert SECRET not in repr(info)
    assert "root:x:0" not in repr(info)


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("op", ["read", "read_csv", "read_text", "read_jsonl", "read_parquet"])
def test_no_reader_of_a_json_job_leaves_the_data_root(root: Path, path: str, op: str) -> None:
    info = refused(job(filled(path, root), op), root)
    assert info.code in ("MS-166", "MS-110", "MS-160"), info
    quiet(info)


@pytest.mark.parametrize("path", HOSTILE)
def test_no_writer_of_a_json_job_leaves_the_data_root(root: Path, path: str) -> None:
    given = filled(path, root)
    nodes = [
        {"id": "read", "op": "read_csv", "path": "x.csv"},
        {"id": "out", "op": "write_csv", "path": given},
    ]
    before = everything(root.parent)
    try:
        graph = plan_job({"dag": {"nodes": nodes, "edges": [["read", "out"]]}}, data_root=root)
    except UsageError as error:
        quiet(error.info)
    else:
        # A strange name, but one inside.
        (sink,) = [s.output.sink for s in graph.stages if s.output.sink is not None]
        assert (root / sink.path).resolve().is_relative_to(root), sink.path
        assert ".." not in Path(sink.path).parts
    assert everything(root.parent) == before


def everything(folder: Path) -> set[str]:
    return {os.fspath(path) for path in folder.rglob("*")}


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("scan", [pl.scan_csv, pl.scan_lines, pl.scan_parquet, pl.scan_ipc])
def test_no_scan_of_a_polars_plan_leaves_the_data_root(
    root: Path, tmp_path: Path, path: str, scan: Callable[..., pl.LazyFrame]
) -> None:
    given = filled(path, root)
    info = failed(run_bytes(scan_of(given, scan), root, tmp_path))
    quiet(info)
    inside = Path(os.path.normpath(root / given)).is_relative_to(root)
    if not inside or given.startswith(("file-link", "dangling", "dir-link", "up/")):
        assert info.code in ("MS-234", "MS-612"), info


def scan_of(path: str, scan: Callable[..., pl.LazyFrame]) -> bytes:
    """A plan that names a path as it stands; Polars' own functions tidy up some of them."""
    plan = msgpack.unpackb(scan("HERE").serialize()[len(plan_header()) :], strict_map_key=False)
    for slot in plan["dsl_plans"]:
        if slot["value"] is not None:
            slot["value"]["Scan"]["sources"]["Paths"][0]["inner"] = path
    packed: bytes = msgpack.packb(plan)
    return plan_header() + packed


QUERIES = [
    "SELECT * FROM read_csv('{p}')",
    "SELECT * FROM READ_CSV('{p}')",
    "SELECT * FROM \"read_csv\"('{p}')",
    "SELECT * FROM `read_csv`('{p}')",
    "SELECT * FROM read_csv ( '{p}' )",
    "SELECT * FROM read_csv/* a /* b */ c */('{p}')",
    "SELECT * FROM read_csv--\n('{p}')",
    "SELECT * FROM read_csv(['{p}'])",
    "SELECT * FROM read_csv(['x.csv', '{p}'])",
    "SELECT * FROM read_csv(E'{p}')",
    "SELECT * FROM read_parquet('{p}')",
    "SELECT * FROM read_ipc('{p}')",
    "SELECT * FROM read_json('{p}')",
    "SELECT t.a FROM t JOIN read_csv('{p}') AS o ON t.a = o.b",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM read_csv('{p}'))",
    "SELECT * FROM t WHERE a IN (SELECT b FROM read_csv('{p}'))",
    "SELECT (SELECT a FROM read_csv('{p}') LIMIT 1) AS x FROM t",
    "WITH o AS (SELECT * FROM read_csv('{p}')) SELECT * FROM o",
    "SELECT a FROM t UNION ALL SELECT b FROM read_csv('{p}')",
    "FROM read_csv('{p}') SELECT a",
    "SELECT * FROM '{p}'",
    'SELECT * FROM "{p}"',
    "SELECT 'it''s' AS q, o.* FROM read_csv('{p}') AS o",
]
TARGETS = ["{outside}/secret.csv", "../outside/secret.csv", "up/out*/secret.csv", "file-link.csv"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("query", QUERIES)
def test_no_query_leaves_the_data_root(root: Path, tmp_path: Path, query: str, target: str) -> None:
    text = query.replace("{p}", filled(target, root))
    nodes = [
        {"id": "t", "op": "read_csv", "path": "x.csv"},
        {"id": "q", "op": "sql", "query": text},
    ]
    with pytest.raises((UsageError, pl.exceptions.PolarsError)) as caught:
        plan_job({"dag": {"nodes": nodes, "edges": [["t", "q"]]}}, data_root=root)
    assert SECRET not in str(caught.value)
    info = failed(run_bytes(sql_plan(text), root, tmp_path))
    quiet(info)


def sql_plan(text: str) -> bytes:
    """A query as Polars defers it, without asking Polars what it thinks of the text."""
    context = pl.SQLContext({"t": pl.LazyFrame({"a": [1]})})
    frame = context.execute("SELECT * FROM t /* HERE */", eager=False)
    plan = msgpack.unpackb(frame.serialize()[len(plan_header()) :], strict_map_key=False)
    changed = 0
    for slot in plan["dsl_plans"]:
        if isinstance(slot["value"], dict) and "SQL" in slot["value"]:
            slot["value"]["SQL"]["query"] = text
            changed += 1
    assert changed == 1
    packed: bytes = msgpack.packb(plan)
    return plan_header() + packed


def test_what_lies_inside_is_read(root: Path, tmp_path: Path) -> None:
    """The other tests would pass if everything were refused."""
    (tmp_path / "blocks").mkdir()
    fine: list[pl.LazyFrame] = [
        pl.scan_csv("x.csv"),
        pl.scan_csv(root / "x.csv"),
        pl.scan_csv(root / "s*" / "*.csv"),
        pl.scan_csv("sub/../x.csv"),
        pl.scan_csv("inner-link.csv"),
        pl.scan_csv(b"a,b\n1,2\n"),
        pl.SQLContext({"t": pl.scan_csv("x.csv")}).execute(
            "SELECT t.a FROM t JOIN read_csv('sub/y.csv') AS o ON t.a < o.a", eager=False
        ),
        pl.scan_csv("x.csv").group_by("a").len().sort("a").join(pl.scan_csv("x.csv"), on="a"),
    ]
    for frame in fine:
        outcome = run(frame, root, tmp_path / "blocks")
        assert isinstance(outcome, TaskReport), outcome
    plan_job(job("x.csv"), data_root=root)
    plan_job(job("inner-link.csv"), data_root=root)
    plan_job(job("data/x.csv"), data_root=root)


def test_without_a_data_root_nothing_is_bound(root: Path, tmp_path: Path) -> None:
    outcome = run(pl.scan_csv(filled(HOSTILE[0], root)), None, tmp_path)
    assert isinstance(outcome, TaskReport)


@pytest.mark.parametrize("path", HOSTILE)
def test_no_sink_in_a_plan_leaves_the_data_root(root: Path, tmp_path: Path, path: str) -> None:
    given = filled(path, root)
    frame = pl.LazyFrame({"a": [1]})
    plans = [frame.sink_csv("HERE", lazy=True), frame.sink_parquet("HERE", lazy=True)]
    for plan in plans:
        arena = msgpack.unpackb(plan.serialize()[len(plan_header()) :], strict_map_key=False)
        for slot in arena["dsl_plans"]:
            if isinstance(slot["value"], dict) and "Sink" in slot["value"]:
                slot["value"]["Sink"]["payload"]["File"]["target"]["inner"] = given
        outside = everything(root.parent / "outside")
        run_bytes(plan_header() + msgpack.packb(arena), root, tmp_path)
        assert everything(root.parent / "outside") == outside
        assert (root.parent / "outside" / "secret.csv").read_text() == f"a,b\n{SECRET},1\n"
        assert (root.parent / "data-not" / "secret.csv").stat().st_size == len(SECRET) + 7


@pytest.mark.parametrize("path", [*HOSTILE, "up", "dir-link/out", "sub/../../evil", "/tmp/evil"])  # noqa: S108
def test_no_sink_of_a_task_leaves_the_data_root(root: Path, tmp_path: Path, path: str) -> None:
    sink = SinkSpec(path=filled(path, root), format="csv", overwrite=True)
    plan = pl.LazyFrame({"a": [1]}).serialize()
    before = everything(root.parent / "outside") | everything(root.parent / "data-not")
    outcome = run_bytes(plan, root, tmp_path, Output(OutputKind.SINK, sink=sink))
    assert everything(root.parent / "outside") | everything(root.parent / "data-not") == before
    if isinstance(outcome, TaskReport):
        assert is_inside(root / sink.path, root)
    else:
        quiet(failed(outcome))


@pytest.mark.parametrize("path", HOSTILE)
def test_no_split_leaves_the_data_root(root: Path, tmp_path: Path, path: str) -> None:
    given = filled(path, root)
    split = Split(given, 0, 10, 10, 0)
    for format_ in (ScanFormat.CSV, ScanFormat.TEXT, ScanFormat.PARQUET, ScanFormat.QUOTES):
        scan = ScanTask("scan0", ScanSpec(format_), (split,))
        plan = leaf_plan(pl.Schema({"a": pl.String, "b": pl.Int64}))
        quiet(failed(run_bytes(plan, root, tmp_path, scans=(scan,))))


def leaf_plan(schema: pl.Schema) -> bytes:
    from minispark.plan.leaves import Leaf

    return Leaf("scan0", schema).lazy().serialize()


@pytest.mark.parametrize("name", ["_deletion_files", "storage_options", "credential_provider"])
def test_a_reader_is_given_no_option_that_opens_more(root: Path, tmp_path: Path, name: str) -> None:
    status = (root / "x.csv").stat()
    split = Split("x.csv", 0, status.st_size, status.st_size, status.st_mtime_ns)
    scan = ScanTask("scan0", ScanSpec(ScanFormat.PARQUET, {name: None}), (split,))
    info = failed(run_bytes(leaf_plan(pl.Schema({"a": pl.Int64})), root, tmp_path, scans=(scan,)))
    assert info.code == "MS-612", info


@pytest.mark.parametrize(
    "frame",
    [
        pl.LazyFrame({"a": [1]}).sink_batches(print, lazy=True),
        pl.LazyFrame({"a": [1]}).sink_parquet(pl.PartitionBy("out", key="a"), lazy=True),
    ],
    ids=["callback", "partitioned"],
)
def test_sinks_that_cannot_be_seen_through_are_refused(
    root: Path, tmp_path: Path, frame: pl.LazyFrame
) -> None:
    elsewhere = root / "sub"
    info = failed(run(frame, elsewhere, tmp_path))
    assert info.code in ("MS-234", "MS-612")
    assert not (root / "out").exists()


def test_python_readers_are_refused(root: Path, tmp_path: Path) -> None:
    from polars.io.plugins import register_io_source

    def source(*_: object) -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": [1]})

    frame = register_io_source(source, schema={"a": pl.Int64})
    assert failed(run(frame, root, tmp_path)).code == "MS-612"
    (tmp_path / "blocks").mkdir()
    assert isinstance(run(frame, None, tmp_path / "blocks"), TaskReport)


def test_plans_spelled_in_another_way_are_looked_at_too(root: Path, tmp_path: Path) -> None:
    """MessagePack lets a struct be a list and a variant a number: Polars' own reading counts."""
    plan = msgpack.unpackb(
        scan_of(filled(HOSTILE[0], root), pl.scan_csv)[len(plan_header()) :], strict_map_key=False
    )
    (slot,) = [slot for slot in plan["dsl_plans"] if slot["value"] is not None]
    scan = slot["value"]["Scan"]
    for value in ({"Scan": list(scan.values())}, {3: scan}, {3: list(scan.values())}):
        slot["value"] = value
        quiet(failed(run_bytes(plan_header() + msgpack.packb(plan), root, tmp_path)))


def test_whether_a_file_outside_exists_is_not_told(root: Path, tmp_path: Path) -> None:
    """The same words for a file that is there and for one that is not."""
    pairs = [
        ("../outside/secret.csv", "../outside/nothing.csv"),
        ("{outside}/secret.csv", "{outside}/nothing.csv"),
        ("dir-link/secret.csv", "dir-link/nothing.csv"),
        ("file-link.csv", "dangling.csv"),
        ("dir-l*/secret.csv", "dir-l*/nothing.csv"),
        ("*/secret.csv", "*/nothing.csv"),
        ("up/out*/secret.csv", "up/out*/nothing.csv"),
        ("up/*/secret.csv", "up/*/nothing.csv"),
        ("dir-link/s*.csv", "dir-link/n*.csv"),
        ("/etc/passwd", "/etc/passwd-not"),
    ]

    def told(info: ErrorInfo) -> tuple[str, str, str | None]:
        return (
            info.code,
            re.sub("'/?[^' ]*/[^' ]*'|'[^' ]*[.]csv'", "NAME", info.message),
            info.hint,
        )

    for there, missing in pairs:
        names = (filled(there, root), filled(missing, root))
        json_jobs = [told(refused(job(name), root)) for name in names]
        assert json_jobs[0] == json_jobs[1], there
        if any(sign in there for sign in "*?["):
            continue
        plans = [
            told(failed(run_bytes(scan_of(name, pl.scan_csv), root, tmp_path))) for name in names
        ]
        assert plans[0] == plans[1], there


def test_a_plan_is_checked_before_it_opens_anything(root: Path, tmp_path: Path) -> None:
    """A pipe outside the root would block whoever opens it."""
    pipe = root.parent / "outside" / "pipe.csv"
    os.mkfifo(pipe)
    info = failed(run_bytes(scan_of(str(pipe), pl.scan_csv), root, tmp_path))
    assert info.code == "MS-234"
    text = QUERIES[0].replace("{p}", str(pipe))
    assert failed(run_bytes(sql_plan(text), root, tmp_path)).code == "MS-234"
