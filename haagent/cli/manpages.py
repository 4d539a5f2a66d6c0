"""The manual pages, made from the program and its documents: `python -m haagent.cli.manpages DIRECTORY`.

Run from the project's directory when a package is built. haagent(8) and a page for each command come from the
commands themselves, haagent.yaml(5) from docs/configuration.md, haagent.service(8) from systemd/README.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from haagent import __version__
from haagent.cli import roff
from haagent.cli.commands import COMMANDS
from haagent.cli.invocation import options
from haagent.cli.program import cli

STATUSES = (
    ("0", "done"),
    ("1", "it failed, and said why"),
    ("2", "the command line or the configuration is wrong"),
    ("3", "the agent is not running on this host"),
    ("4", "refused, and said why"),
    ("130", "interrupted (Ctrl-C); `--watch` and `--follow` end with 0"),
)
FILES = (
    ("`/etc/haagent/haagent.yaml`", "The configuration, the same on every node: `haagent.yaml`(5)."),
    ("`/etc/haagent/cluster.key`", "The cluster key, readable by the agent's user alone."),
    ("`/run/haagent/haagent.sock`", "The socket of the running agent, for root and members of the group haagent."),
    ("`/var/lib/haagent/memory.json`", "Operators' orders (standby, maintenance), kept over a restart."),
)
VARIABLES = (
    ("`HAAGENT_RUN_DIR`, `HAAGENT_STATE_DIR`", "Instead of `--run-dir` and `--state-dir`."),
    ("`NO_COLOR`", "Not empty: no colours."),
    ("`HAAGENT_DEBUG`", "Not empty: an unexpected fault shows its traceback."),
)
DOCUMENTS = {
    ("haagent.yaml", 5): ("docs/configuration.md", "configuration of a haagent cluster"),
    ("haagent.service", 8): ("systemd/README.md", "the agent as a service"),
}


def pages(project: Path) -> Iterator[tuple[str, str]]:
    """File name and content of each."""
    context = click.Context(cli, info_name="haagent")
    yield "haagent.8", _overview()
    for name in _names():
        command = cli.get_command(context, name)
        assert command is not None
        yield f"haagent-{name}.8", _of_command(name, command)
    for (name, section), (file, what) in DOCUMENTS.items():
        text = (project / file).read_text()
        parts = [_head(name, section, what), roff.section("Description"), roff.markdown(text), _see_also(name)]
        yield f"{name}.{section}", "".join(parts)


def _names() -> Iterator[str]:
    return (name for family in COMMANDS.values() for name in family)


def _head(name: str, section: int, what: str) -> str:
    # A package that is built twice from the same source is the same: reproducible-builds.org/specs/source-date-epoch
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = time.strftime("%Y-%m-%d", time.gmtime(float(epoch))) if epoch else ""
    title = roff.title(name, section, version=__version__, date=date)
    return f"{title}{roff.section('Name')}{roff.escaped(name)} \\- {roff.inline(what)}\n"


def _overview() -> str:
    parts = [
        _head("haagent", 8, "a floating address that at most one host has at a time"),
        roff.section("Synopsis"),
        "\\fBhaagent\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n",
        roff.section("Description"),
        roff.prose(
            "haagent runs on every host of a cluster. It hears the other hosts, agrees with them which one is "
            "active, binds the floating addresses there, tells the neighbours, and can always say why."
        ),
    ]
    for family, commands in COMMANDS.items():
        parts.append(roff.section(family))
        parts += [roff.entry(f"`haagent-{name}`(8)", what) for name, (_, what) in commands.items()]
    parts += [roff.section("Options"), roff.prose("Every command takes these, before its name or after it:")]
    parts += _options(options())
    for name, rows in (("Exit status", STATUSES), ("Environment", VARIABLES), ("Files", FILES)):
        parts += [roff.section(name), *(roff.entry(*row) for row in rows)]
    return "".join([*parts, _see_also("haagent")])


def _of_command(name: str, command: click.Command) -> str:
    parts = [_head(f"haagent-{name}", 8, command.get_short_help_str(100).rstrip(".")), roff.section("Synopsis")]
    parts.append(_synopsis(command, f"haagent {name}"))
    parts += [roff.section("Description"), roff.prose(command.help or ""), *_own_options(command)]
    if isinstance(command, click.Group):
        parts.append(roff.section("Commands"))
        parts += _below(command, f"haagent {name}")
    parts += [roff.section("Common options"), *_options(options())]
    return "".join([*parts, _see_also(f"haagent-{name}")])


def _synopsis(command: click.Command, path: str) -> str:
    pieces = command.collect_usage_pieces(click.Context(command, info_name=path))
    rest = " ".join(piece if piece.startswith("[") else f"\\fI{roff.escaped(piece)}\\fR" for piece in pieces)
    return f"\\fB{roff.escaped(path)}\\fR {rest}\n"


def _below(group: click.Group, path: str) -> Iterator[str]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if command is not None and not command.hidden:
            yield roff.subsection(f"{path} {name}")
            yield _synopsis(command, f"{path} {name}")
            yield roff.prose(command.help or "")
            yield from _options(_of_its_own(command))


def _own_options(command: click.Command) -> Iterator[str]:
    own = _of_its_own(command)
    if own:
        yield roff.section("Options")
        yield from _options(own)


def _of_its_own(command: click.Command) -> list[click.Parameter]:
    common = {option.name for option in options()}
    return [param for param in command.params if isinstance(param, click.Option) and param.name not in common]


def _options(params: Iterable[click.Parameter]) -> Iterator[str]:
    for param in params:
        record = param.get_help_record(click.Context(cli))
        if record is not None:
            yield roff.entry(f"`{record[0]}`", record[1])


def _see_also(name: str) -> str:
    others = [(other, number) for other, number in (("haagent", 8), *DOCUMENTS) if other != name]
    return roff.section("See also") + ",\n".join(f"\\fB{roff.escaped(other)}\\fR({n})" for other, n in others) + "\n"


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    for name, content in pages(Path.cwd()):
        Path(directory, name).write_text(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
