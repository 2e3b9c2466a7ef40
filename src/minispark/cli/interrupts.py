"""What Ctrl-C means to somebody who waits for a job.

On a terminal the first one asks. To who submitted the job a second one in place of an answer is a
yes, and he need not wait for it; who only watches just leaves. Off a terminal nobody can be
asked: who submitted the job cancels it.

Many interrupts within a moment are one (`minispark.signals`): none of them keeps a job from being
cancelled. In place of an answer each one counts.
"""

from __future__ import annotations

import contextlib
import select
import sys

from minispark.cli.terminal import notes
from minispark.engines.http import MasterClient
from minispark.errors import MinisparkError
from minispark.signals import interrupts

_LOOK_S = 0.2


def goes_on(client: MasterClient, job_id: str, *, owner: bool) -> bool:
    """Ask what to do after an interrupt; False if the caller shall leave, its job dealt with."""
    if not (sys.stdin.isatty() and notes.is_terminal):
        if owner:
            _cancel(client, job_id)
        return False
    try:
        answer = _ask(job_id, owner=owner)
    except (KeyboardInterrupt, EOFError):
        notes.print()
        answer = owner
    if answer is None:
        return True
    if answer:
        _cancel(client, job_id)
    else:
        notes.print_line(f"{job_id} goes on; see it again: minispark status {job_id} --watch")
    return False


def _ask(job_id: str, *, owner: bool) -> bool | None:
    """Return whether to cancel, None for neither that nor leaving."""
    again = "cancels it" if owner else "leaves it alone"
    question = f"Cancel {job_id}? y: yes, n: wait on, l: leave it running (Ctrl-C again {again}): "
    while True:
        interrupts.expect()
        notes.print_line(question, end="")
        match _line().strip().lower()[:1]:
            case "y":
                return True
            case "n":
                return None
            case "l":
                return False


def _line() -> str:
    # Not one long read: a signal that comes just before it would be seen after it only.
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _cancel(client: MasterClient, job_id: str) -> None:
    try:
        with contextlib.suppress(KeyboardInterrupt):  # Another: he leaves, sent or not.
            view = client.cancel(job_id)
            ended = view.status if view.status != "RUNNING" else "about to end"
            notes.print_line(f"{job_id} is {ended.lower()}")
    except MinisparkError as error:
        notes.print_line(f"{job_id} could not be cancelled: {error}")
