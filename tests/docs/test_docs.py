"""The pages say what is so: blocks run, links lead somewhere, options exist, the site builds."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from minispark.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
GUIDES = ["index.md", "concepts.md", "conceptos.es.md", "polars.md"]
"""Their blocks of Python and sh run; what starts services stands in blocks of `console`."""
MADE = {"cli.md", "rest.md", "limits.md"}
"""Pages of the site that are made from the code."""

sys.path.insert(0, str(ROOT / "scripts"))
import build_docs  # noqa: E402


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```", page.read_text(), re.M | re.S)
    return [(language, body) for language, body in found if language in languages]


@pytest.mark.parametrize("name", GUIDES)
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    namespace: dict[str, Any] = {"__name__": "docs"}
    ran = 0
    for language, body in blocks(DOCS / name, "python", "sh"):
        if language == "python":
            exec(compile(body, name, "exec"), namespace)  # noqa: S102
        else:
            subprocess.run(["bash", "-e", "-c", body], check=True, capture_output=True)
        ran += 1
    assert ran


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """In the repository itself, where the pages that only the site has are not there."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    config = yaml.safe_load(re.sub(r"!!python/name:\S+", "fence", text))

    def named(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [name for value in values for name in named(value)]

    listed = named(config["nav"])
    there = {str(p.relative_to(DOCS)) for p in DOCS.glob("*.md")}
    linked = {
        link.partition("#")[0]
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }
    assert there <= {*listed, *linked, *(link.removeprefix("docs/") for link in linked)}
    beside = MADE | set(build_docs.OUTSIDE.values()) | {"decisions/README.md"}
    assert set(listed) <= there | beside


def test_every_decision_is_in_the_list() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    assert [p.name for p in (DOCS / "decisions").glob("0*.md") if f"({p.name})" not in index] == []


def test_every_option_that_is_named_exists() -> None:
    """``minispark COMMAND --option`` in blocks of commands, whatever their language."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = group.commands
    unknown = []
    for page in PAGES:
        for _, body in blocks(page, "sh", "bash", "console"):
            for line in body.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|[\s(])minispark (\w+)( [^|;&)']*)?", line)
                if found is None or line.lstrip().startswith("#"):
                    continue
                name, rest = found[1], found[2] or ""
                command = commands.get(name)
                known = set() if command is None else options_of(command)
                used = {w.split("=")[0] for w in split(rest) if w.startswith("--")} - {"--help"}
                if command is None or not used <= known:
                    unknown.append((page.name, line.strip(), used - known))
    assert unknown == []


def options_of(command: Any) -> set[str]:
    own = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    return own.union(*(options_of(child) for child in getattr(command, "commands", {}).values()))


def split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return text.split()


def test_the_slurm_recipe_is_sound_bash(tmp_path: Path) -> None:
    ((_, body),) = blocks(DOCS / "slurm.md", "bash")
    script = tmp_path / "job.sh"
    script.write_text(body)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        # The command of srun is expanded on its nodes.
        subprocess.run(["shellcheck", "--exclude=SC2016", script], check=True)


def test_made_pages_name_all_that_is_there() -> None:
    cli, limits = build_docs.cli_page(), build_docs.limits_page()
    for name, command in build_docs._commands("minispark", get_command(app)):
        assert f"## {name}\n" in cli
        assert all(p.opts[-1] in cli for p in command.params if p.opts[-1].startswith("--"))
    tree = ast.parse(build_docs.SETTINGS.read_text())
    fields = [
        ast.unparse(field.target)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and field.value is not None
    ]
    assert len(fields) > 30
    assert [name for name in fields if f"| `{name}` |" not in limits] == []


@pytest.mark.parametrize(
    ("route", "token"),
    [
        ("GET /healthz", "none"),
        ("GET /api/v1/metrics/system", "view; figures"),
        ("GET /api/v1/jobs/{job_id}/tasks", "view"),
        ("POST /api/v1/jobs", "submit"),
        ("GET /nothing/of/the/kind", "shared secret"),
    ],
)
def test_the_token_of_a_route(route: str, token: str) -> None:
    assert build_docs.token_of(*route.split()) == token


def test_the_site_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGES", "SITE"):
        monkeypatch.setattr(build_docs, name, tmp_path / "target" / name.lower())
    build_docs.write_pages()
    assert "`POST /api/v1/jobs`" in (build_docs.PAGES / "rest.md").read_text()
    config = (ROOT / "mkdocs.yml").read_text()
    config = config.replace("target/docs", "target/pages")
    (tmp_path / "mkdocs.yml").write_text(config)
    subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, check=True
    )
    site = tmp_path / "target" / "site"
    assert "POST /api/v1/jobs" in (site / "rest" / "index.html").read_text()
    (bundle,) = site.glob("assets/javascripts/bundle.*.min.js")
    assert "unpkg.com/mermaid" not in build_docs.own_mermaid(bundle.read_text())


def test_the_page_has_the_layers_of_the_import_check() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    page = " ".join((DOCS / "architecture.md").read_text().split())
    assert " > ".join(layers) in page
