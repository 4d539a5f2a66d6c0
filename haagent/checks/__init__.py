"""Checks say whether this node is fit to hold a group.

The contract, for whoever writes one:

- The class has `Options`, a section of the configuration (config/schema.py). `Check(context, options)` must not
  block.
- `run` is started once and runs until it is cancelled. It calls `report(is_fit, why)` whenever it has learned
  something; repeating the same answer is free. Until the first report the check counts as passed.
- `why` is a clause for an operator ("eth0 has no carrier"). It is shown in `status` and in the history.
- Damping belongs to the check: a bad report makes the group leave this node at once.
- `run` awaits and does not block the loop. If it raises or returns, the node counts as unfit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import msgspec

from haagent import plugins
from haagent.address.links import Links

ENTRY_POINTS = "haagent.checks"

Report = Callable[[bool, str], None]


class Context(msgspec.Struct, frozen=True):
    """What a check is told of its group, and what it may look at."""

    node: str
    group: str
    interface: str
    links: Links


class Check(Protocol):
    Options: ClassVar[type[msgspec.Struct]]

    def __init__(self, context: Context, options: Any) -> None: ...

    async def run(self, report: Report) -> None: ...


def kinds() -> tuple[str, ...]:
    return plugins.kinds(ENTRY_POINTS)


def find(kind: str) -> type[Check]:
    """Raises `plugins.UnknownKind` or `plugins.PluginBroken`."""
    return plugins.load(ENTRY_POINTS, kind)
