"""The ``minispark`` command: all subcommands, and an exit code for every error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from minispark.cli import (
    chaos,
    data,
    doctor,
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
    verify,
    worker,
)
from minispark.cli.failures import explain_failure
from minispark.tracebacks import all_frames

# Plain help: Rich would take half of the time that `--help` may take.
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

for _command in (
    *(run.demo, sql.sql, submit.submit, jobs.status, jobs.jobs, jobs.workers, jobs.results),
    *(jobs.cancel, submit.explain, master.master, worker.worker, verify.verify, jobs.ui),
    *(chaos.chaos, predict.predict, replay.replay, report.report, simulate.simulate, jobs.top),
    *(doctor.doctor, token.token),
):
    app.command()(_command)
for _group, _name in ((run.app, "run"), (metrics.app, "metrics"), (data.app, "data")):
    app.add_typer(_group, name=_name)


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
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted at any place: users add it at the end of the command that has just failed.
    debug = "--debug" in words or bool(os.environ.get("MINISPARK_DEBUG"))
    words = [word for word in words if word != "--debug"]
    frames = all_frames.set(debug)
    try:
        command = typer.main.get_command(app)
        code = command.main(words, prog_name="minispark", standalone_mode=False)
        sys.stdout.flush()
    # BaseException, since a panic of Polars is not an Exception.
    except BaseException as error:
        if debug or isinstance(error, SystemExit):
            raise
        sys.exit(explain_failure(error))
    finally:
        all_frames.reset(frames)
    sys.exit(code if isinstance(code, int) else 0)
