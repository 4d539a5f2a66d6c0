"""What docs/reference says of commands and options, made from what declares them: `python -m manual.reference`.

`make docs` runs it from the project's directory. The options that every command takes are told once. The manual pages
(`pages`) have the same text, and a test compares the documents with what this makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from haagent.cli.commands import COMMANDS
from haagent.cli.invocation import options
from haagent.cli.program import cli
from haagent.config.table import PlugIn, Row, plug_ins, rows
from haagent.sessions.store.commands import server as session_server
from haagent.sessions.store.table import Command

COMMANDS_FILE, OPTIONS_FILE = Path("docs/reference/commands.md"), Path("docs/reference/configuration.md")
SESSIONS_FILE = Path("docs/reference/sessions-commands.md")

STATUSES = """| exit status | means |
|---|---|
| 0 | done |
| 1 | it failed, and said why |
| 2 | the command line or the configuration is wrong |
| 3 | the agent is not running on this host |
| 4 | refused, and said why |
| 130 | interrupted (Ctrl-C; also SIGTERM for `lab` and for what saves a file); `--watch` and `--follow` end with 0 |
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


def with_options(document: str) -> str:
    """The document with what stands between its marks written anew."""
    ours = (each for each in plug_ins() if each.module.startswith("haagent."))
    for mark, table in (("options", option_table(rows())), ("plug-ins", plug_in_tables(ours))):
        found = re.search(rf"<!-- {mark}: .*? -->\n(.*?)<!-- end of {mark} -->", document, re.DOTALL)
        assert found is not None, mark
        document = document[: found.start(1)] + table + document[found.end(1) :]
    return document


def option_table(told: Iterable[Row]) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.key}` | {row.value} | {row.default} | {row.meaning} |" for row in told]
    return "\n".join(lines) + "\n"


def plug_in_tables(told: Iterable[PlugIn]) -> str:
    parts = ([f"### {each.door} `{each.kind}`\n", f"{each.meaning}\n", option_table(each.options)] for each in told)
    return "\n".join(line for part in parts for line in part)


SESSIONS_HEAD = """# Redis commands of the session store

*Made from the program by `make docs`; do not edit.*

The store answers these as Redis 7.0 does, in RESP2 and in RESP3, down to the texts of errors; any other command is an
unknown one, as it would be there. The table says how many arguments a command takes, its own name included; `-3` means
3 or more. Tier 1 is what the session libraries of the common frameworks send, tier 2 what libraries send that keep a
session as a hash, and tier 3 what came along for people and test suites.

What differs from Redis on purpose:

- `READONLY`, `READWRITE`, `CLIENT SETINFO` and `CLIENT NO-TOUCH` are accepted: libraries send them.
- Channels reach the clients of one node.
- There is no Lua. The scripts that lock and session libraries send (phpredis, Laravel, redis-py, django-redis and
  Litestar) are known by their source and done natively; any other script is `ERR script not supported`.
- A write of the value that a key has already is no change for `WATCH`.
- `CONFIG SET` changes nothing: the configuration file does.

Tests that others wrote for a Redis are run against the store: `make suites` fetches and runs all of them, and most
are part of `make test`. Those that are left out are named, with what they need, in
`tests/unit/sessions/store/skipped*.txt`; these lists only ever become shorter, and a suite fails when fewer of its
tests pass.

| tests | pass | left out, though Debian's Redis passes them |
|---|---|---|
| Redis 7.0.15: values, keys, expiry, transactions, channels | 319 | lists, sets, streams, Lua, others |
| redis-py 8.1.0: commands, locks, pipelines, scripts, encodings | 268 | the same |
| django-redis 7.0.0: cache and sessions, ten settings | 98 to 114 each | 51: sets, sorted sets |
| phpredis 5.3.7: its session handler | 23 | none |
| connect-redis 9.0.0: sessions of Express | 4 | none |
"""


def session_commands() -> str:
    families: dict[str, list[Command]] = {}
    for each in session_server.every_command():
        if not (each.below and each.arity == -2):  # it only holds those below it
            families.setdefault(each.family, []).append(each)
    parts = [SESSIONS_HEAD]
    for name, commands in families.items():
        rows = (
            f"| `{each.name.upper().replace('|', ' ')}` | {each.arity} | {each.tier} | {_cell(each.about)} |"
            for each in sorted(commands, key=lambda each: each.name)
        )
        head = [f"## {name}\n", "| command | arguments | tier | |", "|---|---|---|---|"]
        parts.append("\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    SESSIONS_FILE.write_text(session_commands())
    COMMANDS_FILE.write_text(manual())
    OPTIONS_FILE.write_text(with_options(OPTIONS_FILE.read_text()))
