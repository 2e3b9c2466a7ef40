"""A case for each option of the tools (data, simulate, doctor, ...) and of the servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minispark.settings import MIB
from minispark.testing.sim.batch import FailedHistory, Tally
from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.scale import Scale
from minispark.tokens import Level, derive

from .options_kit import Case, Cases, OptionBench


def demo(option: str) -> Case:
    def case(bench: OptionBench) -> None:
        bench.record("minispark.cli.demo.show")
        bench.run("demo", f"--{option}", "23")
        assert bench.calls[0].options[option] == 23

    return case


def _data(name: str, output: str) -> dict[str, Case]:
    file = "sales.csv" if name == "join" else ""

    def make(bench: OptionBench, *words: str, lines: str = "20") -> bytes:
        bench.run("data", name, "--lines", lines, "--output", output, *words)
        return (bench.directory / output / file).read_bytes()

    def lines(bench: OptionBench) -> None:
        assert make(bench, lines="30").count(b"\n") == 31

    def seed(bench: OptionBench) -> None:
        assert make(bench, "--seed", "1") != make(bench, "--seed", "2")

    def to_output(bench: OptionBench) -> None:
        assert make(bench)

    def as_json(bench: OptionBench) -> None:
        found = bench.json("data", name, "--lines", "20", "--output", output)
        assert found[0]["bytes"] == (bench.directory / found[0]["path"]).stat().st_size

    return {"lines": lines, "seed": seed, "output": to_output, "json": as_json}


def token(option: str) -> Case:
    secret = "t" * 43

    def case(bench: OptionBench) -> None:
        directory = bench.directory / "other"
        directory.mkdir(mode=0o700)
        (directory / "token").write_text(secret)
        (directory / "token").chmod(0o600)
        bench.record("minispark.discovery.find_token", secret)
        given = {
            "--state-dir": str(directory),
            "--token-file": str(directory / "token"),
            "--master": "http://127.0.0.1:81",
        }
        ran = bench.run("token", "view", option, given[option])
        assert ran.stdout.split()[-1] == derive(secret, Level.VIEW)
        urls = [call.arguments[0] for call in bench.calls]
        assert urls == ([given[option]] if option == "--master" else [])
        other = "--master" if option != "--master" else "--state-dir"
        both = bench.refused("token", "view", option, given[option], other, given[other])
        assert "cannot be given" in both

    return case


def _chaos(bench: OptionBench, *words: str) -> Any:
    quiet = SimpleNamespace(duration_s=1.0, failures=Counter[str](), story=())
    verdict = SimpleNamespace(differences=(), leftovers=(), rows=1, quiet=quiet, shaken=quiet)
    bench.record("minispark.testing.chaos.trial.try_job", verdict)
    bench.run("chaos", bench.write("job.json", "{}"), *words)
    return bench.calls[-1].arguments[1]


def chaos(option: str) -> Case:
    def case(bench: OptionBench) -> None:
        assert getattr(_chaos(bench, f"--{option}", "4"), option) == 4

    return case


def chaos_json(bench: OptionBench) -> None:
    _chaos(bench)
    assert bench.json("chaos", "job.json")["same"] is True


def one_history(option: str, value: str, name: str, expected: object) -> Case:
    """Return the case of an option of one simulated history: its field of `SimOptions`."""

    def case(bench: OptionBench) -> None:
        history = FailedHistory(SimOptions(0), "made up", "story")
        bench.record("minispark.testing.sim.batch.run_history", history)
        words = ("simulate", "--no-shrink", option, value)
        bench.refused(*words, "--histories", "1", code=1)
        assert getattr(bench.calls[0].arguments[0], name) == expected
        bench.calls.clear()
        if option != "--seed":
            assert "for one history" in bench.refused(*words, "--histories", "2")

    return case


def simulate_many(option: str, expected: Callable[[Any], object]) -> Case:
    def case(bench: OptionBench) -> None:
        bench.record("minispark.testing.sim.batch.simulate", Tally())
        bench.run("simulate", option, "7")
        assert expected(bench.calls[0]) == 7

    return case


def simulate_digest(bench: OptionBench) -> None:
    assert "digest" in bench.run("simulate", "--histories", "1", "--digest").stdout
    assert "digest" not in bench.run("simulate", "--histories", "1").stdout
    assert "cannot be given" in bench.refused("simulate", "--digest", "--json")


def simulate_shrink(bench: OptionBench) -> None:
    history = FailedHistory(SimOptions(0), "made up", "story")
    bench.record("minispark.testing.sim.batch.run_history", history)
    error = SimpleNamespace(reason="made up", story="story", options=SimOptions(0))
    words = ("simulate", "--histories", "1")
    bench.refused(*words, "--no-shrink", code=1)
    assert len(bench.calls) == 1
    bench.record("minispark.testing.sim.shrink.shrink", error)
    bench.refused(*words, code=1)
    assert len(bench.calls) == 3


def simulate_journal(bench: OptionBench) -> None:
    assert "faults: " in bench.run("simulate", "--histories", "1", "--journal").stdout
    assert "cannot be given" in bench.refused("simulate", "--journal", "--json")


def simulate_json(bench: OptionBench) -> None:
    assert bench.json("simulate", "--histories", "1")["histories"] == 1


def measures(option: str, place: int) -> Case:
    def case(bench: OptionBench) -> None:
        scale = Scale(1, 1, 1, 1.0, 1.0, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
        bench.record("minispark.testing.sim.scale.measure", scale)
        sizes = {"--workers": "3", "--tasks": "40", option: "77"}
        bench.run("simulate", *(word for pair in sizes.items() for word in pair))
        assert bench.calls[0].arguments[place] == 77
        if option == "--tasks":
            assert "does nothing without --workers" in bench.refused("simulate", option, "77")
        else:
            assert "cannot be given" in bench.refused("simulate", option, "7", "--until", "9")

    return case


def doctor(*words: str, field: str, expected: object) -> Case:
    def case(bench: OptionBench) -> None:
        bench.record("minispark.cli.examine.examine", [])
        bench.run("doctor", *words)
        assert getattr(bench.calls[0].arguments[0], field) == expected

    return case


def doctor_json(bench: OptionBench) -> None:
    bench.record("minispark.cli.examine.examine", [])
    assert bench.json("doctor") == []


def _served(bench: OptionBench, command: str, words: tuple[str, ...]) -> Any:
    """Return what a server would have been started with: its configuration and its log."""
    module = {"master": "minispark.master", "worker": "minispark.worker.server"}[command]
    bench.record(f"{module}.serve")
    bench.run(command, *words)
    call = bench.calls[-1]
    return SimpleNamespace(config=call.arguments[0], logs=call.options["logs"])


def serves(command: str, *words: str, as_: Callable[[Any], object], expected: object) -> Case:
    """Return the case of an option of a server: a setting, which is another one without it."""

    def case(bench: OptionBench) -> None:
        bench.write("secret", "s" * 43)
        (bench.directory / "secret").chmod(0o600)
        assert as_(_served(bench, command, words)) == expected
        assert as_(_served(bench, command, ())) != expected

    return case


def _server(command: str) -> dict[str, Case]:
    """Return the cases of options that master and worker share."""

    def case(*words: str, field: str, expected: object) -> Case:
        return serves(command, *words, as_=lambda s: getattr(s.config, field), expected=expected)

    here, certificates = Path("cert.pem"), Path("ca.pem")
    trusted = certificates if command == "master" else "ca.pem"
    return {
        "host": case("--host", "localhost", field="host", expected="localhost"),
        "port": case("--port", "0", field="port", expected=0),
        "auth": case("--auth", "all", field="auth", expected="all"),
        "allowed_host": case(
            *("--allowed-host", "a", "--allowed-host", "b"),
            field="allowed_hosts",
            expected=("a", "b"),
        ),
        "insecure": case("--insecure", field="insecure", expected=True),
        "tls_cert": case("--tls-cert", "cert.pem", field="tls_cert", expected=here),
        "tls_key": case("--tls-key", "cert.pem", field="tls_key", expected=here),
        "ca_file": case("--ca-file", "ca.pem", field="ca_file", expected=trusted),
        "data_root": case("--data-root", "data", field="data_root", expected=Path("data")),
        "log_format": serves(
            command, "--log-format", "json", as_=lambda s: s.logs.format, expected="json"
        ),
        "log_level": serves(
            command, "--log-level", "debug", as_=lambda s: s.logs.level, expected="debug"
        ),
    }


def _master(*words: str, as_: Callable[[Any], object], expected: object) -> Case:
    return serves("master", *words, as_=lambda s: as_(s.config), expected=expected)


def _worker(*words: str, as_: Callable[[Any], object], expected: object) -> Case:
    return serves("worker", *words, as_=lambda s: as_(s.config), expected=expected)


TOOL_CASES: Cases = {
    "demo": {"lines": demo("lines"), "runs": demo("runs")},
    "data test": _data("test", "a/t.csv"),
    "data large": _data("large", "a/l.csv"),
    "data 1m": _data("1m", "a/m.csv"),
    "data join": _data("join", "a"),
    "token": {
        "state_dir": token("--state-dir"),
        "token_file": token("--token-file"),
        "master": token("--master"),
    },
    "chaos": {
        **{option: chaos(option) for option in ("seed", "workers", "faults")},
        "json": chaos_json,
    },
    "simulate": {
        "histories": simulate_many("--histories", lambda call: call.arguments[1]),
        "seed": one_history("--seed", "7", "seed", 7),
        "jobs": simulate_many("--jobs", lambda call: call.options["processes"]),
        "digest": simulate_digest,
        "shrink": simulate_shrink,
        "only_jobs": one_history("--only-jobs", "0,2", "jobs", (0, 2)),
        "only_workers": one_history("--only-workers", "1", "workers", (1,)),
        "without": one_history("--without", "late,crash", "without", ("late", "crash")),
        "until": one_history("--until", "9", "until_s", 9.0),
        "journal": simulate_journal,
        "workers": measures("--workers", 0),
        "tasks": measures("--tasks", 1),
        "json": simulate_json,
    },
    "doctor": {
        "master": doctor("--master", "http://h:1", field="master", expected="http://h:1"),
        "master_port": doctor("--master-port", "81", field="ports", expected=(81, 9000, 10000)),
        "worker_port": doctor("--worker-port", "82", field="ports", expected=(8080, 82, 1082)),
        "work_dir": doctor("--work-dir", "w", field="work_dir", expected=Path("w")),
        "json": doctor_json,
    },
    "master": {
        **_server("master"),
        "state_dir": _master("--state-dir", "s", as_=lambda c: c.state_dir, expected=Path("s")),
        "token_file": _master("--token-file", "secret", as_=lambda c: c.token, expected="s" * 43),
        "max_load_diff": _master(
            "--max-load-diff", "9", as_=lambda c: c.scheduler.max_load_diff, expected=9
        ),
        "heartbeat_timeout": _master(
            *("--heartbeat-timeout", "9"),
            as_=lambda c: c.scheduler.heartbeat_timeout_s,
            expected=9.0,
        ),
        "worker_grace": _master(
            "--worker-grace", "9", as_=lambda c: c.scheduler.no_worker_grace_s, expected=9.0
        ),
        "policy": _master("--policy", "fifo", as_=lambda c: c.scheduler.policy, expected="fifo"),
        "speculation": _master(
            "--no-speculation", as_=lambda c: c.scheduler.speculation, expected=False
        ),
        "synchronous": _master(
            "--synchronous", "full", as_=lambda c: c.journal.synchronous, expected="FULL"
        ),
        "public_url": _master(
            "--public-url", "http://h:81", as_=lambda c: c.public_url, expected="http://h:81"
        ),
        "otlp": _master("--otlp", "http://o", as_=lambda c: c.otlp, expected="http://o"),
    },
    "worker": {
        **_server("worker"),
        "master": _worker(
            "--master", "http://127.0.0.1:81", as_=lambda c: c.master_url,
            expected="http://127.0.0.1:81",
        ),
        "threads": _worker("--threads", "77", as_=lambda c: c.slots, expected=77),
        "memory_limit_mb": _worker(
            "--memory-limit-mb", "9", as_=lambda c: c.memory_limit_bytes, expected=9 * MIB
        ),
        "disk_limit_mb": _worker(
            "--disk-limit-mb", "9", as_=lambda c: c.disk_limit_bytes, expected=9 * MIB
        ),
        "task_timeout": _worker(
            "--task-timeout", "9", as_=lambda c: c.task_timeout_s, expected=9.0
        ),
        "cache_max_mb": _worker(
            "--cache-max-mb", "9", as_=lambda c: c.cache.memory_bytes, expected=9 * MIB
        ),
        "cache_disk_mb": _worker(
            "--cache-disk-mb", "9", as_=lambda c: c.cache.disk_bytes, expected=9 * MIB
        ),
        "work_dir": _worker("--work-dir", "w", as_=lambda c: c.work_dir, expected=Path("w")),
        "advertise_host": _worker(
            "--advertise-host", "h", as_=lambda c: c.advertise_host, expected="h"
        ),
        "heartbeat": _worker("--heartbeat", "9", as_=lambda c: c.heartbeat_s, expected=9.0),
        "map_blocks": _worker("--no-map-blocks", as_=lambda c: c.map_blocks, expected=False),
    },
}  # fmt: skip
