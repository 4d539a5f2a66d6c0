"""All links of this node as one: send on each, hear from each, keep each alive.

The daemon calls `retry` when netlink reports a change of links or addresses, and every second while `is_whole` is
false: not every cause of a failing link makes netlink speak.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from haagent.heartbeats.link import Dropped, Heard, Link, LinkStatus, Outlet
from haagent.heartbeats.plan import plan

if TYPE_CHECKING:
    from haagent.config import HeartbeatConfig, NodeConfig


class Transport:
    """`heard` gets every datagram with its link's name, `dropped` the cause of one not worth handing on."""

    def __init__(
        self,
        config: HeartbeatConfig,
        *,
        me: NodeConfig,
        peers: Iterable[NodeConfig],
        heard: Heard,
        dropped: Dropped,
    ) -> None:
        self._heard, self._dropped = heard, dropped
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links = [Link(each, heard=heard, dropped=dropped) for each in plan(config, me=me, peers=tuple(peers))]
        self._reported = {link.binding.name: False for link in self._links}

    @property
    def is_whole(self) -> bool:
        """Every configured link is up, as far as this host can tell."""
        return all(link.is_up for link in self._links)

    def open(self, loop: asyncio.AbstractEventLoop) -> list[LinkStatus]:
        """Bind every link that can be. Returns the state of all of them, for the history."""
        self._loop = loop
        for link in self._links:
            link.open(loop)
        self._changes()
        return self.links()

    def send(self, datagrams: list[bytes]) -> None:
        """On every link, to every peer. Never waits, never raises; errors are counted and are part of `links`."""
        for link in self._links:
            link.send(datagrams)

    def retry(self) -> list[LinkStatus]:
        """Look at every link again. Returns those that went up or down since the last report."""
        for link in self._links:
            link.check()
        return self._changes()

    def reconfigure(self, config: HeartbeatConfig, *, me: NodeConfig, peers: Iterable[NodeConfig]) -> list[LinkStatus]:
        """Follow a new configuration. A link that stays the same keeps its socket, its queue and its counters."""
        present = {link.binding: link for link in self._links}
        plans = plan(config, me=me, peers=tuple(peers))
        wanted = {each.binding for each in plans}
        for binding, link in present.items():
            if binding not in wanted:
                link.close()  # before the new ones open: they may want the same address and port
                self._reported.pop(binding.name, None)
        self._links = []
        for each in plans:
            link = present.get(each.binding) or Link(each, heard=self._heard, dropped=self._dropped)
            self._links.append(link)
            if each.binding in present:
                link.aim(each.hosts)
            elif self._loop is not None:
                link.open(self._loop)
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
        changed = [link for link in self._links if self._reported.get(link.binding.name) is not link.is_up]
        self._reported = {link.binding.name: link.is_up for link in self._links}
        return [link.status() for link in changed]
