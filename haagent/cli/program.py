"""The commands as one program: how click finds them, and how it can end."""

from __future__ import annotations

import importlib
import os
import sys
from socket import socket

import click

from haagent.cli.commands import COMMANDS
from haagent.cli.invocation import Invocation, options, with_options
from haagent.cli.outcome import NOTHING_MORE, USAGE, Failure, report, status_of


class Table(click.Group):
    """A group whose commands are imported one by one, when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for family in COMMANDS.values() for name in family]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            raise Failure(ctx.get_help(), status=USAGE)  # as click 8.2 has it, and not as a success
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for family in COMMANDS.values():
            if cmd_name in family:
                module, _, attribute = family[cmd_name][0].partition(":")
                return with_options(getattr(importlib.import_module(module), attribute))
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


def _tell_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from haagent.cli import version

    ctx.ensure_object(Invocation).tell(version.versions(), version.text())
    ctx.exit()


@click.group(cls=Table, params=options(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the versions of haagent, Python and the libraries, and exit.",
)
def cli() -> None:
    """A floating address that at most one Linux host has at a time, and the reason why it is where it is."""


def perform(arguments: list[str] | None, *, guardian: socket | None = None) -> int:
    """Every way the program can end is here, so no command ends with a traceback. `guardian`: of `run`."""
    invocation = Invocation(guardian=guardian)
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
    except Exception as error:
        told = _as_failure(error)
        if told is None and os.environ.get("HAAGENT_DEBUG"):
            raise
        told = told or Failure(f"{type(error).__name__}: {error}. {NOTHING_MORE}")
        report(told, as_json=invocation.json)
        return status_of(told)
    return outcome if isinstance(outcome, int) else 0


def _as_failure(error: Exception) -> Failure | click.ClickException | None:
    """What any command may meet, as the end of that command; None: a fault of ours."""
    if isinstance(error, Failure | click.ClickException):
        return error
    from haagent.control.client import ControlError

    if isinstance(error, ControlError):
        return Failure(error.message, status=error.status, details=error.details)
    config = sys.modules.get("haagent.config")  # not imported here: it is slow, and may be what is broken
    if config is not None and isinstance(error, config.ConfigError | config.KeyFileError):
        return Failure(str(error), status=USAGE)
    return None
