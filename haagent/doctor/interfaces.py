"""The interfaces that the configuration names: are they there, do they work, do the addresses fit?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from haagent.config import GroupConfig
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, warning
from haagent.kernel.facts import IpInterface

LEAST_MTU = 1280  # every datagram of ours fits it


def interfaces(subject: Subject) -> Iterator[Finding]:
    for name in subject.interfaces():
        yield from list(_of_interface(subject, name)) or [ok(f"{name} is up")]


def _of_interface(subject: Subject, name: str) -> Iterator[Finding]:
    why = "Heartbeats and addresses need it."
    link = subject.links.get(name)
    if link is None:
        there = ", ".join(other for other in subject.links if other != "lo") or "none"
        yield error(f"there is no interface {name}", why=why, mend=f"correct the configuration; this host has {there}")
        return
    if not link.is_up:
        yield error(f"{name} is down", why=why, mend=f"ip link set {name} up")
        return
    if not link.has_carrier:
        yield error(f"{name} has no carrier", why=why, mend=f"plug the cable in; `ip link show {name}`")
        return
    if not link.is_ethernet and link in subject.served():
        text = f"{name} is not Ethernet: ARP cannot tell anybody there which host has an address"
        yield info(text, why="Clients must come by a route that leads to the holder.")
    mtu = int(subject.read(f"/sys/class/net/{name}/mtu") or LEAST_MTU)
    if mtu < LEAST_MTU:
        yield warning(
            f"{name} has an MTU of {mtu}",
            why="Heartbeats of up to 1248 bytes would be sent in fragments, or not at all.",
            mend=f"ip link set {name} mtu {LEAST_MTU}",
        )


def addresses(subject: Subject) -> Iterator[Finding]:
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
            misfits = [finding for address in group.addresses for finding in _misfit(subject, group, address)]
            yield from misfits or [ok(f"the addresses of {group.name} fit {group.interface}")]


def _misfit(subject: Subject, group: GroupConfig, address: IpInterface) -> Iterator[Finding]:
    around = [own for own in subject.own_networks(group.interface) if address.ip in own.network]
    lengths = [own.network.prefixlen for own in around]
    if not around:
        yield info(
            f"{address} of {group.name} is in no subnet of {group.interface}",
            why="Fine if a router leads there; on an ordinary link nobody would ask for it.",
            mend="compare with `ip address show`",
        )
    elif address.network.prefixlen not in (*lengths, address.max_prefixlen):
        yield warning(
            f"{address} of {group.name} has another prefix length than {group.interface}'s own address ({around[0]})",
            why="While this host holds it, it mistakes other hosts for neighbours, or neighbours for other hosts.",
            mend=f"write {address.ip}/{max(lengths)}",
        )


def ipv6(subject: Subject) -> Iterator[Finding]:
    for name in sorted(subject.floating(6)):
        if subject.sysctl(6, name, "disable_ipv6"):
            yield error(
                f"IPv6 is switched off on {name}, and a group has an IPv6 address there",
                why="The kernel refuses the address, so the group cannot be taken here.",
                mend=f"sysctl -w net.ipv6.conf.{name}.disable_ipv6=0",
            )
        else:
            yield ok(f"IPv6 is on, on {name}")
