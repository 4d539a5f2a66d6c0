"""A host with one cable, the address room at work on it, and what can be seen of that from outside."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_interface

from haagent.activation import Activation
from haagent.backends.arp import ArpOptions
from haagent.config import GroupConfig, PluginConfig
from haagent.core.events import AnyEvent
from haagent.core.messages import Ballot
from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import Seen
from haagent.kernel.host import Host
from tests.support.fakes import around
from tests.support.layouts import LAYOUTS

V4, V6 = "10.20.1.100", "fd00:20::100"
ONE, TWO = Ballot(1, "A"), Ballot(2, "A")


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def group(*addresses: str) -> GroupConfig:
    return GroupConfig(
        name="web",
        addresses=tuple(ip_interface(address) for address in addresses or (f"{V4}/24", f"{V6}/64")),
        interface="eth0",
        backend=PluginConfig("arp", ArpOptions()),
    )


class Stage:
    """A running activation, and what it said."""

    def __init__(self, *addresses: str, adopt: bool = False) -> None:
        self.said: list[AnyEvent] = []
        self.notes: list[str] = []
        self._wires: list[socket.socket] = []
        self.activation = Activation(
            [group(*addresses)],
            around(
                host=Host(LAYOUTS),
                post=self.said.append,
                note=lambda kind, _group, text: self.notes.append(f"{kind}: {text}"),
                now=now,
            ),
            adopt=adopt,
        )

    async def __aenter__(self) -> Stage:
        await self.activation.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.activation.close()
        for wire in self._wires:
            wire.close()

    def capture(self) -> socket.socket:
        """What arrives at the other end of the cable, from now on."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._wires.append(wire)
        wire.bind(("peer0", 0))
        wire.setblocking(False)
        return wire

    def take(self, lease_s: float = 600) -> None:
        self.activation.take("web", ONE, now() + lease_s)

    def counted(self, what: str) -> int:
        return int(self.activation.groups()["web"]["counters"].get(what, 0))


async def until(is_so: Callable[[], bool], what: str, limit_s: float = 10) -> float:
    """Wait for a condition; milliseconds it took. The limit is for a stuck machine, not an expectation."""
    began = time.perf_counter()
    while not is_so():
        assert time.perf_counter() - began < limit_s, f"not within {limit_s} s: {what}"
        await asyncio.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


def seen(address: str) -> list[Seen]:
    kernel = Kernel()
    kernel.open()
    try:
        return [one for one in kernel.seen() if one.address == ip_address(address)]
    finally:
        kernel.close()


def announcements(wire: socket.socket) -> list[tuple[str, str, str]]:
    """(kind, sender's hardware address, address announced), read by scapy: not by the code that wrote them."""
    from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
    from scapy.layers.l2 import ARP, Ether

    found = []
    while True:
        try:
            frame = Ether(wire.recv(2048))
        except BlockingIOError:
            return found
        if ARP in frame and frame[ARP].psrc == frame[ARP].pdst:
            kind = {1: "request", 2: "reply"}[frame[ARP].op]
            found.append((kind, frame[ARP].hwsrc, frame[ARP].psrc))
        elif ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == V6:
            assert (frame[IPv6].hlim, frame[IPv6].dst, frame[ICMPv6ND_NA].O) == (255, "ff02::1", 1)
            found.append(("advertisement", frame.src, frame[ICMPv6ND_NA].tgt))


def mac(interface: str) -> str:
    address: str = json.loads(ip("-json", "link", "show", "dev", interface))[0]["address"]  # /sys is the machine's
    return address


def cable() -> None:
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    ip("link", "set", "eth0", "up")
    ip("link", "set", "peer0", "up")
