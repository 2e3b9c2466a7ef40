"""Streams that another user's process made up: refused, and never the end of the reader."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from minispark.blocks.decode import decode

ROWS = 6_000
MUTANTS = 100
FRAMES: dict[str, dict[str, Any]] = {
    "strings": {"s": [f"a string that is stored out of line, {n}" for n in range(ROWS)]},
    "lists": {"l": [[n] * (n % 4) for n in range(ROWS)], "b": [n % 2 == 0 for n in range(ROWS)]},
    "structs": {"t": [{"u": n, "v": f"{n}"} for n in range(ROWS)]},
    "binary": {"y": [bytes([n % 256]) * 20 for n in range(ROWS)]},
    "categories": {"c": pl.Series([f"c{n % 5}" for n in range(ROWS)], dtype=pl.Categorical)},
}


def stream_of(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc_stream(out)
    return out.getvalue()


def forged(data: bytes, dice: random.Random) -> bytes:
    """Change bits, lengths and offsets, half of them near the beginning: schema and sizes."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(dice.choice((len(data), 2_000)) - 8) // 8 * 8
        match dice.randrange(3):
            case 0:
                changed[place + dice.randrange(8)] ^= 1 << dice.randrange(8)
            case 1:
                changed[place : place + 4] = struct.pack("<i", dice.choice((-1, 2**31 - 1, 10**6)))
            case _:
                far = dice.choice((-1, 2**62, 2**40, 10**7))
                changed[place : place + 8] = struct.pack("<q", far)
    return bytes(changed)


def read_all(name: str) -> None:
    """Read forged streams and use those that are taken; for a process of its own."""
    data = stream_of(pl.DataFrame(FRAMES[name]))
    refused = 0
    for seed in range(MUTANTS):
        bad = forged(data, random.Random(f"{name} {seed}"))
        try:
            frame = decode(memoryview(bad), trusted=False)
            frame.write_ipc_stream(io.BytesIO())
            frame.hash_rows().sum()
            str(frame.sample(fraction=1.0))
        except (Exception, pl.exceptions.PanicException):
            refused += 1
    print(refused)  # noqa: T201


@pytest.mark.parametrize("name", FRAMES)
def test_forged_streams_do_not_end_the_reader(name: str) -> None:
    script = f"from tests.blocks.test_block_decode import read_all; read_all({name!r})"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    assert int(ended.stdout) > MUTANTS // 5


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_compressed_streams_are_refused(codec: Literal["lz4", "zstd"], *, dictionary: bool) -> None:
    zeros = pa.array(["0" * 1_000] * 1_000)
    table = pa.table({"a": zeros.dictionary_encode() if dictionary else zeros})
    out = io.BytesIO()
    options = pyarrow.ipc.IpcWriteOptions(compression=codec)
    with pyarrow.ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="compressed"):
        decode(memoryview(out.getvalue()), trusted=False)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("trusted", [False, True])
def test_sound_streams_are_read(name: str, *, trusted: bool) -> None:
    frame = pl.DataFrame(FRAMES[name])
    assert decode(memoryview(stream_of(frame)), trusted=trusted).equals(frame)
