"""The backend of the machine room: the address is on this host's interface, and the neighbours are told so.

One burst at once, and again after 1, 3 and 7 seconds: a switch that is still learning, a neighbour that was busy and a
rival that announced at the same moment each miss at most one of them. Then a slow refresh while the group is held, for
whoever was away. The delays are options; 0 seconds is always the first.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec

from haagent.backends import Context
from haagent.config import Duration, Option, Section
from haagent.core.event_kinds import Kind
from haagent.core.messages import Ballot
from haagent.kernel.announce import Announcer
from haagent.kernel.facts import Link
from haagent.kernel.timer import Timer


class ArpOptions(Section, frozen=True):
    repeat: Annotated[
        tuple[Duration, ...],
        Option("how long after taking the neighbours are told again: growing times; `[]`: once only"),
    ] = (Duration(1), Duration(3), Duration(7))
    refresh: Annotated[
        Duration,
        Option("how often they are told while the group is held, for whoever was away; `0s`: never"),
    ] = Duration(60)

    def __post_init__(self) -> None:
        if any(delay <= 0 for delay in self.repeat) or list(self.repeat) != sorted(set(self.repeat)):
            raise ValueError("`repeat` does not grow: write growing times, such as [1s, 3s, 7s]")
        if 0 < self.refresh < 1:
            raise ValueError("`refresh` is too short: write at least 1s, or 0s for never")


class Arp:
    """The address is on this host's interface, and the neighbours are told so."""

    Options: ClassVar[type[msgspec.Struct]] = ArpOptions
    timeout_s: float = 1.0  # nothing here waits

    def __init__(self, context: Context, options: Any) -> None:
        self._options: ArpOptions = options
        self._announcer = Announcer(
            [address.ip for address in context.addresses],
            layouts=context.layouts,
            note=lambda text: context.note(Kind.UNSENT, text),
            may_say=context.serves,
        )
        self._may_announce = context.may_announce
        self._timer = Timer(self._repeat)
        self._pauses = [after - before for before, after in pairwise((0.0, *self._options.repeat))]
        self._ahead: list[float] = []  # those that are still to come
        self._is_held = False

    async def open(self) -> None:
        """The socket is opened when the interface is known."""

    async def take(self, ballot: Ballot) -> None:
        self.take_now(ballot)

    async def drop(self, ballot: Ballot) -> None:
        self.drop_now(ballot)

    async def holds(self) -> bool:
        return self._is_held and self._announcer.is_ready

    async def close(self) -> None:
        self._stop()
        self._announcer.close()

    def take_now(self, ballot: Ballot) -> None:
        self._is_held = True
        self.announce()

    def drop_now(self, ballot: Ballot) -> None:
        self._stop()

    def announce(self) -> None:
        """The burst now, and its repetitions from the start: who asks has a reason that they serve too."""
        if not self._is_held or not self._may_announce():
            return
        # A frame that does not leave is noted by the announcer and does not fail the take: the address answers
        # ARP by itself, the next repetition is at most a second away, and a dead link is the link check's matter.
        self._announcer.send()
        self._ahead = list(self._pauses)
        self._schedule()

    def link_changed(self, link: Link | None) -> None:
        self._announcer.link_changed(link)
        if link is not None and not link.fault():
            self.announce()

    def _schedule(self) -> None:
        self._timer.cancel()
        delay = self._ahead.pop(0) if self._ahead else self._options.refresh
        if delay > 0:
            self._timer.set(delay)

    def _repeat(self) -> None:
        # A process that was stopped wakes up with its timers due: it must not speak for what another has taken.
        if self._may_announce():
            self._announcer.send()
        self._schedule()

    def _stop(self) -> None:
        self._is_held = False
        self._timer.cancel()
