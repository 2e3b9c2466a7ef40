"""What the running task of this process has read so far.

Whoever reads input notes it here, and another thread may look at any time. Polars does not say how
far it is. So what is known depends on the reader:

- Blocks and parts of files are read at once: their bytes are known, but not how far the query is.
  If a DAG node counts the rows of the query, that number is compared with the number of records in
  the parts, which is estimated from the first of them.
- Whole files are read by Polars while it works, so the bytes that the process has read say how far
  it is. Not so for compressed files (they are unpacked first) and Parquet (columns are left out).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minispark.plan.counters import counts_so_far, reset_counts
from minispark.plan.scan_files import begins_compressed
from minispark.task.spec import ScanTask, TaskProgress, TaskSpec

_SAMPLE_BYTES = 64 << 10
_NEWLINE = b"\n"
_MOST = 0.99
"""A task that has read everything still has to write."""


def scan_bytes(scan: ScanTask) -> int:
    """Return the bytes of input files in the splits of a leaf.

    A task that counts quotes adds nothing: the task that reads the rows reads the bytes again. A
    Parquet split is in rows; the split with the first row gets the bytes of the file.
    """
    if scan.spec.format.in_rows:
        return sum(split.size for split in scan.splits if split.start == 0)
    return 0 if scan.spec.format.auxiliary else sum(s.end - s.start for s in scan.splits)


@dataclass(slots=True)
class _Read:
    """Sums over the readers of one task."""

    block_bytes: int = 0
    part_bytes: int = 0
    records: float = 0.0
    """Records of the parts of files."""


_read = _Read()
# Of the process: it runs one task at a time.


def begin() -> None:
    """Begin a task."""
    _read.block_bytes, _read.part_bytes, _read.records = 0, 0, 0.0
    reset_counts()


def note_block(size: int) -> None:
    """Note that a block was read."""
    _read.block_bytes += size


def note_part(data: bytes) -> None:
    """Note that a part of a file was read, and estimate its records."""
    _read.part_bytes += len(data)
    sample = data[:_SAMPLE_BYTES]
    if sample:
        _read.records += len(data) * max(1, sample.count(_NEWLINE)) / len(sample)


def progress_of(spec: TaskSpec, *, ran_s: float, polars_bytes: int | None) -> TaskProgress:
    """Return what the running task has read; ``polars_bytes`` is what Polars has read of files."""
    files = sum(scan_bytes(scan) for scan in spec.scans)
    parts, records = _read.part_bytes, _read.records
    # Polars reads its temporary files too.
    from_files = parts or min(polars_bytes or 0, files)
    share = None
    if not parts and files and polars_bytes is not None and _read_while_working(spec):
        share = min(_MOST, polars_bytes / files)
    return TaskProgress(
        spec.key,
        ran_s=ran_s,
        bytes_read=_read.block_bytes + from_files,
        nodes=counts_so_far(),
        expected_rows=round(records * files / parts) if parts else 0,
        share=share,
    )


def _read_while_working(spec: TaskSpec) -> bool:
    """Whether the bytes that Polars has read say how far the query is."""
    root = Path(spec.data_root or "")
    return not any(
        scan.spec.format.in_rows
        or any(begins_compressed(root / split.path) for split in scan.splits)
        for scan in spec.scans
    )
