"""The ``minispark`` command: all subcommands, and an exit code for every error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from minispark.cli import (
    chaos,
    compare,
    data,
    doctor,
    events,
    jobs,
    logs,
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
from minispark.cli.sections import SectionedGroup
from minispark.tracebacks import all_frames

if TYPE_CHECKING:
    from typer._click import Context


class _InterruptedError(Exception):
    """A command was interrupted; the cause is the KeyboardInterrupt."""


class _Commands(SectionedGroup):
    def invoke(self, ctx: Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            # Typer would turn it into an exit without a message.
            raise _InterruptedError from interrupt


# Plain help: Rich would take half of the time that `--help` may take.
app = typer.Typer(
    name="minispark",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "auto_envvar_prefix": "MINISPARK",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)

_SECTIONS: dict[str, tuple[Callable[..., None] | tuple[str, typer.Typer], ...]] = {
    "Run something": (
        *(
            run.demo,
            ("run", run.app),
            sql.sql,
            submit.submit,
            submit.rerun,
            jobs.results,
            jobs.cancel,
        ),
    ),
    "Look at it": (
        jobs.status,
        jobs.jobs,
        jobs.workers,
        jobs.top,
        jobs.ui,
        events.events,
        ("metrics", metrics.app),
    ),
    "Run a cluster": (master.master, worker.worker, token.token, chaos.chaos, simulate.simulate),
    "Find out why": (
        *(doctor.doctor, submit.explain, report.report, replay.replay, verify.verify),
        *(predict.predict, compare.compare, logs.logs),
    ),
    "Data": (("data", data.app),),
}
for _title, _commands in _SECTIONS.items():
    for _command in _commands:
        if isinstance(_command, tuple):
            app.add_typer(_command[1], name=_command[0], rich_help_panel=_title)
        else:
            app.command(rich_help_panel=_title)(_command)


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
    Exit codes: 0 success, 1 failed or not found, 2 wrong usage, 3 no master, 130 interrupted.
    """


@cache
def parser() -> Any:
    """Return the command with all subcommands; it is built once, which takes 20 ms."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted at any place: users add it at the end of the command that has just failed.
    debug = "--debug" in words or bool(os.environ.get("MINISPARK_DEBUG"))
    words = [word for word in words if word != "--debug"]
    frames = all_frames.set(debug)
    try:
        code = parser().main(words, prog_name="minispark", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit:
        raise
    except _InterruptedError as error:
        sys.exit(explain_failure(error.__cause__ or error, with_traceback=debug))
    # Not only an Exception: a panic of Polars is none.
    except BaseException as error:
        sys.exit(explain_failure(error, with_traceback=debug))
    finally:
        all_frames.reset(frames)
    sys.exit(code if isinstance(code, int) else 0)
