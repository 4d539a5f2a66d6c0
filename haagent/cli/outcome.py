"""How a command ends: its exit status, and how an error is told."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import click

DONE, FAILED, USAGE, NOT_RUNNING, REFUSED = range(5)
INTERRUPTED = 130  # as a shell has it: 128 + SIGINT, whichever signal it was

NOTHING_MORE = "This is a fault of haagent itself: please report it, with what HAAGENT_DEBUG=1 shows."


class Failure(Exception):
    """The command ends here. The text says what to do next; several lines when there are several faults."""

    def __init__(self, message: str, *, status: int = FAILED, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.details = message, status, details or {}


def end_when_asked() -> None:
    """From now on SIGTERM and SIGHUP are as good as Ctrl-C: what was begun is cleared away. `nohup` stands."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def status_of(error: Failure | click.ClickException) -> int:
    return error.status if isinstance(error, Failure) else error.exit_code


def report(error: Failure | click.ClickException, *, as_json: bool) -> None:
    # Of click 8.2 and later; older ones (Debian 12 and 13) show the help themselves.
    if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return
    message = error.message if isinstance(error, Failure) else _usage(error)
    if as_json:
        details = error.details if isinstance(error, Failure) else {}
        line = {"error": {"status": status_of(error), "message": message} | details}
        print(json.dumps(line), file=sys.stderr)
    else:
        # Lines that begin with FILE:LINE are for editors, which want nothing before that.
        print(message if "\n" in message or ":" in message.split(" ")[0] else f"haagent: {message}", file=sys.stderr)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().strip()
    message = message if message.endswith((".", "?")) else message + "."
    context = getattr(error, "ctx", None)
    if context is None or "`" in message:
        return message
    return f"{message} `{context.command_path} --help` shows what there is."
