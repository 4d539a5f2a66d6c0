"""Checks say whether this node is fit to hold a group.

The contract, for whoever writes one:

- The class has `Options`, a section as any other (`haagent.config.Section`). `Check(context, options)` must not block.
- It is asked or it watches. One that is asked has `probe`: a coroutine that looks once and returns a `Verdict`. One
  that watches has `watch`: a coroutine that calls `report(verdict)` at its start and whenever it has learned something,
  until it is cancelled; repeating the same verdict is free.
- `why` of a verdict is a clause for an operator ("eth0 has no carrier"). It is shown in `status` and in the history.
- Everything else is the runner's: how often it is asked (`interval`, `jitter`), for how long (`timeout`), how often it
  must say the same before it counts (`rise`, `fall`), how long it must be good again (`hold`), and whether groups move
  for it (`required`, `weight`). These keys stand beside the check's own options. What it says first counts at once.
- It awaits and does not block the loop. What it raises, and a `watch` that returns, count as a bad verdict, and the
  history names the check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import msgspec

from haagent.config.plugins import CHECKS
from haagent.kernel.facts import Link
from haagent.plugins import finding


class Verdict(msgspec.Struct, frozen=True):
    is_fit: bool
    why: str = ""  # it is not


Report = Callable[[Verdict], None]


class LinksPort(Protocol):
    """The interfaces of this host, as the kernel last told them."""

    @property
    def get(self) -> Callable[[str], Link | None]: ...

    def subscribe(self, name: str, heard: Callable[[Link | None], None]) -> Callable[[], None]:
        """Calls `heard` on every change of the interface (None: it does not exist). Returns what ends that."""


class Context(msgspec.Struct, frozen=True):
    """What a check is told of its group, and what it may look at."""

    node: str
    group: str
    interface: str
    links: LinksPort


class Check(Protocol):
    """And either `async def probe(self) -> Verdict` or `async def watch(self, report: Report) -> None`."""

    Options: ClassVar[type[msgspec.Struct]]

    def __init__(self, context: Context, options: Any) -> None: ...


def find(kind: str) -> type[Check]:
    """Raises `plugins.UnknownKind` or `plugins.PluginBroken`."""
    return finding.load(CHECKS, kind)
