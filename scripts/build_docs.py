"""Build the site: the pages of ``docs/``, and pages generated from the code.

``cli.md`` has the ``--help`` of every command, ``rest.md`` the routes of a master with the token
that each of them needs, ``limits.md`` the settings with their reasons. They are generated for each
site, so they cannot be out of date; they are in the site only.

    python scripts/build_docs.py            target/docs, then the site in target/site
    python scripts/build_docs.py --pages    target/docs only
"""

from __future__ import annotations

import ast
import base64
import hashlib
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from minispark.cli.app import app
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service, create_app
from minispark.master.control.components import Identity
from minispark.master.http.route_policy import ALWAYS_OPEN, FIGURES, rules
from minispark.settings import Limits
from minispark.wire.guard import SUBMIT, VIEW, WORKER

ROOT = Path(__file__).parents[1]
SOURCE, PAGES, SITE = ROOT / "docs", ROOT / "target" / "docs", ROOT / "target" / "site"
SETTINGS = ROOT / "src" / "minispark" / "settings.py"
MERMAID = "12.3.0"
"""A version of the major version that the theme needs."""
MERMAID_SHA512 = (
    "4113TdXeLAsMruJ79OpFL5O8+LTFXhQqZ260rF3tgUmiNAtRm4Uume04I+65PRN6yZ69J4f8rVYWW8zRk65UYw=="
)
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "license.md",
    "SECURITY.md": "reporting.md",
}
"""Pages outside ``docs/``, with their names in the site."""


def cli_page() -> str:
    """Return the page with the ``--help`` of every command."""
    out = ["# Command line", "", "Made from the commands themselves.", ""]
    for name, command in _commands("minispark", typer.main.get_command(app)):
        context = typer.Context(command, info_name=name, max_content_width=90)
        out += [f"## {name}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(out)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, child in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {below}", child)


def rest_page() -> str:
    """Return the page with the routes of a master and the token of each."""
    with tempfile.TemporaryDirectory() as state:
        config = MasterConfig(state_dir=Path(state), token=secrets.token_urlsafe())
        journal = Journal(config.state_dir / "journal.db")
        document = create_app(Service(config, journal, Identity("docs", 1))).openapi()
        journal.close()
    out = [
        "# REST",
        "",
        "Made from a master's `/openapi.json`. Calls need `Authorization: Bearer TOKEN`;",
        "routes with *figures* need no token on loopback, unless `--auth all` is set.",
        "Errors are JSON: `code`, `message`, `node`, `field`, `file`, `row`, `hint`",
        "([error codes](error-codes.md)). 401 means no token or a wrong one, 403 a token without",
        "the right, 404 not found, 409 a conflict (often too early), 413 too large, 422 invalid.",
        "",
        "| route | | token | parameters |",
        "|---|---|---|---|",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = [p["name"] for p in operation.get("parameters", ()) if p["in"] != "path"]
            text = operation.get("description", operation.get("summary", "")).split("\n")[0]
            out.append(
                f"| `{method.upper()} {path}` | {text} | {token_of(method.upper(), path)} "
                f"| {' '.join(f'`{name}`' for name in parameters)} |"
            )
    return "\n".join([*out, ""])


def token_of(method: str, path: str) -> str:
    """Return the token that a route needs."""
    here = re.sub(r"\{\w+\}", "job-1", path)
    if any(method in methods and route.fullmatch(here) for methods, route in ALWAYS_OPEN):
        return "none"
    if any(method in methods and route.fullmatch(here) for methods, route in FIGURES):
        return "view; figures"
    levels = ((VIEW, "view"), (SUBMIT, "submit"), (WORKER, "worker"))
    for rule in rules(Limits()):
        if method in rule.methods and rule.path.fullmatch(here):
            return next((name for level, name in levels if rule.levels == level), "shared secret")
    return "shared secret"


def limits_page() -> str:
    """Return the page with the settings: name, value, reason."""
    out = [
        "# Limits",
        "",
        "Every limit has a name in `minispark.settings`, and a reason. This page is made from",
        "there; options of `minispark master` and `minispark worker` set the most useful ones.",
        "",
    ]
    for node in ast.parse(SETTINGS.read_text()).body:
        if isinstance(node, ast.ClassDef):
            title = (ast.get_docstring(node) or "").replace("\n", " ")
            out += [f"## {node.name}", "", title, "", "| | value | why |", "|---|---|---|"]
            out += [f"| `{name}` | `{value}` | {why} |" for name, value, why in _fields(node)]
            out.append("")
    return "\n".join(out)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            continue
        why = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            why = " ".join(str(after.value.value).split())
        value = ast.unparse(statement.value).replace("|", "\\|")
        yield ast.unparse(statement.target), value, why.replace("|", "\\|")


def _in_site(link: re.Match[str]) -> str:
    """Return a link into or out of ``docs/`` as a link within the site."""
    above, page, rest = link.groups()
    if page in OUTSIDE:
        return f"]({OUTSIDE[page]}{rest})"
    return f"]({'' if above == 'docs/' else above}{page}{rest})"


def write_pages() -> None:
    """Lay all pages into ``target/docs``."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(SOURCE, PAGES)
    for name, here in OUTSIDE.items():
        shutil.copy(ROOT / name, PAGES / here)
    link = re.compile(r"\]\((\.\./|docs/|)([\w./-]+)([^)]*)\)")
    for page in PAGES.rglob("*.md"):
        page.write_text(link.sub(_in_site, page.read_text()))
    (PAGES / "cli.md").write_text(cli_page())
    (PAGES / "rest.md").write_text(rest_page())
    (PAGES / "limits.md").write_text(limits_page())


def own_mermaid(bundle: str) -> str:
    """Have the theme's script load Mermaid, which draws the diagrams, from beside itself."""
    elsewhere = re.compile(r'"https://unpkg\.com/mermaid@[^"]+"')
    here = "new URL('mermaid.min.js',document.querySelector('script[src*=\"/bundle.\"]').src).href"
    changed, times = elsewhere.subn(lambda _: here, bundle)
    if times != 1:
        msg = f"the theme names Mermaid {times} times: see how it loads it now"
        raise SystemExit(msg)
    return changed


def bring_mermaid() -> None:
    """Put Mermaid into the site, so that its diagrams are drawn without any other."""
    npm, name = shutil.which("npm"), f"mermaid-{MERMAID}.tgz"
    package = ROOT / "target" / name
    if npm is not None and not package.is_file():
        command = [npm, "pack", "--silent", f"mermaid@{MERMAID}", "--pack-destination", "target"]
        subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
    if not package.is_file():
        sys.stderr.write("npm did not bring Mermaid: diagrams need unpkg.com to be drawn\n")
        return
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != MERMAID_SHA512:
        msg = f"{package} is not what it was"
        raise SystemExit(msg)
    scripts = SITE / "assets" / "javascripts"
    with tarfile.open(package) as archive:
        for member, target in (
            ("dist/mermaid.min.js", "mermaid.min.js"),
            ("LICENSE", "mermaid.txt"),
        ):
            file = archive.extractfile(f"package/{member}")
            assert file is not None  # noqa: S101
            (scripts / target).write_bytes(file.read())
    (bundle,) = scripts.glob("bundle.*.min.js")
    bundle.write_text(own_mermaid(bundle.read_text()))


if __name__ == "__main__":
    write_pages()
    if "--pages" not in sys.argv:
        subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=True
        )
        bring_mermaid()
        sys.stdout.write(f"{SITE}/index.html\n")
