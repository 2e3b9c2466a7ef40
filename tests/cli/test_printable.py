"""Texts of others that hold escape sequences: no command lets one reach the terminal."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.progress import Progress, TextColumn

from minispark.cli import terminal
from minispark.cli.failures import render
from minispark.cli.remote import job_progress
from minispark.cli.top import frame
from minispark.client import LocalCluster
from minispark.engines.console import PrintableConsole
from minispark.engines.http import MasterClient
from minispark.engines.progress import ProgressLine
from minispark.errors import ErrorInfo, MinisparkError
from minispark.observe.views import JobView, StageProgress
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import render as render_plan
from minispark.plan.explain import render_mermaid
from minispark.printable import printable, printable_lines
from minispark.scheduler.commands import JobStatus

from .conftest import Minispark, Ran
from .test_app import COMMANDS
from .test_top import job, seen, worker

EVIL = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\r\nFORGED line\x7f"
SHOWN = r"x\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\r\nFORGED line\x7f"
ACTING = ("\x1b[2J", "\x1b]0", "\x9b", "\u202e", "\u2028", "\x7f")
OURS = "\n\t"
ARABIC = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
"""Signs that belong to digits: of the same category as what turns the direction, and seen."""

# What programs read of an answer: a text that is no value of an enum is refused, not printed.
READ_BY_US = {
    *("api", "cluster_id", "default", "epoch", "format", "how", "id", "job", "job_id", "kind"),
    *("label", "node", "output", "plan", "result", "state", "status", "type", "verdict"),
    *("rule", "mode", "task", "key", "access", "source", "unit"),
}


def acts(sign: str) -> bool:
    """Whether a terminal does something for a character instead of showing it."""
    if unicodedata.category(sign) == "Cf":
        return unicodedata.bidirectional(sign) != "BN"
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")


def clean(text: str) -> bool:
    acting = [sign for sign in text if sign not in OURS and acts(sign)]
    return not acting and not any(line.startswith("FORGED") for line in text.split("\n"))


def planted(found: object, name: str = "") -> object:
    """Return an answer of the master with an escape sequence in every text for people."""
    if isinstance(found, dict):
        return {key: planted(value, key) for key, value in found.items()}
    if isinstance(found, list):
        return [planted(value, name) for value in found]
    return found + EVIL if isinstance(found, str) and name not in READ_BY_US else found


def test_every_invisible_character_is_written_out() -> None:
    assert printable(EVIL) == SHOWN
    everything = "".join(sign for sign in map(chr, range(0xE000)) if sign not in ARABIC)
    assert clean(printable(everything))
    assert clean(printable_lines(everything))
    assert printable_lines("a\n\tb\x1b") == "a\n\tb\\x1b"
    assert printable("Grüße, 世界 \U0001f600 [red]") == "Grüße, 世界 \U0001f600 [red]"


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> PrintableConsole:
    monkeypatch.setenv("TERM", "xterm")
    return PrintableConsole(file=Terminal(), width=200)


def written(console: PrintableConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_only_rich_controls_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = on_terminal(monkeypatch)
    console.print(f"{EVIL} [red]", style="bold")
    console.print_line(EVIL)
    with Progress(TextColumn("{task.description}"), console=console) as bars:
        bars.add_task(EVIL.replace("[", ""))
    text = written(console)
    assert "\x1b[1m" in text, "rich's own styles stay"
    assert "[red]" in text
    assert SHOWN in text
    assert not any(piece in text for piece in ACTING)


def test_rows_are_bytes_in_a_pipe_and_printable_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    encoded = "ü\x1b[2J\n".encode()
    pieces = [encoded[:1], encoded[1:]]
    terminal.write_rows(pieces)
    assert capfdbinary.readouterr().out == encoded
    monkeypatch.setattr(terminal, "output", on_terminal(monkeypatch))
    terminal.write_rows(pieces)
    assert capfdbinary.readouterr().out.decode() == "ü\\x1b[2J\n"


def views() -> tuple[JobView, ...]:
    stage = StageProgress(id="stage-0", name=EVIL, status="RUNNING", tasks=8, tasks_done=4)
    failed = job(2, JobStatus.FAILED).model_copy(
        update={"name": EVIL, "error": ErrorInfo("MS-211", EVIL)}
    )
    return (job(1, JobStatus.RUNNING, stage).model_copy(update={"name": EVIL}), failed)


def test_progress_and_the_live_view_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = on_terminal(monkeypatch)
    monkeypatch.setattr("minispark.cli.remote.notes", console)
    with job_progress() as show:
        show(views()[0])
    console.print(frame(seen(worker(EVIL), jobs=views()), height=40))
    monkeypatch.setattr("minispark.engines.progress._stderr", lambda: console)
    with ProgressLine(show=True) as line:
        line(views()[0])
    text = written(console)
    assert text.count(r"x\x1b[2J") >= 5
    assert not any(piece in text for piece in ACTING)
    assert "\nFORGED" not in text


def test_errors_in_all_their_fields() -> None:
    info = ErrorInfo(
        "MS-211", EVIL, node=EVIL, field=EVIL, file=EVIL, hint=EVIL, detail=f"{EVIL}\n{EVIL}"
    )
    text = render(info)
    assert clean(text)
    assert all(line.startswith(("error[", "  ")) for line in text.splitlines())


def test_plans_as_text() -> None:
    query = pl.LazyFrame({EVIL: [1], "v": [2]}).group_by(EVIL).agg(pl.sum("v"))
    graph = plan_outputs([PlanOutput(EVIL, query)], describe=True)
    for text in (render_plan(graph), render_mermaid(graph)):
        assert r"\x1b[2J" in text
        assert clean(text)


@pytest.fixture(scope="module")
def jobs(small_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A job that succeeds and one that fails over a value that is an escape sequence."""
    folder = tmp_path_factory.mktemp("evil")
    name = EVIL.replace("\r\n", " ")
    pl.DataFrame({name: [name, "b"], "v": [1, 2]}).write_csv(folder / "good.csv")
    (folder / "bad.csv").write_text("v\n" + "1\n" * 150 + f"{name}\n")
    ids = []
    for file in ("good.csv", "bad.csv"):
        nodes = [
            {"id": "read", "op": "read_csv", "path": str(folder / file)},
            {"id": "fil", "op": "filter", "where": "v > 0"},
        ]
        body = {"name": EVIL, "dag": {"nodes": nodes, "edges": [["read", "fil"]]}}
        ids.append(small_cluster.client.submit_json(body))
        small_cluster.client.wait(ids[-1])
    return ids[0], ids[1]


