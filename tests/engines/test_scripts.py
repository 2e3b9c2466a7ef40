import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest

import minispark

SCRIPT = """
import sys, time
import polars as pl
import minispark as ms

MARK, SECONDS = sys.argv[1], float(sys.argv[2])

def nap(frame):
    open(MARK, "w").close()
    time.sleep(SECONDS)
    return frame

if __name__ == "__main__":
    lf = pl.LazyFrame({"a": [7]}).map_batches(nap, schema={"a": pl.Int64})
    print(lf.collect(engine=ms.Engine(processes=True)).item())
"""


def script(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "mark"), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


@pytest.mark.process
def test_functions_of_a_script_run_in_other_processes(tmp_path: Path) -> None:
    with script(tmp_path, 0) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "7\n", "")


@pytest.mark.process
def test_ctrl_c_ends_a_script_and_its_processes(tmp_path: Path) -> None:
    with script(tmp_path, 60) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "mark").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        executors = psutil.Process(process.pid).children(recursive=True)
        assert executors
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    *calls, last = err.splitlines()
    assert last == "KeyboardInterrupt: the query 'query for a' was cancelled"
    assert "site-packages" not in "".join(calls)
    assert "src/minispark" not in "".join(calls)
    assert process.returncode == -signal.SIGINT
    assert psutil.wait_procs(executors, timeout=60)[1] == []


def test_importing_the_package_loads_nothing() -> None:
    code = "import minispark, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = json.loads(done.stdout)
    assert not {"polars", "pydantic", "fastapi", "rich", "asyncio"} & set(loaded)


@pytest.mark.parametrize("name", minispark.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(minispark, name) is not None
    assert name in dir(minispark)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        minispark.no_such_thing  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == minispark.__version__
