"""Is the interface there, up, and with carrier? Known from the kernel's own messages, without polling.

A loss counts at once. A return counts after the link has been good for a second: a port that negotiates, or a
cable being pushed in, flaps for some hundred milliseconds, and a group that moves back into that moves twice.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, ClassVar

import msgspec

from haagent.address.facts import Link as Interface
from haagent.checks import Context, Report
from haagent.config import Option, Section
from haagent.config.kinds import NETWORK

SETTLE_S = 1.0


class LinkOptions(Section, frozen=True):
    interface: Annotated[str, NETWORK, Option("what must be there, up and with carrier", example="eth0")]


class Link:
    """The interface is there, up, and has carrier: a loss counts at once, a return after a second."""

    Options: ClassVar[type[msgspec.Struct]] = LinkOptions

    def __init__(self, context: Context, options: Any) -> None:
        self._links = context.links
        self._name: str = options.interface
        self._report: Report | None = None
        self._is_good = True
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, report: Report) -> None:
        self._report = report
        unsubscribe = self._links.subscribe(self._name, self._heard)
        try:
            self._heard(self._links.get(self._name))
            await asyncio.get_running_loop().create_future()  # until cancelled; the subscription does the work
        finally:
            unsubscribe()
            self._disarm()

    def _heard(self, link: Interface | None) -> None:
        fault = link.fault() if link is not None else f"{self._name} does not exist"
        if fault:
            self._disarm()
            self._is_good = False
            self._tell(fault)
        elif self._is_good:
            self._tell("")
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._is_good = True
        self._tell("")

    def _tell(self, fault: str) -> None:
        if self._report is not None:
            self._report(not fault, fault)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
