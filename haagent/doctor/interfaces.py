"""The interfaces that the configuration names: are they there, do they work, do the addresses fit?"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

from haagent.doctor.finding import Finding, error, info, ok, warning

if TYPE_CHECKING:
    from haagent.config import GroupConfig
    from haagent.doctor.context import Subject

SIOCGIFMTU = 0x8921
LEAST_MTU = 1280  # every datagram of ours fits it


async def interfaces(subject: Subject) -> AsyncIterator[Finding]:
    used = dict.fromkeys(subject.interfaces(), "")
    for name in used:
        found = list(_of_interface(subject, name))
        for finding in found:
            yield finding
        if not found:
            yield ok(f"{name} is up")


def _of_interface(subject: Subject, name: str) -> list[Finding]:
    why = "Heartbeats and addresses need it."
    link = subject.links.get(name)
    if link is None:
        there = ", ".join(other for other in subject.links if other != "lo") or "none"
        return [
            error(f"there is no interface {name}", why=why, mend=f"correct the configuration; this host has {there}")
        ]
    if not link.is_up:
        return [error(f"{name} is down", why=why, mend=f"ip link set {name} up")]
    if not link.has_carrier:
        return [error(f"{name} has no carrier", why=why, mend=f"plug the cable in; `ip link show {name}`")]
    found: list[Finding] = []
    if not link.is_ethernet and any(group.interface == name for group in subject.groups):
        text = f"{name} is not Ethernet: ARP cannot tell anybody there which host has an address"
        found.append(info(text, why="Clients must come by a route that leads to the holder."))
    mtu = _mtu(name)
    if mtu and mtu < LEAST_MTU:
        found.append(
            warning(
                f"{name} has an MTU of {mtu}",
                why="Heartbeats of up to 1248 bytes would be sent in fragments, or not at all.",
                mend=f"ip link set {name} mtu {LEAST_MTU}",
            )
        )
    return found


def _mtu(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16s16x", name.encode()))
        except OSError:
            return 0
    return int(struct.unpack_from("16xi", answer)[0])


async def addresses(subject: Subject) -> AsyncIterator[Finding]:
    config = subject.config
    if config is None:
        return
    own = {seen.packed for seen in subject.addresses}
    for address in config.nodes[config.me].addresses:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address.partition("%")[0])
        if packed not in own:
            yield error(
                f"{address}, the address of node {config.me}, is not on this host",
                why="Peers send there, or compare it.",
                mend="ip address show, and correct the configuration or the interface",
            )
    if config.nodes[config.me].witness:
        return
    for group in subject.groups:
        if group.interface in subject.links:
            for finding in _of_group(subject, group):
                yield finding


def _of_group(subject: Subject, group: GroupConfig) -> list[Finding]:
    own = subject.own_networks(group.interface)
    found = []
    for address in group.addresses:
        finding = _judge(address, own, group)
        if finding is not None:
            found.append(finding)
    return found or [ok(f"the addresses of {group.name} fit {group.interface}")]


def _judge(
    address: IPv4Interface | IPv6Interface, own: list[IPv4Interface | IPv6Interface], group: GroupConfig
) -> Finding | None:
    same = [each for each in own if each.version == address.version and address.ip in each.network]
    if any(each.network.prefixlen == address.network.prefixlen for each in same):
        return None
    is_host_route = address.network.prefixlen == address.max_prefixlen
    if same and is_host_route:
        return None
    if same:
        own_prefix = max(each.network.prefixlen for each in same)
        return warning(
            f"{address} of {group.name} has another prefix length than {group.interface}'s own address ({same[0]})",
            why="While this host holds it, it mistakes other hosts for neighbours, or neighbours for other hosts.",
            mend=f"write {address.ip}/{own_prefix}",
        )
    return info(
        f"{address} of {group.name} is in no subnet of {group.interface}",
        why="Fine if a router leads there; on an ordinary link nobody would ask for it.",
        mend="compare with `ip address show`",
    )


async def ipv6(subject: Subject) -> AsyncIterator[Finding]:
    wanted = {group.interface for group in subject.groups if any(each.version == 6 for each in group.addresses)}
    for name in sorted(wanted):
        if subject.sysctl(6, name, "disable_ipv6"):
            yield error(
                f"IPv6 is switched off on {name}, and a group has an IPv6 address there",
                why="The kernel refuses the address, so the group cannot be taken here.",
                mend=f"sysctl -w net.ipv6.conf.{name}.disable_ipv6=0",
            )
        else:
            yield ok(f"IPv6 is on, on {name}")
