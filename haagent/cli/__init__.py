"""The command line: what the operator types, and the exit status and the words that come back.

A command that starts in 0.1 s is used; one that takes a second is not. So a command's module is imported only when that
command runs (`Table`), and whatever is heavy (YAML, asyncio, rich, netlink) is imported inside the command. The
list of commands below is all that `haagent --help` needs.

Exit status: 0 done; 1 it failed; 2 usage or configuration; 3 the agent is not running; 4 refused. Errors go to stderr,
with `--json` as one line `{"error": {"status": 4, "message": "..."}}`, and nothing else goes there then.
"""

from __future__ import annotations

import os
import sys

import click

from haagent import __version__
from haagent.cli.invocation import Invocation, options, with_options
from haagent.cli.outcome import FAILED, NOTHING_MORE, Failure, report, status_of

# Name, where it is, what it does: in the order in which an operator meets them.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Set up": {
        "init": ("haagent.cli.config:init", "Write a commented configuration and a key."),
        "keygen": ("haagent.cli.config:keygen", "Make a cluster key."),
        "check-config": ("haagent.cli.config:check_config", "Check a configuration; list all its faults."),
    },
    "Run": {
        "run": ("haagent.cli.run:run", "Run the agent in the foreground."),
        "reload": ("haagent.cli.orders:reload", "Apply the changed configuration file, or say why not."),
        "release": ("haagent.cli.release:release", "Drop everything this host holds, without the agent."),
    },
    "Look": {
        "status": ("haagent.cli.status:status", "Show members, groups, holders, and why."),
        "events": ("haagent.cli.events:events", "Show what happened and why, from all nodes."),
    },
    "Operate": {
        "failover": ("haagent.cli.orders:failover", "Move a group to another node."),
        "standby": ("haagent.cli.orders:standby", "Keep a node from holding anything."),
        "unstandby": ("haagent.cli.orders:unstandby", "Let a node hold groups again."),
        "maintenance": ("haagent.cli.orders:maintenance", "Freeze everything, or end that."),
        "clear": ("haagent.cli.orders:clear", "Forget failures, so that a node is tried again."),
    },
    "Try out": {
        "lab": ("haagent.cli.lab:lab", "A real cluster in network namespaces on this machine."),
    },
}


class Table(click.Group):
    """A group whose commands are imported one by one, when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for family in COMMANDS.values() for name in family]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for family in COMMANDS.values():
            if cmd_name in family:
                module, _, attribute = family[cmd_name][0].partition(":")
                return _imported(module, attribute)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"Did you mean `{near[0]}`?" if near else "`haagent --help` lists them."
            raise click.UsageError(f"There is no command `{name}`. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for family, commands in COMMANDS.items():
            with formatter.section(family):
                formatter.write_dl([(name, what) for name, (_, what) in commands.items()], col_max=14)


def _imported(module: str, attribute: str) -> click.Command:
    from importlib import import_module

    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    return with_options(command)


@click.group(cls=Table, params=options(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="haagent", message="%(prog)s %(version)s")
def cli() -> None:
    """A floating address that at most one Linux host has at a time, and the reason why it is where it is."""


def main(arguments: list[str] | None = None) -> int:
    """The program. Every way it can end is here, so no command ends with a traceback."""
    invocation = Invocation()
    try:
        outcome = cli.main(args=arguments, prog_name="haagent", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader (`| head`) has had enough; click makes a SystemExit of it. Python would complain once more when
        # it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (KeyboardInterrupt, click.Abort):
        return invocation.interrupted()
    except (Failure, click.ClickException) as error:
        report(error, as_json=invocation.json)
        return status_of(error)
    except Exception as error:
        if os.environ.get("HAAGENT_DEBUG"):
            raise
        report(Failure(f"{type(error).__name__}: {error}. {NOTHING_MORE}"), as_json=invocation.json)
        return FAILED
    return outcome if isinstance(outcome, int) else 0
