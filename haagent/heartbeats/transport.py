"""All links of this node as one: send on each, hear from each, keep each alive.

`look` and `heed` are for the caller's timer: not every cause of a failing link, nor its end, makes the kernel speak.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from haagent.heartbeats.link import Dropped, Heard, Link, LinkStatus, Look, Outlet
from haagent.heartbeats.plan import plan

if TYPE_CHECKING:
    from haagent.config import HeartbeatConfig, NodeConfig


Looks = Sequence[tuple[Link, Look]]


class Transport:
    """`heard` gets every datagram with its link's name, `dropped` the cause of one not worth handing on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, heard: Heard, dropped: Dropped) -> None:
        self._new_link = functools.partial(Link, loop=loop, heard=heard, dropped=dropped)
        self._links: list[Link] = []

    def configure(self, config: HeartbeatConfig, *, me: NodeConfig, peers: Iterable[NodeConfig]) -> list[LinkStatus]:
        """Bind every link that can be, for the first time or anew. Returns those that are new, and that changed.

        A link that stays the same keeps its socket, its queue and its counters.
        """
        present = {link.binding: link for link in self._links}
        plans = plan(config, me=me, peers=tuple(peers))
        wanted = {each.binding for each in plans}
        for binding, link in present.items():
            if binding not in wanted:
                link.close()  # before the new ones open: they may want the same address and port
        self._links = []
        for each in plans:
            link = present.get(each.binding) or self._new_link(each)
            self._links.append(link)
            if each.binding in present:
                link.aim(each.hosts)
            else:
                link.open()
        return self._changes()

    def send(self, datagrams: list[bytes]) -> None:
        """On every link, to every peer. Never waits, never raises; errors are counted and are part of `links`."""
        for link in self._links:
            link.send(datagrams)

    def look(self) -> Looks:
        """At every link again; to be done beside the loop, and heeded in it."""
        return [(link, link.look()) for link in tuple(self._links)]

    def heed(self, found: Looks) -> list[LinkStatus]:
        """Returns the links that went up or down since the last report."""
        for link, look in found:
            link.heed(look)
        return self._changes()

    def outlets(self) -> list[Outlet]:
        """The open sockets and where each sends: what another process needs to speak for this node."""
        return [outlet for link in self._links if (outlet := link.outlet()) is not None]

    def links(self) -> list[LinkStatus]:
        return [link.status() for link in self._links]

    def close(self) -> None:
        for link in self._links:
            link.close()

    def _changes(self) -> list[LinkStatus]:
        changed = [link for link in self._links if link.was_up is not link.is_up]
        for link in changed:
            link.was_up = link.is_up
        return [link.status() for link in changed]
