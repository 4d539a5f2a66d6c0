"""docs/reference/commands.md, made from the commands themselves by `make docs`; the manual pages (`pages`) are, too.

The options that every command takes are told once. A test compares the file with what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import click

from haagent.cli.commands import COMMANDS
from haagent.cli.invocation import options
from haagent.cli.program import cli

STATUSES = """| exit status | means |
|---|---|
| 0 | done |
| 1 | it failed, and said why |
| 2 | the command line or the configuration is wrong |
| 3 | the agent is not running on this host |
| 4 | refused, and said why |
| 130 | interrupted (Ctrl-C); `--watch` and `--follow` end with 0 |
"""
COMMON = "Every command takes these, before its name or after it:\n"
HEAD = """# Commands

*Made from the program by `make docs`; do not edit.*

%s
The result goes to stdout; errors and progress go to stderr, in one or two sentences that say what to do next. With
`--json` the result is one JSON object, and an error one line on stderr: `{"error": {"status": 4, "message": "..."}}`.
`HAAGENT_DEBUG=1` shows the traceback of an unexpected fault. `NO_COLOR=1` turns colours off.
"""


def manual() -> str:
    parts = [HEAD % STATUSES, COMMON, common_options()]
    for family, names in COMMANDS.items():
        parts.append(f"## {family}\n")
        for name in names:
            parts += [f"### `{synopsis(name)}`\n", described(name)]
    return "\n".join(parts)


def command(path: str) -> click.Command:
    """`lab up`: its command of that name."""
    found: click.Command = cli
    for name in path.split():
        assert isinstance(found, click.Group)
        below = found.get_command(click.Context(found), name)
        assert below is not None
        found = below
    return found


def synopsis(path: str) -> str:
    pieces = command(path).collect_usage_pieces(click.Context(command(path)))
    return " ".join(["haagent", path, *(piece for piece in pieces if piece != "[OPTIONS]")])


def described(path: str) -> str:
    """What it does, its own options, and the commands below it."""
    return "\n".join(part for part in (prose(path), own_options(path), below(path)) if part)


def prose(path: str) -> str:
    return "\n".join(line.strip() for line in (command(path).help or "").strip().splitlines()) + "\n"


def own_options(path: str) -> str:
    common = {option.name for option in options()}
    own = [one for one in command(path).params if isinstance(one, click.Option) and one.name not in common]
    return _table(own) if own else ""


def below(path: str) -> str:
    group = command(path)
    names = group.list_commands(click.Context(group)) if isinstance(group, click.Group) else []
    shown = [f"{path} {name}" for name in names if not command(f"{path} {name}").hidden]
    return "\n".join(f"### `{synopsis(each)}`\n\n{described(each)}" for each in shown)


def common_options() -> str:
    return _table(options())


def _table(params: Iterable[click.Parameter]) -> str:
    return "\n".join(["| option | |", "|---|---|", *_rows(params)]) + "\n"


def _rows(params: Iterable[click.Parameter]) -> Iterator[str]:
    for param in params:
        record = param.get_help_record(click.Context(cli))
        if record is not None:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    sys.stdout.write(manual())
