from __future__ import annotations

import datetime as dt
import decimal
import os
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing import assert_frame_equal
from polars.testing.parametric import dataframes
from tests.blocks.block_server import BlockServer

from minispark.blocks import decode, fetch
from minispark.blocks.fetch import FetchSettings, fetch_block, fetch_blocks, read_block
from minispark.blocks.format import bytes_checksum, write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockSource, BlockUnavailable, PartitionMeta
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey

KEY = TaskKey("job-a-1-1", 2, 0, 3, 1)
ROWS = pl.DataFrame({"word": ["a", "b", None], "n": [1, 2, 3]})
MAPPED = FetchSettings()
DECIMAL = decimal.Decimal("1.25")
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
STRUCT = {"a": 1, "b": "x"}
NAMED = pl.Categories("fruit", "test", pl.UInt8)

SERIES = {
    **{f"{t}": pl.Series([1, None, 0], dtype=t) for t in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)},
    **{f"{t}": pl.Series([1, None, 0], dtype=t) for t in (pl.UInt8, pl.UInt16, pl.UInt32)},
    **{f"{t}": pl.Series([0.5, None, -0.0], dtype=t) for t in (pl.Float16, pl.Float32)},
    "uint64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "int128": pl.Series([2**100, None, -1], dtype=pl.Int128),
    "uint128": pl.Series([2**127, None], dtype=pl.UInt128),
    "float64": pl.Series([0.1, None, float("nan"), float("inf")]),
    "boolean": pl.Series([True, None, False] * 7),
    "string": pl.Series(["", None, "short", "long enough to be stored out of line", "é🎉"]),
    "binary": pl.Series([b"", None, b"\xff\x00", b"x" * 40]),
    "date": pl.Series([MOMENT.date(), None]),
    **{
        f"datetime {u}": pl.Series([MOMENT, None], dtype=pl.Datetime(u)) for u in ("ms", "us", "ns")
    },
    "datetime tz": pl.Series([MOMENT], dtype=pl.Datetime("us", "Europe/Amsterdam")),
    **{
        f"duration {u}": pl.Series([dt.timedelta(days=-1), None], dtype=pl.Duration(u))
        for u in ("ms", "us", "ns")
    },
    "time": pl.Series([MOMENT.time(), None]),
    "categorical": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
    "named categories": pl.Series(["b", "a", None], dtype=pl.Categorical(NAMED)),
    "enum": pl.Series(["b", "a", None], dtype=pl.Enum(["c", "b", "a"])),
    "decimal": pl.Series([DECIMAL, None], dtype=pl.Decimal(10, 2)),
    "decimal wide": pl.Series([DECIMAL, None], dtype=pl.Decimal(38, 9)),
    "null": pl.Series([None, None], dtype=pl.Null),
    "list": pl.Series([[1, None], [], None], dtype=pl.List(pl.Int16)),
    "list of list": pl.Series([[["x"], None], [], None]),
    "array": pl.Series([[1, 2], None, [3, None]], dtype=pl.Array(pl.Int32, 2)),
    "array 2d": pl.Series([[[1, 2], [3, 4]], None], dtype=pl.Array(pl.Int8, (2, 2))),
    "struct": pl.Series([STRUCT, None, {"a": None, "b": None}]),
    "struct without fields": pl.Series([{}, {}], dtype=pl.Struct([])),
    "list of struct": pl.Series([[{"d": DECIMAL}], [], None]),
    "list of categorical": pl.Series([["a", "b"], None, []], dtype=pl.List(pl.Categorical)),
    "list of enum": pl.Series([["a"], None], dtype=pl.List(pl.Enum(["b", "a"]))),
    "list of null": pl.Series([[None], []], dtype=pl.List(pl.Null)),
    "list of int128": pl.Series([[2**90], None], dtype=pl.List(pl.Int128)),
    "struct of categorical": pl.Series([{"c": "a"}], dtype=pl.Struct({"c": pl.Categorical})),
}


