"""init, keygen, check-config: what an operator does before there is an agent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import USAGE, Failure

if TYPE_CHECKING:
    from haagent.config import Config

KEY = "/etc/haagent/cluster.key"


@click.command()
@click.option("--nodes", required=True, metavar="NAME=ADDRESS,...", help="All nodes: A=10.20.1.10,B=10.20.1.11.")
@click.option("--vip", "vips", required=True, multiple=True, metavar="ADDRESS/PREFIX", help="Fails over; repeatable.")
@click.option("--witness", "witnesses", multiple=True, metavar="NODE", help="Votes and never holds; repeatable.")
@click.option("--interface", default="", help="Has the addresses and the heartbeats. [the one with a node's address]")
@click.option("--cluster", default="cluster", show_default=True, help="Its name.")
@click.option("--group", default="service", show_default=True, help="Name of what fails over.")
@click.option(
    "--transport", type=click.Choice(["multicast", "unicast", "both"]), default="multicast", show_default=True
)
@click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True, help="The file to write.")
@click.option("--key-file", type=click.Path(), help="Made if there is none. [cluster.key beside the configuration]")
@click.option("--force", is_flag=True, help="Replace an existing configuration; never a key.")
@click.pass_obj
def init(
    invocation: Invocation, /, nodes: str, file: str, key_file: str | None, *, force: bool, **said: object
) -> None:
    """Write a commented configuration and a key.

    Copy both files to every node, then start the agent there.
    """
    import msgspec

    from haagent.config.starter import Starter, StarterError, parse_nodes, write_starter

    key_file = os.path.abspath(key_file or os.path.join(os.path.dirname(file), "cluster.key"))
    try:
        wanted = msgspec.convert({**said, "nodes": parse_nodes(nodes), "key_file": key_file}, Starter)
        _make_directories(file, key_file)
        written = write_starter(wanted, file, replace=force)
    except StarterError as error:
        raise Failure(str(error), status=USAGE) from error
    text = "\n".join(f"wrote {name}" for name in written)
    both = " and ".join(dict.fromkeys((file, key_file)))
    hint = f"Next: copy {both} to every node, then `systemctl enable --now haagent` on each."
    invocation.tell({"files": list(written)}, f"{text}\n{hint}")


def _make_directories(*files: str) -> None:
    for file in files:
        directory = os.path.dirname(os.path.abspath(file))
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
        except OSError as error:
            text = f"{directory} cannot be made: {error.strerror}. Choose another place, or be root."
            raise Failure(text) from error


@click.command()
@click.argument("file", type=click.Path(), default=KEY)
@click.option("--force", is_flag=True, help="Replace a key: nodes that still have the old one are cut off.")
@click.pass_obj
def keygen(invocation: Invocation, file: str, *, force: bool) -> None:
    """Make a cluster key in FILE [/etc/haagent/cluster.key]; `-` prints it.

    Copy it to every node. To change the key of a running cluster, list both files under `key_file` first.
    """
    from haagent.config import KeyFileError, generate_key_text, write_key

    if file == "-":
        text = generate_key_text()
        invocation.tell({"key": text.splitlines()[-1]}, text.rstrip("\n"))
        return
    _make_directories(file)
    try:
        write_key(file, replace=force)
    except KeyFileError as error:
        raise Failure(str(error)) from error
    invocation.tell({"file": file}, f"wrote {file}; copy it to every node, readable by its owner alone.")


@click.command("check-config")
@click.argument("file", type=click.Path(), default=CONFIG)
@click.option("--node", help="Check it as this node: is it one of them?")
@click.option("--options", is_flag=True, help="List what can be configured instead, with what plug-ins add.")
@click.pass_obj
def check_config(invocation: Invocation, file: str, *, node: str | None, options: bool) -> None:
    """Check FILE [/etc/haagent/haagent.yaml]; list all its faults, each with its line and what to write.

    With --json the verdict is the result, on stdout, also when there are faults.
    """
    import msgspec

    from haagent.config import ConfigError, check, load

    if options:
        _tell_options(invocation)
        return
    try:
        config = check(file) if node is None else load(file, node=node)
    except ConfigError as error:
        if not invocation.json:
            raise
        invocation.tell({"file": file, "ok": False, "faults": [msgspec.structs.asdict(one) for one in error.faults]})
        sys.stdout.flush()
        raise click.exceptions.Exit(USAGE) from error
    kinds = f"{_count(len(config.nodes), 'node')}, {_count(len(config.groups), 'group')}"
    warnings = list(_warnings(config))
    facts = {"file": file, "ok": True, "faults": [], "cluster": config.cluster, "digest": config.digest}
    text = f"{file}: no faults; cluster {config.cluster}, {kinds}, digest {config.digest}"
    invocation.tell(facts | {"warnings": warnings}, "\n".join([text, *(f"! {warning}" for warning in warnings)]))


def _tell_options(invocation: Invocation) -> None:
    import msgspec

    from haagent.config.table import plug_ins, rows

    top, used = rows(), list(plug_ins())
    lines = []
    for title, meaning, told in (
        ("haagent.yaml", "", top),
        *((f"{each.door} {each.kind}", each.meaning, each.options) for each in used),
    ):
        lines += [title, *filter(None, [meaning])]
        lines += [f"  {row.key}: {row.meaning}\n      {row.value} [{row.default}]" for row in told]
        lines.append("")
    invocation.tell(msgspec.to_builtins({"options": top, "plug_ins": used}), "\n".join(lines[:-1]))


def _warnings(config: Config) -> Iterator[str]:
    """What is allowed, and yet should be known."""
    if config.gate == "off":
        yield (
            "gate: `off`: a node whose agent dies or hangs may go on answering for its addresses until their lifetimes "
            "end. Remove the line, if this is not meant."
        )
    fenced = {name: node.fencing for name, node in config.nodes.items() if node.fencing is not None}
    if fenced:
        from haagent.fencing import faults_of

        yield from (f"{fault}." for fault in faults_of(fenced))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
