from __future__ import annotations

import errno
import stat
from pathlib import Path
from random import Random

import polars as pl
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from minispark.blocks.format import rows_checksum, write_block
from minispark.blocks.meta import PartitionMeta
from minispark.blocks.store import BlockStore
from minispark.errors import UnsupportedError
from minispark.ids import TaskKey

KEY = TaskKey("job-a-1-1", 2, 0, 3, 1)
ROWS = pl.DataFrame({"word": ["a", "b", None], "n": [1, 2, 3]})


def test_partitions_are_whole_arrow_streams_at_aligned_offsets(store: BlockStore) -> None:
    parts = [ROWS, ROWS.head(1), ROWS.clear(), ROWS.tail(1)]
    meta = write_block(store.directory, KEY, parts)
    assert [part.rows for part in meta.partitions] == [3, 1, 0, 1]
    assert meta.rows == 5
    data = store.path_of(KEY.block_id).read_bytes()
    for part, expected in zip(meta.partitions, parts, strict=True):
        assert part.length == 0 or part.offset % 64 == 0
        if expected.height:
            stream = data[part.offset : part.offset + part.length]
            assert pyarrow.ipc.open_stream(stream).read_all().num_rows == expected.height


def test_only_the_first_partition_tells_its_columns_when_empty(store: BlockStore) -> None:
    meta = write_block(store.directory, KEY, [ROWS.clear(), ROWS.clear()])
    assert meta.partitions[0].length > 0
    assert meta.partitions[1].length == 0


def test_a_block_is_one_private_file_and_no_temporary_stays(store: BlockStore) -> None:
    write_block(store.directory, KEY, [ROWS])
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    (file,) = store.directory.iterdir()
    assert file.name == f"{KEY.block_id}.arrow"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nulls_of_an_enum_are_read_back_whatever_code_is_under_them(store: BlockStore) -> None:
    letters = pl.Series(["x", None, None], dtype=pl.Enum(["y", "x"]))
    rows = pl.LazyFrame({"k": [1, 2, 2], "e": letters})
    least = rows.group_by("k", maintain_order=True).agg(pl.col("e").min())
    frame = least.collect(engine="streaming").select(
        "e", s=pl.struct("e"), n=pl.concat_list("e", "e"), none=pl.lit(None, pl.Enum([]))
    )
    meta = write_block(store.directory, KEY, [frame])
    data = store.path_of(KEY.block_id).read_bytes()[: meta.partitions[0].length]
    assert_frame_equal(pl.read_ipc_stream(data), frame)


def test_a_full_disk_leaves_nothing(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: pl.DataFrame, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_ipc_stream", full)
    with pytest.raises(OSError, match="No space left"):
        write_block(store.directory, KEY, [ROWS])
    assert list(store.directory.iterdir()) == []


def test_cut_short_before_the_rename_leaves_nothing(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"):
        write_block(store.directory, KEY, [ROWS])
    assert list(store.directory.iterdir()) == []


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("odd", [object()], dtype=pl.Object),
        pl.Series("odd", [[]], dtype=pl.Array(pl.Int8, 0)),
        pl.Series("odd", [[[]]], dtype=pl.List(pl.Array(pl.Int8, 0))),
    ],
)
def test_dtypes_that_cannot_travel_are_named(store: BlockStore, column: pl.Series) -> None:
    with pytest.raises(UnsupportedError, match="column 'odd'"):
        write_block(store.directory, KEY, [column.to_frame()])
    assert list(store.directory.iterdir()) == []


Rows = list[tuple[int | None, str | None]]

rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1) | st.none(), st.text(max_size=3) | st.none()),
    max_size=30,
)


def frame_of(values: Rows) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"n": pl.Int64, "t": pl.String}, orient="row")


@given(rows, st.randoms(use_true_random=False))
def test_the_row_checksum_knows_no_order_and_no_chunks(values: Rows, random: Random) -> None:
    mixed = list(values)
    random.shuffle(mixed)
    cut = random.randint(0, len(mixed))
    chunked = pl.concat([frame_of(mixed[:cut]), frame_of(mixed[cut:])], rechunk=False)
    assert rows_checksum(chunked) == rows_checksum(frame_of(values))


@given(rows.filter(bool), st.integers(0, 29))
def test_the_row_checksum_sees_a_lost_and_a_doubled_row(values: Rows, position: int) -> None:
    position %= len(values)
    whole = rows_checksum(frame_of(values))
    assert rows_checksum(frame_of(values[:position] + values[position + 1 :])) != whole
    assert rows_checksum(frame_of([*values, values[position]])) != whole


def test_the_row_checksum_sees_values_that_change_rows() -> None:
    straight = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    crossed = pl.DataFrame({"a": [1, 2], "b": ["y", "x"]})
    assert rows_checksum(straight) != rows_checksum(crossed)


def test_the_row_checksum_leaves_floats_out_and_may_be_none() -> None:
    first = pl.DataFrame({"k": [1, 2], "f": [0.1, 0.2], "l": [[0.1], []]})
    second = first.with_columns(f=pl.Series([0.3, 0.4]), l=pl.Series([[0.2], [0.3]]))
    assert rows_checksum(first) == rows_checksum(second)
    assert rows_checksum(first.select("f", "l")) is None
    assert rows_checksum(pl.DataFrame(height=3)) is None


def test_row_checksums_can_be_left_out(store: BlockStore) -> None:
    meta = write_block(store.directory, KEY, [ROWS], row_checksums=False)
    assert meta.partitions[0].rows_checksum is None
    assert isinstance(meta.partitions[0], PartitionMeta)