def map_from(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the size from which on blocks are mapped."""
    for module in (fetch, decode):
        monkeypatch.setattr(module, "MAPPED_BYTES", size)


@pytest.fixture(params=["small", "mapped", "http small", "http"])
def read(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[BlockSource], pl.DataFrame]:
    """Each way in which a block is read; the limit of the small ones is moved out of the way."""
    way: str = request.param
    if not way.endswith("small"):
        map_from(0, monkeypatch)
    if not way.startswith("http"):
        return lambda source: read_block(source, settings=MAPPED)
    server = request.getfixturevalue("server")
    remote = FetchSettings(may_map=False, token=server.token)
    return lambda source: read_block(replace(source, url=server.url), settings=remote)


def written(store: BlockStore, *parts: pl.DataFrame, key: TaskKey = KEY) -> list[BlockSource]:
    meta = write_block(store.directory, key, parts)
    return [
        BlockSource(key, number, part, host_identity(), str(store.directory))
        for number, part in enumerate(meta.partitions)
    ]


@pytest.mark.parametrize("name", SERIES)
def test_every_dtype_comes_back_as_it_was(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame], name: str
) -> None:
    frame = SERIES[name].to_frame("c")
    chunked = pl.concat([frame, frame.clear(), frame.head(1)], rechunk=False)
    for expected in (frame, frame.slice(1), frame.clear(), chunked):
        # The second partition does not begin at the start of the file.
        for source in written(store, frame, expected)[1:]:
            if source.meta.length:
                assert_frame_equal(read(source), expected)
        assert_frame_equal(read(written(store, expected)[0]), expected)


def test_a_frame_without_columns_keeps_its_rows(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    assert read(written(store, pl.DataFrame(height=7))[0]).shape == (7, 0)


@pytest.mark.parametrize("names", [["", "column_0"], ["*", "^a.*$"], ["a\0b", "column_0"]])
def test_columns_come_back_under_their_names(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame], names: list[str]
) -> None:
    frame = pl.DataFrame({"first": [1, 2], "second": ["a", "b"]})
    frame.columns = names
    back = read(written(store, frame)[0])
    assert back.columns == names
    assert back.rows() == frame.rows()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=dataframes(lazy=False, max_size=8, excluded_dtypes=[pl.Object, pl.Array(pl.Int8, 0)]))
def test_any_frame_comes_back_as_it_was(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch, parts: pl.DataFrame
) -> None:
    for limit in (0, 1 << 20):
        map_from(limit, monkeypatch)
        got = read_block(written(store, parts)[0], settings=MAPPED)
        assert_frame_equal(got, parts, categorical_as_str=False)


def test_a_partition_without_rows_takes_no_look_at_the_disk(store: BlockStore) -> None:
    source = written(store, ROWS, ROWS.clear())[1]
    store.delete([KEY])
    assert read_block(source, settings=MAPPED).shape == (0, 0)


def test_every_changed_byte_is_found(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    first, second = written(store, ROWS.head(1), ROWS)
    path = store.path_of(KEY.block_id)
    whole = path.read_bytes()
    start, end = second.meta.offset, second.meta.offset + second.meta.length
    for position in range(start, end, 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(BlockUnavailable, match="checksum") as caught:
            read(second)
        assert caught.value.key == KEY
        assert read(first).height == 1


def test_a_block_that_was_cut_off_is_found(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    source = written(store, ROWS)[0]
    path = store.path_of(KEY.block_id)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 1, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(BlockUnavailable):
            read(source)


def test_other_rows_than_promised_are_found(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    source = written(store, ROWS)[0]
    with pytest.raises(BlockUnavailable, match="3 rows, not 4"):
        read(replace(source, meta=replace(source.meta, rows=4)))
    hollow = PartitionMeta(offset=0, length=0, rows=4, checksum=source.meta.checksum)
    with pytest.raises(BlockUnavailable):
        read(replace(source, meta=hollow))


def test_a_missing_block_is_unavailable(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    source = written(store, ROWS)[0]
    store.delete([KEY])
    with pytest.raises(BlockUnavailable):
        read(source)


def test_a_mapped_block_outlives_its_file(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    map_from(0, monkeypatch)
    frame = read_block(written(store, ROWS)[0], settings=MAPPED)
    store.delete([KEY])
    assert_frame_equal(frame, ROWS)


def test_a_host_without_the_file_asks_the_worker(store: BlockStore, server: BlockServer) -> None:
    source = replace(written(store, ROWS)[0], directory="/nowhere", url=server.url)
    fetched = fetch_block(source, settings=FetchSettings(token=server.token))
    assert fetched.http_bytes == source.meta.length
    assert_frame_equal(fetched.frame, ROWS)
    with pytest.raises(BlockUnavailable, match="cannot be opened"):
        read_block(replace(source, url=None), settings=MAPPED)


def test_another_host_never_opens_the_path(store: BlockStore, server: BlockServer) -> None:
    source = replace(written(store, ROWS)[0], host="elsewhere")
    with pytest.raises(BlockUnavailable, match="another host"):
        read_block(source, settings=MAPPED)
    read_block(replace(source, url=server.url), settings=FetchSettings(token=server.token))
    assert server.requests == 1


def test_a_wrong_token_is_a_refusal(store: BlockStore, server: BlockServer) -> None:
    source = replace(written(store, ROWS)[0], url=server.url)
    with pytest.raises(BlockUnavailable, match="answered 401"):
        read_block(source, settings=FetchSettings(may_map=False, token="x"))  # noqa: S106


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"the whole file", "answered 200"),
        (500, b"", "answered 500"),
        (302, b"", "answered 302"),
        (206, b"x" * 100_000, "offers 100000 bytes"),
        (206, b"x", "offers 1 bytes"),
    ],
)
def test_answers_that_are_not_the_range_are_refused(
    store: BlockStore, server: BlockServer, status: int, body: bytes, reason: str
) -> None:
    server.answer = (status, body)
    source = replace(written(store, ROWS)[0], url=server.url)
    with pytest.raises(BlockUnavailable, match=reason):
        read_block(source, settings=FetchSettings(may_map=False))


def test_one_lost_connection_is_tried_again_and_two_are_not(
    store: BlockStore, server: BlockServer
) -> None:
    source = replace(written(store, ROWS)[0], url=server.url)
    remote = FetchSettings(may_map=False, token=server.token)
    server.hang_ups = 1
    assert_frame_equal(read_block(source, settings=remote), ROWS)
    server.hang_ups = 2
    with pytest.raises(BlockUnavailable, match="does not deliver"):
        read_block(source, settings=remote)


def test_nobody_there_is_unavailable(store: BlockStore, server: BlockServer) -> None:
    source = replace(written(store, ROWS)[0], url=server.url)
    server.shutdown()
    server.server_close()
    with pytest.raises(BlockUnavailable, match="does not deliver"):
        read_block(source, settings=FetchSettings(may_map=False, connect_timeout_s=0.5))


def test_many_blocks_come_in_the_order_asked(store: BlockStore, server: BlockServer) -> None:
    sources = []
    for number in range(12):
        key = TaskKey("job-a-1-1", 0, 0, number, 0)
        source = written(store, pl.DataFrame({"n": [number]}), key=key)[0]
        sources.append(replace(source, url=server.url, host="elsewhere"))
    got = fetch_blocks(sources, settings=FetchSettings(token=server.token, parallel=3))
    assert [fetched.frame.item() for fetched in got] == list(range(12))
    store.delete([sources[5].key])
    with pytest.raises(BlockUnavailable) as caught:
        list(fetch_blocks(sources, settings=FetchSettings(token=server.token, parallel=3)))
    assert caught.value.key == sources[5].key


def test_the_token_does_not_show_in_a_repr() -> None:
    assert "secret" not in repr(FetchSettings(token="secret"))  # noqa: S106


def test_the_host_identity_is_the_same_all_over_this_process() -> None:
    assert host_identity() == host_identity() == FetchSettings().host


@pytest.mark.parametrize("what", ["file of another user", "pipe"])
def test_only_plain_files_of_this_user_are_mapped(
    store: BlockStore, server: BlockServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    source = replace(written(store, ROWS)[0], url=server.url)
    if what == "pipe":
        path = store.path_of(KEY.block_id)
        server.answer = (206, path.read_bytes()[: source.meta.length])
        path.unlink()
        os.mkfifo(path)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    fetched = fetch_block(source, settings=FetchSettings(token=server.token))
    assert fetched.http_bytes == source.meta.length
    assert_frame_equal(fetched.frame, ROWS)
    with pytest.raises(BlockUnavailable, match="cannot be opened"):
        read_block(replace(source, url=None), settings=MAPPED)


def test_a_stream_that_is_none_is_unavailable(
    store: BlockStore, read: Callable[[BlockSource], pl.DataFrame]
) -> None:
    """The receipt vouches for it, but nobody can read it: the task that made it runs again."""
    source = written(store, ROWS)[0]
    for made_up in (b"no stream of Arrow", store.path_of(KEY.block_id).read_bytes()[:200]):
        store.path_of(KEY.block_id).write_bytes(made_up)
        meta = replace(source.meta, length=len(made_up), checksum=bytes_checksum(made_up))
        with pytest.raises(BlockUnavailable, match="is not readable"):
            read(replace(source, meta=meta))
