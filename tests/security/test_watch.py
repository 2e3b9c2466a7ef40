"""The master is unable to run what it is sent: what watches it, and a plan that would tell."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.security import watch

import minispark as ms
from minispark.client.local_cluster import LocalCluster
from minispark.errors import MinisparkError

ROOT = Path(__file__).parents[2]
CRIMES = {
    "pickle.find_class": "pickle.loads(payload)",
    "exec": "exec('1')",
    "compile": "eval('1')",
    "function.__new__": "type(lambda: 1)((lambda: 1).__code__, {})",
    "os.system": "os.system('true')",
    "subprocess.Popen": "subprocess.run('true', shell=True)",
    "os.fork": "os._exit(0) if os.fork() == 0 else os.wait()",
    "os.posix_spawn": "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "os.exec": "os.execv('/bin/true', ['true'])",
}


def commit(folder: Path, crime: str, *, serves: str) -> list[str]:
    """Do something in a process that is watched, and return what was seen."""
    code = f"""
import os, pickle, subprocess, traceback
payload = {pickle.dumps(pickle.Pickler)!r}
from tests.security import watch
watch.watch({serves})
{crime}
"""
    environment = {**os.environ, watch.FOLDER: str(folder)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)
    told = "".join(file.read_text() for file in folder.glob("violation-*"))
    return [line.split()[1] for line in told.splitlines() if line.startswith("! ")]


@pytest.mark.parametrize("event", CRIMES)
def test_what_a_master_must_not_do_is_seen(tmp_path: Path, event: str) -> None:
    assert event in commit(tmp_path, CRIMES[event], serves="lambda frame: True")


def test_in_a_shared_process_only_the_code_of_the_master_is_watched(tmp_path: Path) -> None:
    inside = "/minispark/master/made_up.py"
    crime = f"exec(compile('pickle.loads(payload)', {inside!r}, 'exec'))"
    assert commit(tmp_path, CRIMES["exec"], serves="watch.in_master") == []
    assert commit(tmp_path, crime, serves="watch.in_master") == ["pickle.find_class"]


def test_what_is_allowed_is_not_seen(tmp_path: Path) -> None:
    planner = "/minispark/master/jobs/planner.py"
    harmless = f"""
import sqlite3, wave
try:
    1 / 0
except ZeroDivisionError:
    traceback.format_exc()
import sys
watching = False
code = "def _start_child(): subprocess.run([sys.executable, '-c', ''], stdin=subprocess.DEVNULL)"
exec(compile(code, {planner!r}, "exec"))
watching = True
_start_child()
"""
    assert commit(tmp_path, harmless, serves="lambda frame: globals().get('watching', True)") == []


def test_the_suite_fails_over_it(tmp_path: Path) -> None:
    """A session with one test, which passes, in which a master unpickles."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pickle\n"
        f"payload = {pickle.dumps(pickle.Pickler)!r}\n"
        "def test():\n"
        "    code = compile('pickle.loads(payload)', '/minispark/master/x.py', 'exec')\n"
        "    exec(code, globals())\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
    assert "pickle.find_class" in ended.stdout


@pytest.mark.process
def test_a_master_gives_plans_on_without_looking_into_them(tmp_path: Path) -> None:
    """A plan that writes down, wherever it is unpacked, who unpacked it."""
    found = tmp_path / "found"

    class Trap:
        def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
            return frame

        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"__import__('os').system('echo $PPID >> {found}') and None or len",)

    frame = pl.LazyFrame({"a": [1, 2, 3]}).map_batches(Trap(), schema={"a": pl.Int64})
    with LocalCluster(1) as cluster:
        master, worker = cluster.master, cluster.workers[0]
        assert master is not None
        assert master.pid in watch.watched()
        engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
        with pytest.raises(MinisparkError):
            frame.collect(engine=engine)
        pids = {int(pid) for pid in found.read_text().split()} - {os.getpid()}
        assert pids
        assert master.pid not in pids
        assert worker.pid not in pids
        assert cluster.client.workers()[0]["status"] == "UP"
