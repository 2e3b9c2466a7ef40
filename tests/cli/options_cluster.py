"""A case for each option of the commands that ask a master."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import polars as pl

from minispark.cli import terminal

from .options_kit import Case, Cases, OptionBench, finished_job, prints_json, reaches_the_master


def _asks(*words: str, has: str | None = None) -> dict[str, Case]:
    return {"master": reaches_the_master(*words), "json": prints_json(*words, has=has)}


def _submit(bench: OptionBench, *words: str) -> str:
    path = bench.write("more.txt", "one two\n" * 40)
    ran = bench.run("submit", "--input", path, *words, "--no-wait", *bench.master)
    return ran.stdout.strip()


def submit_input(bench: OptionBench) -> None:
    job_id = _submit(bench)
    assert bench.cluster.client.wait(job_id).status == "SUCCEEDED"
    assert bench.cluster.client.metrics(job_id).input_records == 40
    assert "nothing to submit" in bench.refused("submit", *bench.master)


def submit_parallelism(bench: OptionBench) -> None:
    for words, tasks in (((), 1), (("--parallelism", "3"), 3)):
        view = bench.cluster.client.wait(_submit(bench, *words))
        assert view.stages[0].tasks == tasks


def submit_user(bench: OptionBench) -> None:
    job_id = _submit(bench, "--user", "ann")
    assert bench.cluster.client.job(job_id).submitted_by == "ann"


def submit_master(bench: OptionBench) -> None:
    reaches_the_master("submit", "--input", bench.write("more.txt", "one"))(bench)


def submit_json(bench: OptionBench) -> None:
    words = ("submit", "--input", bench.write("more.txt", "one"))
    prints_json(*words, has="job_id")(bench)


def waits(command: Callable[[OptionBench], tuple[str, ...]]) -> Case:
    def case(bench: OptionBench) -> None:
        words = command(bench)
        assert "stage" in bench.run(*words, "--wait", *bench.master).stdout
        assert bench.run(*words, "--no-wait", *bench.master).stdout.startswith("job-")

    return case


def _submitting(bench: OptionBench) -> tuple[str, ...]:
    return "submit", "--input", bench.write("more.txt", "one")


def _rerunning(bench: OptionBench) -> tuple[str, ...]:
    return "rerun", finished_job(bench)


def rerun_user(bench: OptionBench) -> None:
    ran = bench.run(*_rerunning(bench), "--user", "bob", "--no-wait", *bench.master)
    assert bench.cluster.client.job(ran.stdout.strip()).submitted_by == "bob"


def _results(bench: OptionBench, *words: str) -> str:
    return bench.run("results", finished_job(bench), *words, *bench.master).stdout


def results_output(bench: OptionBench) -> None:
    path = bench.directory / "rows.ipc"
    assert _results(bench, "--output", str(path)).strip() == str(path)
    assert pl.read_ipc(path).height == 4


def results_format(bench: OptionBench) -> None:
    rows = [json.loads(line) for line in _results(bench, "--format", "jsonl").splitlines()]
    assert {row["token"] for row in rows} == {"to", "be", "or", "not"}
    path = bench.directory / "rows.csv"
    _results(bench, "--output", str(path), "--format", "parquet")
    assert pl.read_parquet(path).height == 4


def results_force(bench: OptionBench) -> None:
    path = bench.write("rows.csv", "mine")
    words = ("results", finished_job(bench), *bench.master)
    assert "exists already" in bench.refused(*words, "--output", path)
    bench.run(*words, "--output", path, "--force")
    assert pl.read_csv(path).height == 4
    assert "--force does nothing without --output" in bench.refused(*words, "--force")


def results_node(bench: OptionBench) -> None:
    words = ("results", finished_job(bench), *bench.master, "--node")
    assert "MS-147" in bench.refused(*words, "none")
    bench.run(*words, "count")


def results_json(bench: OptionBench) -> None:
    prints_json("results", "JOB", has="nodes")(bench)
    words = ("results", finished_job(bench), *bench.master, "--json")
    for other in (("--output", "x.csv"), ("--format", "csv"), ("--node", "count")):
        assert "cannot be given together" in bench.refused(*words, *other)


def status_watch(bench: OptionBench) -> None:
    view = bench.cluster.client.job(finished_job(bench))
    bench.record("minispark.cli.remote.wait_for", view)
    words = ("status", view.job_id, *bench.master)
    bench.run(*words)
    assert not bench.calls
    bench.run(*words, "--watch")
    assert bench.calls[0].arguments[1] == view.job_id


def jobs_limit(bench: OptionBench) -> None:
    _rerun(bench)
    assert len(json.loads(bench.run("jobs", "--limit", "1", "--json", *bench.master).stdout)) == 1
    assert len(json.loads(bench.run("jobs", "--json", *bench.master).stdout)) > 1


def metrics_jobs_limit(bench: OptionBench) -> None:
    _rerun(bench)
    words = ("metrics", "jobs", *bench.master, "--json")
    assert len(json.loads(bench.run(*words, "--limit", "1").stdout)["jobs"]) == 1
    assert len(json.loads(bench.run(*words).stdout)["jobs"]) > 1


def _rerun(bench: OptionBench) -> None:
    client = bench.cluster.client
    client.wait(client.rerun(finished_job(bench)))


def _on_a_terminal(bench: OptionBench) -> tuple[str, ...]:
    bench.record("minispark.cli.top.watch")
    bench.patch.setattr(terminal.output, "_force_terminal", True)
    return "top", *bench.master


def top_once(bench: OptionBench) -> None:
    words = _on_a_terminal(bench)
    bench.run(*words, "--once")
    assert not bench.calls
    bench.run(*words)
    assert len(bench.calls) == 1


def top_interval(bench: OptionBench) -> None:
    words = _on_a_terminal(bench)
    bench.run(*words, "--interval", "7")
    assert bench.calls[0].options["interval_s"] == 7.0
    for other in ("--once", "--json"):
        assert "cannot be given together" in bench.refused(*words, "--interval", "7", other)


def ui_print(bench: OptionBench) -> None:
    bench.record("webbrowser.open", result=True)
    assert bench.run("ui", "--print", *bench.master).stdout.startswith("http")
    assert not bench.calls
    assert bench.run("ui", *bench.master).stdout == ""
    assert bench.calls[0].arguments[0].startswith("http")


def ui_next(bench: OptionBench) -> None:
    bench.record("minispark.engines.http.MasterClient.login_link", "http://link")
    bench.run("ui", "--print", "--next", "/workers", *bench.master)
    bench.run("ui", "--print", *bench.master)
    assert [call.arguments[1] for call in bench.calls] == ["/workers", "/"]


def _events(bench: OptionBench, *words: str) -> list[dict[str, str]]:
    finished_job(bench)
    events: list[dict[str, str]] = json.loads(
        bench.run("events", "--json", *words, *bench.master).stdout
    )
    return events


def events_follow(bench: OptionBench) -> None:
    job_id = finished_job(bench)
    words = ("events", "--job", job_id, "--json", *bench.master)
    ran = bench.run(*words, "--follow")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines == json.loads(bench.run(*words).stdout), "one event a line, until the job's end"


def events_job(bench: OptionBench) -> None:
    job_id = finished_job(bench)
    assert {event["job_id"] for event in _events(bench, "--job", job_id)} == {job_id}


def events_worker(bench: OptionBench) -> None:
    name = str(bench.cluster.client.workers()[0]["worker_id"])
    assert {event["worker"] for event in _events(bench, "--worker", name)} == {name}
    assert _events(bench, "--worker", "w-none") == []


def events_about(bench: OptionBench) -> None:
    found = _events(bench, "--about", "worker")
    assert found
    assert len(found) < len(_events(bench))


def events_limit(bench: OptionBench) -> None:
    assert len(_events(bench, "--limit", "2")) == 2


def _logs(bench: OptionBench, *words: str) -> list[dict[str, str]]:
    name = str(bench.cluster.client.workers()[0]["worker_id"])
    ran = bench.run("logs", name, *words, "--json", *bench.master)
    lines: list[dict[str, str]] = json.loads(ran.stdout)
    return lines


def logs_level(bench: OptionBench) -> None:
    assert {line["level"] for line in _logs(bench)} >= {"info"}
    assert "info" not in {line["level"] for line in _logs(bench, "--level", "warning")}


def logs_limit(bench: OptionBench) -> None:
    assert _logs(bench, "--limit", "1") == _logs(bench)[-1:]


def logs_follow(bench: OptionBench) -> None:
    reads = iter([False, True])

    def read(_: object) -> list[object]:
        if next(reads):
            raise KeyboardInterrupt
        return []

    bench.patch.setattr("minispark.cli.logs._LogReader.read", read)
    bench.patch.setattr("minispark.cli.logs._POLL_S", 0.0)
    assert "interrupted" in bench.refused("logs", "--follow", *bench.master, code=130)


def report_output(bench: OptionBench) -> None:
    path = bench.directory / "deep" / "page.html"
    bench.run("report", finished_job(bench), "--output", str(path), *bench.master)
    assert "<html" in path.read_text()


def report_force(bench: OptionBench) -> None:
    path = bench.write("page.html", "mine")
    words = ("report", finished_job(bench), *bench.master)
    assert "exists already" in bench.refused(*words, "--output", path)
    bench.run(*words, "--output", path, "--force")
    assert "--force does nothing without --output" in bench.refused(*words, "--force")


def report_trace(bench: OptionBench) -> None:
    job_id = finished_job(bench)
    bench.run("report", job_id, "--trace", *bench.master)
    assert json.loads((bench.directory / f"{job_id}.trace.json").read_text())["traceEvents"]


def replay_step(bench: OptionBench) -> None:
    words = ("replay", finished_job(bench), *bench.master)
    (step,) = json.loads(bench.run(*words, "--step", "2", "--json").stdout)
    assert step == json.loads(bench.run(*words, "--json").stdout)[1]


def predict_workers(bench: OptionBench) -> None:
    words = ("predict", finished_job(bench), *bench.master)
    assert "on 7 workers" in bench.run(*words, "--workers", "7").stdout


def predict_threads(bench: OptionBench) -> None:
    words = ("predict", finished_job(bench), "--workers", "2", *bench.master)
    assert "of 9 slots" in bench.run(*words, "--threads", "9").stdout


def worker_metrics(bench: OptionBench, check: Callable[..., Case]) -> None:
    check("metrics", "worker", str(bench.cluster.client.workers()[0]["worker_id"]))(bench)


def worker_master(bench: OptionBench) -> None:
    worker_metrics(bench, reaches_the_master)
    words = ("metrics", "worker", bench.cluster.url, *bench.master)
    assert "--master does nothing with a URL" in bench.refused(*words)


CLUSTER_CASES: Cases = {
    "submit": {
        "input": submit_input,
        "parallelism": submit_parallelism,
        "wait": waits(_submitting),
        "user": submit_user,
        "master": submit_master,
        "json": submit_json,
    },
    "rerun": {
        "wait": waits(_rerunning),
        "user": rerun_user,
        **_asks("rerun", "JOB", has="job_id"),
    },
    "results": {
        "output": results_output,
        "format": results_format,
        "force": results_force,
        "node": results_node,
        "master": reaches_the_master("results", "JOB"),
        "json": results_json,
    },
    "cancel": _asks("cancel", "JOB", has="job_id"),
    "status": {"watch": status_watch, **_asks("status", "JOB", has="rows")},
    "jobs": {"limit": jobs_limit, **_asks("jobs")},
    "workers": _asks("workers"),
    "top": {"once": top_once, "interval": top_interval, **_asks("top", has="system")},
    "ui": {
        "print": ui_print,
        "next": ui_next,
        "master": reaches_the_master("ui", "--print"),
    },
    "events": {
        "follow": events_follow,
        "job": events_job,
        "worker": events_worker,
        "about": events_about,
        "limit": events_limit,
        **_asks("events"),
    },
    "compare": _asks("compare", "JOB", "JOB", has="stages"),
    "logs": {
        "level": logs_level,
        "limit": logs_limit,
        "follow": logs_follow,
        **_asks("logs"),
    },
    "report": {
        "output": report_output,
        "force": report_force,
        "trace": report_trace,
        "master": reaches_the_master("report", "JOB"),
    },
    "replay": {"step": replay_step, **_asks("replay", "JOB")},
    "verify": _asks("verify", "JOB", has="equal"),
    "predict": {
        "workers": predict_workers,
        "threads": predict_threads,
        **_asks("predict", "JOB", "--workers", "1", has="measured_s"),
    },
    "metrics system": _asks("metrics", "system", has="workers"),
    "metrics jobs": {"limit": metrics_jobs_limit, **_asks("metrics", "jobs", has="counts")},
    "metrics failures": _asks("metrics", "failures", has="total"),
    "metrics job": _asks("metrics", "job", "JOB", has="retries"),
    "metrics worker": {
        "master": worker_master,
        "json": partial(worker_metrics, check=partial(prints_json, has="worker_id")),
    },
}
