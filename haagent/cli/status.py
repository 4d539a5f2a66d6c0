"""status: one look, or a picture that stays up to date."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from haagent.cli.invocation import Invocation
from haagent.cli.layout import WIDTH, status_text
from haagent.cli.style import Style

REDRAW_S = 0.5
# What changes with every heartbeat.
ANNOYING = (
    *("last_heard_ms", "silent_ms", "lease_ms", "jitter_ms", "clock_slew_percent"),
    *("counters", "links", "activation", "coordination"),
    *("clients", "keys", "bytes"),  # of sessions
    *("behind", "queue", "queue_bytes", "lag_ms", "ack_p50_ms", "ack_p99_ms", "last_full_sync"),  # and of a peer there
)


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Redraw live, until Ctrl-C.")
@click.pass_obj
def status(invocation: Invocation, *, watch: bool) -> None:
    """Show members, groups, who holds what, and why.

    With --watch and --json, or away from a terminal: again whenever something has changed.
    """
    if not watch:
        facts = invocation.ask("status")
        invocation.tell(facts, _text(facts))
        return
    invocation.ends_by_interrupt = True
    if sys.stdout.isatty() and not invocation.json:
        _redraw(invocation)
    else:
        _repeat(invocation)


def _text(facts: dict[str, Any]) -> str:
    columns = os.get_terminal_size(1).columns if sys.stdout.isatty() else 0
    width = max(40, min(columns or WIDTH, 120))  # a terminal that does not know its size has 0 columns
    return status_text(facts, style=Style.of_stdout(), now=time.time(), width=width)


def _looks(invocation: Invocation) -> Iterator[dict[str, Any] | str]:
    """The facts twice a second; while the agent is away, the sentence that says so."""
    from haagent.control.client import ControlError

    while True:
        try:
            with invocation.agent() as agent:
                while True:
                    yield agent.ask("status")
                    time.sleep(REDRAW_S)
        except ControlError as error:
            if error.status not in (1, 3):
                raise
            yield error.message
        time.sleep(REDRAW_S)


def _redraw(invocation: Invocation) -> None:
    from rich.live import Live
    from rich.text import Text

    # rich knows terminals: it restores the cursor, follows a resize and clips what is too tall.
    with Live(screen=True, auto_refresh=False) as live:
        for look in _looks(invocation):
            body = look if isinstance(look, str) else _text(look)
            foot = f"{time.strftime('%H:%M:%S')}  Ctrl-C ends this"
            live.update(Text.from_ansi(f"{body}\n\n{foot}"), refresh=True)


def _repeat(invocation: Invocation) -> None:
    said: object = None
    for look in _looks(invocation):
        essence = look if isinstance(look, str) else _without(look, ANNOYING)
        if essence == said:
            continue
        said = essence
        if isinstance(look, str):
            click.echo(look, err=True)
        else:
            click.echo(json.dumps(look, ensure_ascii=False) if invocation.json else f"{_text(look)}\n")


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(below, names) for key, below in value.items() if key not in names}
    return [_without(below, names) for below in value] if isinstance(value, list) else value
