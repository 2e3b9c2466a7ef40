"""What a failed query wrote is removed, whenever its writers create it."""

import threading
from pathlib import Path

import polars as pl
import pytest

from minispark.engines import staging


def test_a_directory_that_a_late_writer_makes_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink
    late = threading.Event()

    def made_meanwhile(path: Path, *, missing_ok: bool = False) -> None:
        if not late.is_set():
            late.set()
            path.mkdir()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", made_meanwhile)
    target = pl.PartitionBy(tmp_path, max_rows_per_file=7)
    with pytest.raises(ZeroDivisionError), staging.staged(target, mkdir=True):
        raise ZeroDivisionError
    assert late.is_set()
    assert list(tmp_path.iterdir()) == []
