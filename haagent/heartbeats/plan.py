"""Which links the configuration asks for: one socket each, and where it sends.

Multicast: one link for each interface, all with the same group. Unicast: the n-th address of this node talks to the
n-th address of every peer, so that two addresses are two independent paths; a peer with fewer addresses, or with the
other family in that place, is not reached over that link. Both: all of these, so that neither a switch that forgets
the group nor a router that forgets a host makes a node deaf.
"""

from __future__ import annotations

from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from haagent.config import HeartbeatConfig, NodeConfig


class Binding(msgspec.Struct, frozen=True):
    """What a link's socket is bound to. The same binding after a reload: the same socket."""

    name: str
    family: int
    host: str  # the group, or this node's own address (IPv6 link-local: with its %interface)
    port: int
    interface: str = ""  # of the group; empty for unicast

    @property
    def is_multicast(self) -> bool:
        return bool(self.interface)


class LinkPlan(msgspec.Struct, frozen=True):
    binding: Binding
    hosts: tuple[str, ...]  # where heartbeats go; the port is the binding's


def family_of(host: str) -> int:
    return AF_INET if ip_address(host).version == 4 else AF_INET6


def plan(config: HeartbeatConfig, *, me: NodeConfig, peers: tuple[NodeConfig, ...]) -> tuple[LinkPlan, ...]:
    multicast = tuple(
        LinkPlan(Binding(name, family_of(config.group), config.group, config.port, name), (config.group,))
        for name in config.interfaces
        if config.transport != "unicast"
    )
    unicast = tuple(
        LinkPlan(
            Binding(_unicast_name(config, index, host), family_of(host), host, config.port),
            tuple(_opposite(peers, index, host)),
        )
        for index, host in enumerate(me.addresses)
        if config.transport != "multicast"
    )
    return multicast + unicast


def _unicast_name(config: HeartbeatConfig, index: int, host: str) -> str:
    """The interface, where the configuration tells it for each address; else the address itself."""
    names = config.interfaces if config.transport == "unicast" else ()  # else it is that of the group's link
    return names[index] if len(names) > index and len(set(names)) == len(names) else host


def _opposite(peers: tuple[NodeConfig, ...], index: int, host: str) -> list[str]:
    theirs = [peer.addresses[index] for peer in peers if len(peer.addresses) > index]
    return [other for other in theirs if family_of(other) == family_of(host)]
