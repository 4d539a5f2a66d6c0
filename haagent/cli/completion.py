"""What a shell offers where a node or a group is to be named: those that the running agent knows.

An agent that does not answer at once offers nothing, and says nothing: a person is in the middle of a line.
"""

from __future__ import annotations

import click

from haagent.cli.invocation import Invocation

PATIENCE_S = 0.3


def nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, "members", incomplete)


def groups(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, "groups", incomplete)


def _names(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    from haagent.control.client import Client, ControlError

    try:
        with Client(ctx.ensure_object(Invocation).run_dir, answer_s=PATIENCE_S) as agent:
            found = agent.ask("status")[kind]
    except (ControlError, KeyError):
        return []
    return [each["name"] for each in found if each["name"].startswith(incomplete)]
