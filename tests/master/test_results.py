"""Results as bytes: every format holds what it can, under the names that the columns have."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pyarrow.ipc
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockSource
from minispark.ids import TaskKey
from minispark.journal.rows import SinkOutput
from minispark.master.jobs import results
from minispark.master.jobs.finished_job import FinishedJob
from minispark.wire.http import RefusedError
from minispark.wire.messages import NodeBlocks

READ: dict[str, Callable[[bytes], pl.DataFrame]] = {
    "parquet": lambda data: pl.read_parquet(io.BytesIO(data)),
    "arrow": lambda data: pl.read_ipc_stream(io.BytesIO(data)),
}

READ_ANY: dict[str, Callable[[bytes], pl.DataFrame]] = {
    "csv": pl.read_csv,
    "jsonl": pl.read_ndjson,
    **READ,
}


def blocks_of(directory: Path, frames: Sequence[pl.DataFrame]) -> NodeBlocks:
    sources = []
    for partition, frame in enumerate(frames):
        key = TaskKey("job-a-1-1", 0, 0, partition, 0)
        meta = write_block(directory, key, [frame])
        sources.append(
            BlockSource(key, 0, meta.partitions[0], host_identity(), directory=str(directory))
        )
    return NodeBlocks(
        node="out",
        columns=tuple(frames[0].columns),
        rows=sum(frame.height for frame in frames),
        blocks=tuple(sources),
    )


def sink_of(directory: Path, format_: str, frames: Sequence[pl.DataFrame]) -> SinkOutput:
    directory.mkdir(exist_ok=True)
    names = [f"part-{number:05d}.{format_}" for number in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        write = frame.write_csv if format_ == "csv" else frame.write_ndjson
        write(directory / name)
    return SinkOutput(path=str(directory), format=format_, files=names, rows=0, bytes=0)


def encoded(result: NodeBlocks | SinkOutput, format_: str, spool: Path) -> bytes:
    found = [[result], []] if isinstance(result, NodeBlocks) else [[], [result]]
    outcome = SimpleNamespace(results=found[0], sinks=found[1])
    chunks = results.open_stream(
        cast(FinishedJob, outcome), None, format_, fetch=FetchSettings(), root=None, spool=spool
    )
    return b"".join(chunks)


@pytest.mark.parametrize("format_", READ)
@pytest.mark.parametrize(
    "column",
    [
        pl.Series([2**100, None], dtype=pl.Int128),
        pl.Series([2**127, None], dtype=pl.UInt128),
        pl.Series([[2**90], None], dtype=pl.List(pl.Int128)),
        pl.Series([{"w": 2**90}, None], dtype=pl.Struct({"w": pl.UInt128})),
        pl.Series(["b", "a"], dtype=pl.Categorical),
        pl.Series([["b"], None], dtype=pl.List(pl.Enum(["a", "b"]))),
        pl.Series([b"\xff", None]),
        pl.Series([None, None], dtype=pl.Null),
    ],
    ids=lambda column: str(column.dtype),
)
def test_dtypes_come_back(tmp_path: Path, format_: str, column: pl.Series) -> None:
    frame = column.to_frame("c")
    frames = [frame, frame.clear(), frame.slice(1), frame]
    found = READ[format_](encoded(blocks_of(tmp_path, frames), format_, tmp_path))
    assert_frame_equal(found, pl.concat(frames))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frame=dataframes(
        lazy=False, max_size=8, excluded_dtypes=[pl.Object, pl.Array(pl.Int8, 0), pl.Struct([])]
    )
)
def test_any_frame_comes_back(tmp_path: Path, frame: pl.DataFrame) -> None:
    result = blocks_of(tmp_path, [frame, frame])
    for format_, read in READ.items():
        found = read(encoded(result, format_, tmp_path))
        assert_frame_equal(found, pl.concat([frame, frame]), categorical_as_str=False)


@pytest.mark.parametrize("format_", results.FORMATS)
@pytest.mark.parametrize("name", ["a\0b", "*", "^a.*$", "", "é\n"])
def test_names_come_back(tmp_path: Path, format_: str, name: str) -> None:
    frame = pl.DataFrame({"first": [1, 2], "a": [3, 4]})
    frame.columns = [name, "a"]
    data = encoded(blocks_of(tmp_path, [frame, frame]), format_, tmp_path)
    read = READ_ANY[format_]
    found = read(data)
    assert found.columns == [name, "a"]
    assert found.rows() == [(1, 3), (2, 4)] * 2


@pytest.mark.parametrize(
    ("format_", "column"),
    [
        ("jsonl", pl.Series([b"\xff"])),
        ("jsonl", pl.Series([[b"\xff"]])),
        ("jsonl", pl.Series([{"b": b"\xff"}])),
        ("csv", pl.Series([b"\xff"])),
        ("csv", pl.Series([[1]])),
        ("csv", pl.Series([1], dtype=pl.Duration)),
        ("parquet", pl.Series([{}], dtype=pl.Struct([]))),
    ],
    ids=str,
)
@pytest.mark.parametrize("empty_first", [False, True])
def test_what_a_format_cannot_hold_is_named(
    tmp_path: Path, format_: str, column: pl.Series, empty_first: bool
) -> None:
    frame = column.to_frame("c")
    frames = [frame.clear(), frame] if empty_first else [frame]
    with pytest.raises(RefusedError) as caught:
        encoded(blocks_of(tmp_path, frames), format_, tmp_path)
    assert caught.value.info.code == "MS-145"
    assert f"'c' holds {column.dtype}" in caught.value.info.message


def test_a_panic_of_polars_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("called unwrap on a None value")

    monkeypatch.setattr(pl.DataFrame, "write_csv", panic)
    with pytest.raises(RefusedError, match="called unwrap"):
        encoded(blocks_of(tmp_path, [pl.DataFrame({"a": [1]})]), "csv", tmp_path)


@pytest.mark.parametrize("format_", results.FORMATS)
def test_rows_without_columns_are_counted(tmp_path: Path, format_: str) -> None:
    result = blocks_of(tmp_path, [pl.DataFrame(height=3), pl.DataFrame(height=2)])
    if format_ == "csv":
        with pytest.raises(RefusedError, match="0-width"):
            encoded(result, format_, tmp_path)
    elif format_ == "jsonl":
        assert encoded(result, format_, tmp_path) == b"{}\n" * 5
    else:
        assert READ[format_](encoded(result, format_, tmp_path)).shape == (5, 0)


def test_equal_rows_give_equal_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_BATCH_ROWS", 100)
    monkeypatch.setattr(results, "_ROW_GROUP_ROWS", 400)
    frame = pl.select(a=pl.int_range(10_000), b=pl.int_range(10_000).cast(pl.String))
    result = blocks_of(tmp_path, [frame, frame])
    first = encoded(result, "parquet", tmp_path)
    assert all(encoded(result, "parquet", tmp_path) == first for _ in range(5))
    assert READ["parquet"](first).equals(pl.concat([frame, frame]))


def test_another_reader_of_arrow_reads_the_stream(tmp_path: Path) -> None:
    frames = [
        pl.DataFrame({"c": pl.Series(texts, dtype=pl.Categorical), "n": [1, 2], "s": ["x", None]})
        for texts in (["a", "b"], ["z", "a"])
    ]
    data = encoded(blocks_of(tmp_path, frames), "arrow", tmp_path)
    table = pyarrow.ipc.open_stream(data).read_all()
    assert table["c"].to_pylist() == ["a", "b", "z", "a"]
    assert table["n"].to_pylist() == [1, 2, 1, 2]
    assert not any("view" in str(field.type) for field in table.schema)


@pytest.mark.parametrize("name", ['say "a"', "a\nb", "a,b", "", "*"])
def test_the_header_of_written_files_comes_once(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"n": [1, 2], "m": [3, 4]})
    frame.columns = [name, "m"]
    data = encoded(sink_of(tmp_path / "out", "csv", [frame, frame]), "csv", tmp_path)
    assert data == pl.concat([frame, frame]).write_csv().encode()


@pytest.mark.parametrize("wrote", ["csv", "jsonl"])
@pytest.mark.parametrize("format_", results.FORMATS)
def test_written_files_in_a_directory_like_a_pattern(
    tmp_path: Path, wrote: str, format_: str
) -> None:
    frame = pl.DataFrame({"*": [1, 2], "a": ["x", "y"]})
    data = encoded(sink_of(tmp_path / "out[1]", wrote, [frame, frame]), format_, tmp_path)
    found = READ_ANY[format_](data)
    assert found.equals(pl.concat([frame, frame]))


def test_a_block_that_is_gone_is_said_in_every_format(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1]})
    result = blocks_of(tmp_path, [frame])
    for path in tmp_path.glob("*.arrow"):
        path.unlink()
    for format_ in results.FORMATS:
        with pytest.raises(RefusedError) as caught:
            encoded(result, format_, tmp_path)
        assert caught.value.info.code == "MS-144"
