"""fence, confirm-down: an operator makes sure that a node is down, or says that it is."""

from __future__ import annotations

from typing import Any

import click

from haagent.cli.completion import nodes
from haagent.cli.invocation import Invocation
from haagent.cli.outcome import USAGE, Failure

SPARE_S = 10.0  # beyond the fence's own limit: for it to be killed, and for the node to fall silent
USUAL_S = 30.0


@click.command()
@click.argument("node", shell_complete=nodes)
@click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask first.")
@click.pass_obj
def fence(invocation: Invocation, node: str, *, is_sure: bool) -> None:
    """Make sure that NODE is down, by its fence. Another node takes what it held."""
    facts = invocation.ask("status")
    known = facts["fencing"]["nodes"].get(node)
    if not is_sure and known is not None and node != facts["node"]:
        if invocation.json:
            raise Failure("With --json nobody is asked: add --yes.", status=USAGE)
        click.confirm(_question(node, facts, known), abort=True, err=True)
    invocation.when_interrupted = f"no longer waiting; the fence of {node} goes on. `haagent events` tells the outcome."
    wait_s = SPARE_S + (known["timeout_s"] if known else USUAL_S)
    invocation.tell(invocation.ask("fence", wait_s=wait_s, node=node))


def _question(node: str, facts: dict[str, Any], known: dict[str, Any]) -> str:
    state = next((member["state"] for member in facts["members"] if member["name"] == node), "unknown")
    held = [group["name"] for group in facts["groups"] if group["holder"] == node]
    holds = f"holds {', '.join(held)}" if held else "holds nothing"
    return f"{node} is {state} and {holds}. Do `{known['action']}` to it with {known['agent']}?"


@click.command("confirm-down")
@click.argument("node", shell_complete=nodes)
@click.pass_obj
def confirm_down(invocation: Invocation, node: str) -> None:
    """Say that NODE is down for certain: its plug is pulled. Others then take what it held, without its fence.

    Refused while NODE is heard. Said of a host that still runs and is only cut off, two serve at once.
    """
    invocation.tell(invocation.ask("confirm-down", node=node))
