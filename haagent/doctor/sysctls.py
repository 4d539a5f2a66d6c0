"""Switches of the kernel that make a host deaf or mute on one of its links.

What counts for an interface is the higher of its own value and that of `all`. They are read as files, so that the dots
in a VLAN's name cannot be misread; the commands that mend them use sysctl's slashes for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address

from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, warning
from haagent.kernel.facts import AddressError, IpInterface
from haagent.kernel.routes import Routes

STRICT, LOOSE = 1, 2


def rp_filter(subject: Subject) -> Iterator[Finding]:
    strict = [name for name in subject.interfaces() if _effective(subject, name, "rp_filter") == STRICT]
    found = [*_lost(subject, strict), *_shared_subnet(subject, strict)]
    yield from found or [ok("rp_filter drops nothing that comes from a peer")]


def _effective(subject: Subject, interface: str, name: str) -> int:
    return max(subject.sysctl(4, interface, name) or 0, subject.sysctl(4, "all", name) or 0)


def _set(subject: Subject, interface: str, name: str, value: int) -> str:
    """The higher one counts: that of `all` has to be touched only when it is too high."""
    is_too_high = (subject.sysctl(4, "all", name) or 0) > value
    places = ["all", interface] if is_too_high else [interface]
    words = " ".join(f"net/ipv4/conf/{place}/{name}={value}" for place in places)
    return f"sysctl -w {words}; to keep it, write the same into /etc/sysctl.d/90-haagent.conf"


def _lost(subject: Subject, strict: list[str]) -> Iterator[Finding]:
    """The kernel drops what comes from an address that it would reach over another interface."""
    config = subject.config
    if config is None or not strict:
        return
    with suppress(AddressError), closing(Routes()) as routes:
        routes.open()
        for node in config.peers:
            for interface, address in zip(config.heartbeat.interfaces, node.addresses, strict=False):
                if interface not in strict or ":" in address or interface not in subject.links:
                    continue
                way = routes.way_to(ip_address(address))
                if way is None or way.index != subject.links[interface].index:
                    there = "nowhere" if way is None else f"over {_name(subject, way.index)}"
                    yield error(
                        f"{interface} drops what comes from {node.name} ({address}): this host would answer it {there}",
                        why="`rp_filter` is strict there, so heartbeats of that node are not heard.",
                        mend=_set(subject, interface, "rp_filter", LOOSE),
                    )


def _name(subject: Subject, index: int) -> str:
    return next((link.name for link in subject.links.values() if link.index == index), f"interface {index}")


def _shared_subnet(subject: Subject, strict: list[str]) -> Iterator[Finding]:
    for interface in strict:
        twin = _twin(subject, interface)
        if twin:
            yield warning(
                f"{interface} and {twin} are in the same subnet, and rp_filter of {interface} is strict",
                why="The kernel drops what arrives on the interface that it does not prefer, heartbeats too.",
                mend=_set(subject, interface, "rp_filter", LOOSE),
            )


def _twin(subject: Subject, interface: str) -> str:
    """Another interface in one of its IPv4 subnets."""
    own = {network.network for network in subject.own_networks(interface) if network.version == 4}
    for other in subject.links:
        theirs = {network.network for network in subject.own_networks(other) if network.version == 4}
        if other not in (interface, "lo") and own & theirs:
            return other
    return ""


def arp(subject: Subject) -> Iterator[Finding]:
    announced = {name: addresses for name, addresses in subject.floating(4).items() if name in subject.links}
    found = [finding for name, addresses in announced.items() for finding in _of_arp(subject, name, addresses)]
    yield from found or [ok("ARP for floating addresses would be answered")]


def _of_arp(subject: Subject, interface: str, addresses: list[IpInterface]) -> Iterator[Finding]:
    ignore, twin = _effective(subject, interface, "arp_ignore"), _twin(subject, interface)
    hosts_only = any(address.network.prefixlen == 32 for address in addresses)
    if ignore >= 3 or (ignore == 2 and hosts_only):
        yield error(
            f"arp_ignore is {ignore} on {interface}: ARP for a floating address is not answered",
            why="Clients find the holder only by its announcements, and lose it when they forget them.",
            mend=_set(subject, interface, "arp_ignore", 1),
        )
    if twin and _effective(subject, interface, "arp_filter"):
        yield warning(
            f"arp_filter is on for {interface}, and {twin} is in the same subnet",
            why="ARP is answered only on the interface over which the asker would be reached: maybe not on this one.",
            mend=_set(subject, interface, "arp_filter", 0),
        )
    if twin and not ignore:
        yield info(
            f"{interface} and {twin} are in the same subnet, and arp_ignore is 0",
            why=f"{twin} answers too for addresses on {interface}, with its own hardware address.",
            mend=_set(subject, interface, "arp_ignore", 1),
        )


def promote_secondaries(subject: Subject) -> Iterator[Finding]:
    off = [link.name for link in subject.served() if not _effective(subject, link.name, "promote_secondaries")]
    for name in off:
        why = "Without it, removing a floating address removes the host's other addresses of its subnet too."
        if subject.agent:
            mend = f"sysctl -w net/ipv4/conf/{name}/promote_secondaries=1"
            yield warning(f"promote_secondaries is off on {name}, although the agent sets it", why=why, mend=mend)
        else:
            yield info(f"promote_secondaries is off on {name}; the agent sets it when it starts", why=why)
    if subject.groups and not off:
        yield ok("promote_secondaries is on")