CALLS = {
    "submit": ("submit", "--job", "job.json", "--no-wait"),
    "ui": ("ui", "--print"),
    "status": ("status", "{good}"),
    "status of a failed job": ("status", "{bad}"),
    "status, followed": ("status", "{bad}", "--watch"),
    "jobs": ("jobs",),
    "workers": ("workers",),
    "results": ("results", "{bad}"),
    "cancel": ("cancel", "{good}"),
    "metrics": ("metrics", "system"),
    "metrics jobs": ("metrics", "jobs"),
    "metrics failures": ("metrics", "failures"),
    "metrics job": ("metrics", "job", "{good}"),
    "explain": ("explain", "job.json"),
    "sql": ("sql", "select * from t", "--table", "t=evil.csv"),
    "sql, explained": ("sql", "select * from t", "--table", "t=evil.csv", "--explain"),
    "sql, wrong": ("sql", "select " + EVIL, "--table", "t=evil.csv"),
    "verify": ("verify", "{good}"),
    "predict": ("predict", "{good}", "--workers", "2"),
    "replay": ("replay", "{good}"),
    "replay of a failed job": ("replay", "{bad}"),
    "report": ("report", "{bad}", "--output", "r.html"),
    "doctor": ("doctor",),
    "top": ("top", "--once"),
    "events": ("events",),
    "logs": ("logs",),
    "compare": ("compare", "{good}", "{bad}"),
    "rerun": ("rerun", "{good}", "--no-wait"),
    "run": ("run", "wordcount", "evil.csv"),
    "data": ("data", "test", "--output", f"made{EVIL}.csv"),
}
# They print what we made ourselves, or go on until they are stopped; see the tests of logs.
OF_OURS = {"demo", "chaos", "simulate", "token", "master", "worker"}


def test_every_command_is_tried() -> None:
    assert {call[0] for call in CALLS.values()} | OF_OURS == set(COMMANDS)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Plant escape sequences in every answer of the master, and in the files here."""
    ask = MasterClient._request

    def asked(self: MasterClient, method: str, path: str, **options: Any) -> bytes:
        try:
            answer = ask(self, method, path, **options)
        except MinisparkError as error:
            error.info = ErrorInfo(error.info.code, error.info.message + EVIL, file=EVIL)
            raise
        if "/internal/" in path:
            return answer
        return json.dumps(planted(json.loads(answer))).encode()

    monkeypatch.setattr(MasterClient, "_request", asked)
    (tmp_path / "evil.csv").write_text(f"key,{EVIL.split(chr(13))[0]}\n{EVIL[:20]},1\n")
    node = {"id": "read", "op": "read_csv", "path": str(tmp_path / "evil.csv")}
    (tmp_path / "job.json").write_text(json.dumps({"name": EVIL, "dag": {"nodes": [node]}}))


@pytest.mark.process
@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("call", CALLS)
def test_no_command_prints_them(
    minispark: Minispark,
    small_cluster: LocalCluster,
    jobs: tuple[str, str],
    tmp_path: Path,
    call: str,
) -> None:
    good, bad = jobs

    def run(*more: str) -> Ran:
        return minispark(
            *(word.format(good=good, bad=bad) for word in CALLS[call]),
            *more,
            MINISPARK_MASTER=small_cluster.url,
            MINISPARK_TOKEN=small_cluster.token or "",
        )

    ran = run()
    said = ran.stdout + ran.stderr
    assert said.strip()
    assert "MS-100" not in said
    assert clean(ran.stdout), ran.stdout
    assert clean(ran.stderr), ran.stderr
    if call == "report":
        # A line break is white space there.
        assert clean((tmp_path / "r.html").read_text().replace("\n", " "))
    # JSON lines of `sql` are rows, byte for byte where no terminal reads them.
    if call not in ("sql", "sql, explained", "report", "ui", "submit"):
        as_json = run("--json")
        assert clean(as_json.stdout), as_json.stdout
        assert clean(as_json.stderr), as_json.stderr
