"""failover, standby, unstandby, maintenance, clear, reload: an operator's word to the agent on this host.

Any node will do: an order reaches all of them with the heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from haagent.cli.completion import groups, nodes
from haagent.cli.invocation import Invocation

MAX_WAIT_S = 3600.0


def _seconds(ctx: click.Context, param: click.Parameter, value: Any) -> float:
    """Written with a unit, as in the configuration. The default is a number already."""
    if isinstance(value, float) or value == "0":
        return float(value)
    from haagent.config import NotADuration, parse_duration

    try:
        seconds = parse_duration(value)
    except NotADuration as error:
        raise click.BadParameter(f"{value}: {error}.", ctx, param) from error
    if seconds > MAX_WAIT_S:
        raise click.BadParameter(f"{value}: wait for `1h` at most.", ctx, param)
    return float(seconds)


def wait_option(
    what: str, *, default_s: float = 10.0, at_once: str = "give the order only"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = f"How long to wait until {what}; 0: {at_once}. [{default_s:g}s]"
    kind = click.UNPROCESSED
    return click.option("--wait", "wait_s", type=kind, callback=_seconds, metavar="TIME", default=default_s, help=text)


@click.command()
@click.argument("group", default="", shell_complete=groups)
@click.option("--to", required=True, metavar="NODE", shell_complete=nodes, help="The node to move it to.")
@wait_option("it is there")
@click.option("--force", is_flag=True, help="Also to a node whose checks fail.")
@click.pass_obj
def failover(invocation: Invocation, group: str, *, to: str, wait_s: float, force: bool) -> None:
    """Move GROUP (needed when there are several) to a node; tell how long clients were without it.

    The present holder lets go when the other is ready, so this takes milliseconds.
    """
    invocation.when_interrupted = "no longer waiting; the order stands. `haagent status` shows where the group is."
    result = invocation.ask("failover", wait_s=wait_s, group=group, to=to, force=force)
    invocation.tell(result)


@click.command()
@click.argument("node", shell_complete=nodes)
@wait_option("it holds nothing")
@click.pass_obj
def standby(invocation: Invocation, node: str, *, wait_s: float) -> None:
    """Move everything off NODE and give it nothing until `unstandby`. It still votes."""
    invocation.when_interrupted = f"no longer waiting; {node} is in standby. `haagent status` shows what it holds."
    invocation.tell(invocation.ask("standby", wait_s=wait_s, node=node))


@click.command()
@click.argument("node", shell_complete=nodes)
@click.pass_obj
def unstandby(invocation: Invocation, node: str) -> None:
    """Let NODE hold groups again. Nothing moves back by itself unless `failback` says so."""
    invocation.tell(invocation.ask("unstandby", node=node))


@click.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.option("--force", is_flag=True, help="End it although a node that held something is offline: its host is down.")
@click.pass_obj
def maintenance(invocation: Invocation, switch: str, *, force: bool) -> None:
    """Freeze everything (on): nothing moves, and agents may restart; addresses stay. Or end that (off).

    It waits until a majority of the nodes has it, and fails if they do not say so within three seconds. Until then an
    agent that stops releases what it holds: the others would take it.

    An agent that is killed meanwhile loses its addresses, and takes them when it is started again; nobody else does.
    """
    invocation.tell(invocation.ask("maintenance", on=switch == "on", force=force))


@click.command()
@click.argument("group", default="", shell_complete=groups)
@click.pass_obj
def clear(invocation: Invocation, group: str) -> None:
    """Forget the failures of GROUP, or of all groups, so that a node that failed is tried again at once."""
    invocation.tell(invocation.ask("clear", group=group))


@click.command()
@click.pass_obj
def reload(invocation: Invocation) -> None:
    """Apply the changed configuration file on this node. A file with faults is refused as a whole."""
    invocation.tell(invocation.ask("reload"))
