"""docs/commands.md, made from the commands themselves by `make docs`.

The options that every command takes are told once. A test compares the file with what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import click

from haagent.cli.commands import COMMANDS
from haagent.cli.invocation import options
from haagent.cli.program import cli

HEAD = """# Commands

*Made from the program by `make docs`; do not edit.*

| exit status | means |
|---|---|
| 0 | done |
| 1 | it failed, and said why |
| 2 | the command line or the configuration is wrong |
| 3 | the agent is not running on this host |
| 4 | refused, and said why |
| 130 | interrupted (Ctrl-C); `--watch` and `--follow` end with 0 |

The result goes to stdout; errors and progress go to stderr, in one or two sentences that say what to do next. With
`--json` the result is one JSON object, and an error one line on stderr: `{"error": {"status": 4, "message": "..."}}`.
`HAAGENT_DEBUG=1` shows the traceback of an unexpected fault. `NO_COLOR=1` turns colours off.
"""

Row = tuple[str, str]


def manual() -> str:
    parts = [HEAD, "Every command takes these, before its name or after it:\n", _table(_option_rows(options()))]
    context = click.Context(cli, info_name="haagent")
    for family, commands in COMMANDS.items():
        parts.append(f"## {family}\n")
        for name in commands:
            command = cli.get_command(context, name)
            assert command is not None
            parts += _command(command, f"haagent {name}")
    return "\n".join(parts)


def _command(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield f"### `{path}{' ' + usage if usage else ''}`\n"
    yield _prose(command.help or "")
    common = {option.name for option in options()}
    own = [param for param in command.params if isinstance(param, click.Option) and param.name not in common]
    if own:
        yield _table(_option_rows(own))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _command(below, f"{path} {name}")


def _prose(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").strip().splitlines()) + "\n"


def _option_rows(params: Iterable[click.Parameter]) -> Iterator[Row]:
    for param in params:
        record = param.get_help_record(click.Context(cli))
        if record is not None:
            yield record[0], record[1]


def _table(rows: Iterator[Row]) -> str:
    lines = ["| option | |", "|---|---|"]
    lines += [f"| `{_cell(option)}` | {_cell(what)} |" for option, what in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    sys.stdout.write(manual())
