import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minispark.errors import UsageError
from minispark.worker.directory import WorkDirectory, sweep

HOLD = """
import sys
from pathlib import Path
from minispark.worker.directory import WorkDirectory
print(WorkDirectory(Path(sys.argv[1]), "w-1").path, flush=True)
sys.stdin.read()
"""


def test_it_is_private_and_goes_with_its_owner(tmp_path: Path) -> None:
    made = WorkDirectory(tmp_path / "work", "w-1")
    assert stat.S_IMODE(made.blocks.stat().st_mode) == 0o700
    (made.blocks / "block").touch()
    assert sweep(tmp_path / "work") == []
    made.remove()
    made.remove()
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        assert sweep(tmp_path) == []
        holder.kill()
        holder.wait()
        assert left.is_dir()
        made = WorkDirectory(tmp_path, "w-2")
        assert not left.exists()
        made.remove()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="symbolic link"):
        WorkDirectory(tmp_path / "work", "w-1")
