"""Does anybody ask who listens to multicast? Where nobody does, a switch that snoops (IGMP, MLD) forgets the listeners.

A querier asks every two minutes or so, and the doctor has three seconds. But it asks at once when a host leaves a
group, to find out whether others are left. So this host joins one that nobody uses, and leaves it. A query that comes
proves a querier. Silence proves little: some switches believe whoever leaves, and one that floods needs nobody to ask.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, info, ok
from haagent.heartbeats import sockets
from haagent.heartbeats.plan import Binding, family_of
from haagent.kernel.facts import IpAddress

JOINED_S, HEARD_S = 0.3, 1.7  # a querier may answer after a second
SOL_PACKET, ADD_MEMBERSHIP, ONE_GROUP = 263, 1, 0
IGMP_QUERY, MLD_QUERY = 0x11, 130


async def multicast(subject: Subject) -> AsyncIterator[Finding]:
    config = subject.config
    if config is None or config.heartbeat.transport == "unicast" or not subject.is_privileged:
        return
    links = [subject.links[name] for name in dict.fromkeys(config.heartbeat.interfaces) if name in subject.links]
    names = [link.name for link in links if link.is_ethernet and not link.fault()]
    queriers = await asyncio.gather(*(_querier(name, family_of(config.heartbeat.group)) for name in names))
    for name, querier in zip(names, queriers, strict=True):
        silence = f"nobody was heard to ask who listens to multicast on {name}"
        if querier is not None:
            yield ok(f"{querier} asks who listens to multicast on {name}")
        elif config.heartbeat.transport == "both":
            yield ok(f"{silence}; heartbeats go by unicast as well")
        else:
            bridge = _bridge(subject, name)
            yield info(
                silence + (f", and {bridge} of this host snoops without asking itself" if bridge else ""),
                why="A switch that snoops forgets the listeners then, and all nodes go deaf at once. One that floods, "
                "as a Linux bridge does that hears no querier, needs none.",
                mend="switch a querier on, in the switch or by "
                f"`ip link set {bridge or 'BRIDGE'} type bridge mcast_querier 1`; or write `transport: both`",
            )


def _bridge(subject: Subject, name: str) -> str:
    """The bridge of this host that the interface is, or is a port of, if that one snoops and asks nobody."""
    with suppress(OSError):
        name = os.path.basename(os.readlink(subject.root / f"sys/class/net/{name}/brport/bridge"))
    said = [subject.read(f"/sys/class/net/{name}/bridge/multicast_{key}") for key in ("snooping", "querier")]
    return name if said == ["1", "0"] else ""


async def _querier(interface: str, family: int) -> IpAddress | None:
    """Who asks there."""
    group, mac, protocol = _unused(family)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0) as wire:
        wire.bind((interface, protocol))
        index = socket.if_nametoindex(interface)
        wire.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("@iHH8s", index, ONE_GROUP, len(mac), mac))
        with sockets.open_socket(Binding(interface, family, str(group), 0, interface)):
            await asyncio.sleep(JOINED_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARD_S):
                while True:
                    packet = await asyncio.get_running_loop().sock_recv(wire, 2048)
                    if (querier := asker(packet)) is not None:
                        return querier
    return None


def _unused(family: int) -> tuple[IpAddress, bytes, int]:
    """A group, its hardware address, and the protocol's number on the wire."""
    if family == socket.AF_INET:
        group = b"\xef\xff" + secrets.token_bytes(2)  # 239.255.0.0/16, of this site
        return IPv4Address(group), b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:], 0x0800
    group = b"\xff\x15" + bytes(10) + secrets.token_bytes(4)
    return IPv6Address(group), b"\x33\x33" + group[-4:], 0x86DD


def asker(packet: bytes) -> IpAddress | None:
    """Who asks, if it is a query."""
    if len(packet) < 20:
        return None
    if packet[0] >> 4 == 4:
        header = 4 * (packet[0] & 15)
        is_query = packet[9] == socket.IPPROTO_IGMP and packet[header : header + 1] == bytes([IGMP_QUERY])
        return ip_address(packet[12:16]) if is_query else None
    if len(packet) < 48 or packet[6] != socket.IPPROTO_HOPOPTS or packet[40] != socket.IPPROTO_ICMPV6:
        return None  # a query has the router alert before it
    header = 40 + 8 * (packet[41] + 1)
    return ip_address(packet[8:24]) if packet[header : header + 1] == bytes([MLD_QUERY]) else None
