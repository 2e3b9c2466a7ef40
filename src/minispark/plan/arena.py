"""The MessagePack of a binary plan, in which the frames that it holds stay packed.

Polars writes each byte of a frame as a number. As Python objects they would take eight times the
memory of the frame, and seconds, so frames are cut out of the plan and put into plans as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgpack

_FRAMES = "dataframes"
_VALUE = "value"
_EMPTY = msgpack.packb(None)


def unpack_arena(data: bytes) -> dict[str, Any]:
    """Return what a plan holds by field; the value of each frame is its bytes as they are."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
    unpacker.feed(data)
    arena = {}
    for _ in range(unpacker.read_map_header()):
        name = unpacker.unpack()
        arena[name] = list(_slots(unpacker, data)) if name == _FRAMES else unpacker.unpack()
    return arena


def _slots(unpacker: msgpack.Unpacker, data: bytes) -> Iterator[dict[str, Any]]:
    for _ in range(unpacker.read_array_header()):
        slot = {}
        for _ in range(unpacker.read_map_header()):
            name = unpacker.unpack()
            if name == _VALUE:
                begin = unpacker.tell()
                unpacker.skip()
                slot[name] = data[begin : unpacker.tell()]
            else:
                slot[name] = unpacker.unpack()
        yield slot


def pack_arena(arena: Mapping[str, Any]) -> bytes:
    """Return a plan; its frames are a list of bytes, for slots 1, 2, ... as Polars writes them."""
    packer = msgpack.Packer()
    parts = [packer.pack_map_header(len(arena))]
    for name, value in arena.items():
        parts.append(packer.pack(name))
        parts += _packed_frames(packer, value) if name == _FRAMES else [packer.pack(value)]
    return b"".join(parts)


def _packed_frames(packer: msgpack.Packer, frames: Sequence[bytes]) -> Iterator[bytes]:
    yield packer.pack_array_header(len(frames) + 1)
    # Slot 0 is empty.
    for version, value in enumerate([_EMPTY, *frames]):
        yield packer.pack_map_header(2)
        yield packer.pack(_VALUE)
        yield value
        yield packer.pack("version")
        yield packer.pack(min(version, 1))
