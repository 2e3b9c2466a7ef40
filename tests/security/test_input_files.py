"""Input files are data: nothing in them is run, whatever they say they are."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from tests.task.bench import attempt

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import DATA_SUFFIX, BlockSource, BlockUnavailable
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskReport, TaskSpec

KEY = TaskKey("job-a-1-1", 0, 0, 0, 0)


class Marker:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def hostile(trace: Path) -> pa.Table:
    """Columns of pickles: as rows, as type, as metadata of fields, schema and pandas."""
    # Protocol 0 is text, as metadata has to be.
    payload = pickle.dumps(Marker(trace), protocol=0)
    names = ["arrow.py_extension_type", "polars.object", "POLARS_EXTENSION_TYPE", "ray.data"]
    fields = [
        pa.field(
            f"c{n}",
            pa.binary(),
            metadata={
                b"ARROW:extension:name": name.encode(),
                b"ARROW:extension:metadata": payload,
                b"ARROW:extension:serialized": base64.b64encode(payload),
            },
        )
        for n, name in enumerate(names)
    ]
    schema = pa.schema(fields, metadata={b"pandas": payload, b"ARROW:schema": payload})
    return pa.table([pa.array([payload, None])] * len(fields), schema=schema)


def write_parquet(table: pa.Table, path: Path) -> None:
    pyarrow.parquet.write_table(table, path)


def write_ipc(table: pa.Table, path: Path) -> None:
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("write", "scan"),
    [(write_parquet, pl.scan_parquet), (write_ipc, pl.scan_ipc)],
    ids=["parquet", "ipc"],
)
def test_pickles_in_a_file_are_bytes(
    tmp_path: Path,
    write: Callable[[pa.Table, Path], None],
    scan: Callable[[Path], pl.LazyFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLARS_UNKNOWN_EXTENSION_TYPE_BEHAVIOR", "load_as_storage")
    trace, file, blocks = tmp_path / "trace", tmp_path / "file", tmp_path / "blocks"
    write(hostile(trace), file)
    blocks.mkdir()
    spec = TaskSpec(
        KEY,
        scan(file).serialize(),
        (),
        (),
        Output(OutputKind.SINGLE),
        block_directory=str(blocks),
    )
    outcome = attempt(spec, fetch=FetchSettings())
    assert not trace.exists()
    assert isinstance(outcome, TaskReport), outcome
    (part,) = outcome.block.partitions
    rows = read_block(source(blocks, outcome), settings=FetchSettings())
    assert rows.height == part.rows == 2
    assert not trace.exists()
    # The trap was a good one.
    pickle.loads(rows["c0"][0])  # noqa: S301
    assert trace.exists()


def source(blocks: Path, report: TaskReport) -> BlockSource:
    return BlockSource(KEY, 0, report.block.partitions[0], host_identity(), str(blocks), None)


def test_no_type_of_arrow_runs_code() -> None:
    """Old releases of pyarrow unpickled whatever called itself a type of Python's."""
    assert not hasattr(pa, "PyExtensionType")
    with pytest.raises(KeyError):
        pa.unregister_extension_type("arrow.py_extension_type")


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.9])
def test_a_block_that_was_changed_is_not_read(tmp_path: Path, at: float) -> None:
    meta = write_block(tmp_path, KEY, [pl.DataFrame({"a": list(range(1_000))})])
    file = tmp_path / f"{KEY.block_id}{DATA_SUFFIX}"
    data = bytearray(file.read_bytes())
    data[int(len(data) * at)] ^= 0xFF
    file.write_bytes(data)
    found = BlockSource(KEY, 0, meta.partitions[0], host_identity(), str(tmp_path), None)
    with pytest.raises(BlockUnavailable):
        read_block(found, settings=FetchSettings())
