"""The commands of the quick start."""

from __future__ import annotations

import pytest
from tests.walk.pages import Because, Walk
from tests.walk.shell import Shell
from tests.walk.steps import makes, opens_the_page, runs_the_demo, says, serves, submits

pytestmark = [pytest.mark.walk, pytest.mark.process, pytest.mark.timeout(900)]


def writes_the_page(shell: Shell, line: str) -> None:
    shell.run(line)
    assert shell.job in (shell.root / "job.html").read_text()


SPANISH = Because("the walk of README.es.md runs it, with others of its kind")
WALK = Walk(
    "docs/index.md",
    {
        "make demo": runs_the_demo,
        "pip install .": Because("the walk of README.md installs it"),
        "minispark data large": makes("data/large.csv", rows=10_000),
        "minispark run wordcount data/large.csv --top 3": says(r"\bkey +value\b", r"rows in all"),
        (
            'minispark sql "select length(text) as n from t order by n desc limit 3"'
            " --table t=data/large.csv"
        ): says(r"\bn\b", r"\d+"),
        "minispark master": serves("master", r"URL +http://127\.0\.0\.1:\d+", r"[tT]oken.*/token"),
        "minispark worker --port 9000": serves("worker-1", r"URL +http"),
        "minispark worker --port 9001": serves("worker-2", r"URL +http"),
        "minispark submit --input data/large.csv --parallelism 4": submits,
        "minispark jobs": says(r"job-\w+", r"SUCCEEDED"),
        "minispark ui --next /jobs/ID": opens_the_page,
        "minispark verify ID": says(r"gave the same result again", r"\bequal\b"),
        "minispark predict ID --workers 8": says(r"on 8 workers", r"predicted"),
        "minispark replay ID": says(r"step 1 of \d+", r"the job SUCCEEDED"),
        "minispark report ID --output job.html": writes_the_page,
        "make run-master": SPANISH,
        "make run-worker": SPANISH,
        "make run-client-submit": SPANISH,
    },
)


@pytest.mark.parametrize("line", WALK.lines)
def test_line(shell: Shell, line: str) -> None:
    WALK.take(shell, line)
