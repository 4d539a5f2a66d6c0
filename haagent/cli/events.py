"""events: the history of the cluster, in the order of the nodes' clocks."""

from __future__ import annotations

import json
from typing import Any

import click

from haagent.cli.invocation import Invocation
from haagent.cli.style import Style, moment
from haagent.core.event_kinds import Severity


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Keep showing new events as they happen.")
@click.option("-n", "last", type=click.IntRange(min=1), default=50, show_default=True, help="How many of the newest.")
@click.option("--all", "everything", is_flag=True, help="All that the nodes remember.")
@click.option("--group", default="", help="Of this group only.")
@click.option(
    "--severity",
    type=click.Choice([severity.value for severity in Severity]),
    default=Severity.INFO.value,
    help="At least this severe.",
)
@click.pass_obj
def events(invocation: Invocation, last: int, group: str, severity: str, *, follow: bool, everything: bool) -> None:
    """Show what happened and why, from all nodes.

    With --json: {"events": [...]}; with --follow one event a line. docs/reference/events.md lists the kinds.
    """
    invocation.ends_by_interrupt = follow
    arguments: dict[str, Any] = {"group": group, "last": 0 if everything else last}
    if severity != Severity.INFO:  # an agent of an older release, that waits for its restart, does not know the word
        arguments["severity"] = severity
    style = Style.of_stdout()
    if not follow:
        result = invocation.ask("events", **arguments)
        lines = [line(event, style) for event in result["events"]]
        if lines or invocation.json:
            invocation.tell(result, "\n".join(lines))
        return
    with invocation.agent() as agent:
        for event in agent.follow("events", follow=True, **arguments):
            click.echo(json.dumps(event, ensure_ascii=False) if invocation.json else line(event, style))


def line(event: dict[str, Any], style: Style) -> str:
    """`2026-03-01 12:03:07.123  A  web  taken  active here: ...`, in local time."""
    at = moment(float(event["time"]))
    return f"{at}  {event['node']:<4} {event['group'] or '-':<8} {style.kind(event['kind'])} {event['text']}"
