"""Is the interface there, up, and with carrier? Known from the kernel's own messages, without polling.

A loss counts at once. A return counts after the usual `hold` of a second: a port that negotiates, or a cable being
pushed in, flaps for some hundred milliseconds, and a group that moves back into that moves twice.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, ClassVar

import msgspec

from haagent.checks import Context, Report, Verdict
from haagent.config import Option, Section
from haagent.config.kinds import NETWORK
from haagent.kernel.facts import Link as Interface


class LinkOptions(Section, frozen=True):
    interface: Annotated[str, NETWORK, Option("what must be there, up and with carrier", example="eth0")]


class Link:
    """The interface is there, up, and has carrier. A check that watches: a loss counts at once."""

    Options: ClassVar[type[msgspec.Struct]] = LinkOptions

    def __init__(self, context: Context, options: Any) -> None:
        self._links = context.links
        self._name: str = options.interface

    async def watch(self, report: Report) -> None:
        unsubscribe = self._links.subscribe(self._name, lambda link: report(self._verdict(link)))
        try:
            report(self._verdict(self._links.get(self._name)))
            await asyncio.get_running_loop().create_future()  # until cancelled; the subscription does the work
        finally:
            unsubscribe()

    def _verdict(self, link: Interface | None) -> Verdict:
        fault = link.fault() if link is not None else f"{self._name} does not exist"
        return Verdict(is_fit=not fault, why=fault)
