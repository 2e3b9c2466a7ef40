"""Every command of the walked pages has a step or a reason. Quick: nothing is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.walk import test_docker, test_operations, test_quick_start, test_readme, test_readme_es
from tests.walk.pages import ROOT, Walk, block_lines, commands_of
from tests.walk.shell import Shell

WALKS = [test_readme.WALK, test_quick_start.WALK, test_docker.WALK, test_operations.WALK]
ELSEWHERE = {
    "CONTRIBUTING.md": "CI runs its targets",
    "README.es.md": "test_readme_es.py walks it",
    "docs/kubernetes.md": "needs a Kubernetes cluster",
    "docs/observability.md": "needs jq and a collector of traces",
    "docs/security.md": "needs three machines",
    "docs/slurm.md": "needs Slurm; tests/docs checks the script",
    "docs/tour.md": "tests/docs/test_tour.py",
    "docs/web-ui.md": "tests/ui and tests/cli run these commands",
}
"""Pages with blocks of shell commands that are not walked here, and why."""


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.page)
def test_every_command_has_a_step_or_a_reason(walk: Walk) -> None:
    commands = commands_of((ROOT / walk.page).read_text())
    assert [command for command in commands if command not in walk.steps] == []
    assert [command for command in walk.steps if command not in commands] == []


def test_every_line_of_the_spanish_readme_is_walked() -> None:
    commands = set(commands_of((ROOT / "README.es.md").read_text()))
    assert commands - test_readme_es.WALKED == set()


def test_help_lists_every_target_that_the_spanish_readme_promises(tmp_path: Path) -> None:
    listed = set(re.findall(r"^  make ([\w-]+)", Shell(ROOT, tmp_path).run("make help"), re.M))
    promised = set(re.findall(r"`make ([\w-]+)", (ROOT / "README.es.md").read_text()))
    lines = test_readme_es.WALKED
    walked = {found[1] for line in lines if (found := re.search(r"\bmake ([\w-]+)", line))}
    assert promised == walked
    assert promised <= listed


def test_every_page_with_commands_is_known() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    with_blocks = {
        str(page.relative_to(ROOT))
        for page in pages
        if any(f"```{kind}\n" in page.read_text() for kind in ("sh", "bash", "console"))
    }
    assert with_blocks <= {walk.page for walk in WALKS} | ELSEWHERE.keys()
    assert ELSEWHERE.keys() <= with_blocks


def test_commands_are_the_lines_of_blocks_and_what_sentences_quote() -> None:
    page = """Run `make demo`, which needs only `make`; `x.csv` is its file.

```console
# A comment.
minispark data 1m     # it writes a file
minispark sql "select '#1'" \\
  --table t=x.csv
```

```json
{"make": "nothing"}
```

   ```sh
   ./configure
   make demo
   ```
Then `minispark
status ID`.
"""
    assert commands_of(page) == [
        "make demo",
        "minispark data 1m",
        "minispark sql \"select '#1'\" --table t=x.csv",
        "./configure",
        "minispark status ID",
    ]
    assert block_lines("# only a comment\n\n") == []
