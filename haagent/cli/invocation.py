"""What every command takes: where the agent's files are, and whether a program or a person reads the answer.

`--run-dir`, `--state-dir` and `--json` may stand before the command's name or after it; the later one counts. They are
added to a command when it is loaded, so no command declares them, and none can forget to.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from haagent.cli.outcome import INTERRUPTED

if TYPE_CHECKING:
    from socket import socket

    from haagent.control.client import Client

RUN_DIR, STATE_DIR = "/run/haagent", "/var/lib/haagent"
CONFIG = "/etc/haagent/haagent.yaml"


@dataclass
class Invocation:
    """Filled while the command line is read; a command takes it with `@click.pass_obj`."""

    run_dir: str = field(default_factory=lambda: os.environ.get("HAAGENT_RUN_DIR") or RUN_DIR)
    state_dir: str = field(default_factory=lambda: os.environ.get("HAAGENT_STATE_DIR") or STATE_DIR)
    json: bool = False
    when_interrupted: str = ""  # what Ctrl-C leaves undone
    ends_by_interrupt: bool = False  # Ctrl-C is the ordinary end of what goes on for ever
    guardian: socket | None = None  # `run`: the channel to the process that watches over this one

    def tell(self, result: dict[str, Any], text: str | None = None) -> None:
        """The result: to a program whole, to a person as a sentence."""
        if self.json:
            click.echo(json.dumps(result, ensure_ascii=False))
        else:
            click.echo(str(result.get("text", "")) if text is None else text)

    def progress(self, text: str) -> None:
        """On stderr: what goes to stdout is the outcome."""
        if not self.json:
            click.echo(text, err=True)

    def agent(self) -> Client:
        from haagent.control.client import Client

        return Client(self.run_dir)

    def ask(self, command: str, *, wait_s: float | None = None, **arguments: object) -> dict[str, Any]:
        with self.agent() as agent:
            return agent.ask(command, wait_s=wait_s, progress=self.progress, **arguments)

    def interrupted(self) -> int:
        if self.ends_by_interrupt:
            return 0
        if self.when_interrupted:
            click.echo(f"\nhaagent: {self.when_interrupted}", err=True)
        return INTERRUPTED


def options() -> list[click.Parameter]:
    option = functools.partial(click.Option, expose_value=False, callback=_store)
    return [
        option(["--run-dir"], metavar="DIR", help=f"Where the agent's socket is. [HAAGENT_RUN_DIR; {RUN_DIR}]"),
        option(["--state-dir"], metavar="DIR", help=f"What it keeps over a restart. [HAAGENT_STATE_DIR; {STATE_DIR}]"),
        # Eager: before the others, so that their errors are JSON as well.
        option(["--json"], is_flag=True, is_eager=True, help="For programs: the result and errors as JSON."),
    ]


def with_options(command: click.Command) -> click.Command:
    """Add what it lacks of them, and to its subcommands too. Adding twice changes nothing."""
    taken = {name for param in command.params for name in param.opts}
    command.params += [option for option in options() if not taken.intersection(option.opts)]
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_options(below)
    return command


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    invocation = ctx.ensure_object(Invocation)
    if value:
        setattr(invocation, str(param.name), value)
