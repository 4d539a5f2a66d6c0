"""Two hosts that are namespaces of this process, with cables between them and a transport on each."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6

import pytest

from haagent.agent.clock import now
from haagent.config import HeartbeatConfig, NodeConfig
from haagent.heartbeats import LinkStatus, Transport

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
GROUP4, LINK_LOCAL6, SITE6 = "239.192.72.65", "ff02::1:7265", "ff15::1:7265"


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


class Host:
    """A network namespace and, once opened, one node's transport in it."""

    def __init__(self, name: str, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.name, self.number, self._loop = name, number, loop
        self.heard: list[tuple[bytes, str]] = []
        self.dropped: Counter[str] = Counter()
        self.transport: Transport | None = None
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        # Coming back needs rights over the present namespace, too: look before leaving it.
        if LIBC.setns(home, CLONE_NEWNET) < 0 or LIBC.unshare(CLONE_NEWNET) < 0:
            reason = os.strerror(ctypes.get_errno())
            os.close(home)
            pytest.skip(f"no network namespaces ({reason}): run as root or under `unshare -rn`")
        try:
            self.fd = os.open("/proc/self/ns/net", os.O_RDONLY)
            ip("link set lo up")
            for sysctl in ("default/accept_dad", "all/accept_dad"):  # IPv6 addresses usable at once
                with open(f"/proc/sys/net/ipv6/conf/{sysctl}", "w", encoding="ascii") as file:
                    file.write("0")
        finally:
            assert LIBC.setns(home, CLONE_NEWNET) == 0
            os.close(home)

    @contextmanager
    def inside(self) -> Iterator[None]:
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            assert LIBC.setns(self.fd, CLONE_NEWNET) == 0
            yield
        finally:
            assert LIBC.setns(home, CLONE_NEWNET) == 0
            os.close(home)

    def ip(self, *commands: str) -> None:
        with self.inside():
            for command in commands:
                ip(command)

    def address(self, network: int, family: int = AF_INET) -> str:
        return f"10.{network}.0.{self.number}" if family == AF_INET else f"fd00:{network}::{self.number}"

    def up(self, interface: str, network: int) -> None:
        self.ip(
            f"addr replace {self.address(network)}/24 dev {interface}",
            f"link set {interface} up",
            f"addr replace {self.address(network, AF_INET6)}/64 dev {interface} nodad",
        )

    def node(self, *networks: int, family: int = AF_INET) -> NodeConfig:
        return NodeConfig(name=self.name, addresses=tuple(self.address(network, family) for network in networks))

    def open(self, config: HeartbeatConfig, me: NodeConfig, *peers: NodeConfig) -> list[LinkStatus]:
        self.transport = Transport(
            self._loop,
            heard=lambda datagram, name: self.heard.append((datagram, name)),
            dropped=lambda cause: self.dropped.update([cause]),
        )
        with self.inside():
            return self.transport.configure(config, me=me, peers=peers)

    def retry(self) -> list[LinkStatus]:
        assert self.transport
        with self.inside():
            return self.transport.heed(self.transport.look())

    def send(self, *datagrams: bytes) -> None:
        assert self.transport
        self.transport.send(list(datagrams))

    def state(self) -> dict[str, str]:
        assert self.transport
        return {status.name: status.why or "up" for status in self.transport.links()}

    def close(self) -> None:
        if self.transport:
            self.transport.close()
        os.close(self.fd)


class Wires:
    """Hosts A and B, and what joins them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.a, self.b = Host("A", 1, self.loop), Host("B", 2, self.loop)

    def join(self, interface: str, network: int, *, addresses: bool = True) -> None:
        """A cable between two interfaces of the same name."""
        ends = f"link add {interface} type veth peer name {interface} netns /proc/{os.getpid()}/fd/{self.b.fd}"
        self.a.ip(ends)
        for host in (self.a, self.b):
            if addresses:
                host.up(interface, network)

    def until(self, claim: Callable[[], object], within_s: float = 5.0) -> None:
        async def turn() -> None:
            deadline = now() + within_s
            while not claim() and now() < deadline:
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(turn())
        assert claim()

    def until_up(self, *hosts: Host) -> None:
        def are_up() -> bool:
            for host in hosts:
                host.retry()
            return all(set(host.state().values()) == {"up"} for host in hosts)

        self.until(are_up)

    def until_state(self, host: Host, state: dict[str, str]) -> None:
        """The kernel tells of a carrier with a delay."""

        def has_come() -> bool:
            host.retry()
            return host.state() == state

        self.until(has_come)

    def exchange(self, *names: str) -> None:
        """A datagram in each direction arrives once on each of the links `names`, and nothing else does."""
        for host in (self.a, self.b):
            host.heard.clear()
        self.a.send(b"from A")
        self.b.send(b"from B")
        self.until(lambda: len(self.a.heard) >= len(names) and len(self.b.heard) >= len(names))
        assert sorted(self.b.heard) == [(b"from A", name) for name in names]
        assert sorted(self.a.heard) == [(b"from B", name) for name in names]

    def close(self) -> None:
        self.a.close()
        self.b.close()
        self.loop.close()


def multicast(group: str, *interfaces: str, port: int = 7265) -> HeartbeatConfig:
    return HeartbeatConfig(group=group, port=port, interfaces=interfaces, lease_s=0.35)


UNICAST = HeartbeatConfig(transport="unicast", group="", lease_s=0.35)


def open_multicast(wires: Wires, group: str, *interfaces: str) -> None:
    for host in (wires.a, wires.b):
        host.open(multicast(group, *interfaces), host.node())


def open_unicast(wires: Wires, *networks: int, family: int = AF_INET) -> None:
    a, b = (host.node(*networks, family=family) for host in (wires.a, wires.b))
    wires.a.open(UNICAST, a, b)
    wires.b.open(UNICAST, b, a)
