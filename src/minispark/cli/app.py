"""The ``minispark`` command: every group registered, every error turned into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from minispark.cli import (
    chaos,
    data,
    demo,
    doctor,
    explain,
    jobs,
    master,
    metrics,
    predict,
    replay,
    report,
    run,
    simulate,
    sql,
    submit,
    token,
    top,
    ui,
    verify,
    worker,
)
from minispark.cli.failures import explain_failure

# Plain help: Rich would take half of the time in which `--help` should answer.
app = typer.Typer(
    name="minispark",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "auto_envvar_prefix": "MINISPARK",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)

app.command("demo")(demo.demo)
app.add_typer(run.app, name="run")
app.command("sql")(sql.sql)
app.command("submit")(submit.submit)
app.command("status")(jobs.status)
app.command("jobs")(jobs.jobs)
app.command("workers")(jobs.workers)
app.command("results")(jobs.results)
app.command("cancel")(jobs.cancel)
app.add_typer(metrics.app, name="metrics")
app.command("explain")(explain.explain)
app.add_typer(data.app, name="data")
app.command("master")(master.master)
app.command("worker")(worker.worker)
app.command("verify")(verify.verify)
app.command("ui")(ui.ui)
app.command("chaos")(chaos.chaos)
app.command("predict")(predict.predict)
app.command("replay")(replay.replay)
app.command("report")(report.report)
app.command("simulate")(simulate.simulate)
app.command("top")(top.top)
app.command("doctor")(doctor.doctor)
app.command("token")(token.token)


def _print_version(value: bool) -> None:  # noqa: FBT001 (Typer calls it so)
    if value:
        from importlib.metadata import version

        typer.echo(f"minispark {version('minispark-engine')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", show_envvar=False)
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=_print_version,
            show_envvar=False,
        ),
    ] = False,
) -> None:
    """Mini-Spark: a small distributed engine for Polars.

    Start with `minispark demo`. Errors carry a code and what to do; add --debug for a traceback.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code: 0, 1, 2, 3 or 130 (INTERFACE)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Taken out wherever it stands: one adds it at the end of the line that has just failed.
    debug = "--debug" in given or bool(os.environ.get("MINISPARK_DEBUG"))
    given = [word for word in given if word != "--debug"]
    try:
        command = typer.main.get_command(app)
        code = command.main(given, prog_name="minispark", standalone_mode=False)
        sys.stdout.flush()
    # A panic of Polars is no Exception.
    except BaseException as error:
        if debug or isinstance(error, SystemExit):
            raise
        sys.exit(explain_failure(error))
    sys.exit(code if isinstance(code, int) else 0)
