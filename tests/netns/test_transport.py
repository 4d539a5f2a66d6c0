"""Links on the real kernel: two hosts are two nameless network namespaces that vanish with their last descriptor.

One process plays both hosts: a socket stays in the namespace in which it was made, so the test enters a host only to
open, to look (`retry`: look and heed) and to configure.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from socket import AF_INET, AF_INET6

import pytest

from haagent.core.wire import LONGEST_DATAGRAM
from haagent.heartbeats import link, sockets
from tests.netns.wires import (
    GROUP4,
    LINK_LOCAL6,
    SITE6,
    UNICAST,
    Host,
    Wires,
    multicast,
    open_multicast,
    open_unicast,
)

pytestmark = pytest.mark.netns


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


@pytest.mark.parametrize("group", [GROUP4, "224.0.0.72", LINK_LOCAL6, SITE6])
def test_multicast_over_two_links(wires: Wires, group: str) -> None:
    wires.join("one", 1)
    wires.join("two", 2)
    open_multicast(wires, group, "one", "two")
    wires.until_up(wires.a, wires.b)
    wires.exchange("one", "two")
    only_two = multicast(group, "two")
    assert wires.b.transport
    with wires.b.inside():
        wires.b.transport.configure(only_two, me=wires.b.node(), peers=())
    wires.b.heard.clear()
    wires.a.send(b"again")
    wires.until(lambda: wires.b.heard)
    assert wires.b.heard == [(b"again", "two")]  # and not what came in on `one`


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_unicast_over_two_links(wires: Wires, family: int) -> None:
    wires.join("one", 1)
    wires.join("two", 2)
    open_unicast(wires, 1, 2, family=family)
    wires.until_up(wires.a, wires.b)
    names = [wires.a.address(1, family), wires.a.address(2, family)]
    wires.a.send(b"hello")
    wires.until(lambda: len(wires.b.heard) == 2)
    assert [name for _, name in wires.b.heard] == [wires.b.address(1, family), wires.b.address(2, family)]
    wires.b.send(b"hello")
    wires.until(lambda: len(wires.a.heard) == 2)
    assert [name for _, name in wires.a.heard] == names


@pytest.mark.parametrize("group", [GROUP4, LINK_LOCAL6])
def test_one_segment_many_clusters(wires: Wires, group: str) -> None:
    """Several agents of one host share group and port; each hears all, and the seal tells them apart."""
    wires.join("one", 1)
    open_multicast(wires, group, "one")
    other = Host("C", 3, wires.loop)
    os.close(other.fd)
    other.fd = os.dup(wires.b.fd)  # on host B
    other.open(multicast(group, "one"), other.node())
    wires.until_up(wires.a, wires.b)
    wires.a.send(b"hello")
    wires.until(lambda: wires.b.heard and other.heard)
    assert wires.b.heard == other.heard == [(b"hello", "one")]
    other.close()


@pytest.mark.parametrize("group", [GROUP4, LINK_LOCAL6, SITE6])
def test_an_interface_that_is_removed_and_made_again(wires: Wires, group: str) -> None:
    wires.join("one", 1)
    wires.join("two", 2)
    open_multicast(wires, group, "one", "two")
    wires.until_up(wires.a, wires.b)
    wires.a.ip("link del one")
    wires.exchange("two")  # before anybody has noticed
    assert [status.name for status in wires.a.retry()] == ["one"]
    assert wires.a.state() == {"one": "there is no interface one", "two": "up"}
    wires.exchange("two")
    wires.join("one", 1)
    wires.until_up(wires.a, wires.b)
    wires.exchange("one", "two")


@pytest.mark.parametrize("group", [GROUP4, SITE6])
def test_an_interface_that_goes_down_and_up(wires: Wires, group: str) -> None:
    wires.join("one", 1)
    open_multicast(wires, group, "one")
    wires.until_up(wires.a, wires.b)
    wires.a.ip("link set one down")
    wires.a.send(b"lost")
    assert wires.a.transport
    assert sum(wires.a.transport.links()[0].send_errors.values()) == 1
    wires.a.retry()
    assert wires.a.state() == {"one": "one is down: `ip link set one up`"}
    wires.until_state(wires.b, {"one": "one has no carrier"})
    wires.a.up("one", 1)  # IPv6 addresses went with it
    wires.until_up(wires.a, wires.b)
    wires.exchange("one")


def test_ipv6_switched_off_and_on_again_joins_the_group_again(wires: Wires) -> None:
    wires.join("one", 1)
    open_multicast(wires, LINK_LOCAL6, "one")
    wires.until_up(wires.a, wires.b)
    for value in ("1", "0"):
        with wires.a.inside(), open("/proc/sys/net/ipv6/conf/one/disable_ipv6", "w", encoding="ascii") as file:
            file.write(value)
        wires.a.retry()
        if value == "1":
            assert wires.a.state() == {"one": "one has no usable IPv6 address"}
    wires.until_up(wires.a)
    wires.exchange("one")


def test_nothing_is_there_at_the_start(wires: Wires) -> None:
    states = wires.a.open(multicast(GROUP4, "one"), wires.a.node())
    assert [(status.is_up, status.why) for status in states] == [(False, "there is no interface one")]
    wires.a.send(b"into the void")
    assert wires.a.retry() == []  # nothing has changed
    wires.join("one", 1, addresses=False)
    wires.a.ip("link set one up")
    wires.b.ip("link set one up")
    wires.until_state(wires.a, {"one": "one has no address"})
    for host in (wires.a, wires.b):
        host.up("one", 1)
    wires.b.open(multicast(GROUP4, "one"), wires.b.node())
    wires.until_up(wires.a, wires.b)
    wires.exchange("one")


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_unicast_address_comes_and_goes(wires: Wires, family: int) -> None:
    wires.join("one", 1, addresses=False)
    wires.b.up("one", 1)
    open_unicast(wires, 1, family=family)
    name = wires.a.address(1, family)
    assert wires.a.state() == {name: f"{name} is not an address of this host"}
    wires.a.up("one", 1)
    wires.until_up(wires.a)
    wires.a.send(b"hello")
    wires.until(lambda: wires.b.heard)
    wires.a.ip(f"addr del {name}/{24 if family == AF_INET else 64} dev one")
    wires.a.send(b"lost")
    changed = wires.a.retry()
    assert [(status.is_up, status.why) for status in changed] == [(False, f"{name} is not an address of this host")]
    wires.a.up("one", 1)
    wires.until_up(wires.a)
    wires.a.send(b"found")
    wires.until(lambda: (b"found", wires.b.address(1, family)) in wires.b.heard)


def test_a_unicast_port_is_not_shared(wires: Wires) -> None:
    wires.join("one", 1)
    open_unicast(wires, 1)
    second = Host("C", 2, wires.loop)
    os.close(second.fd)
    second.fd = os.dup(wires.b.fd)
    second.open(UNICAST, wires.b.node(1))
    assert second.state() == {"10.1.0.2": "port 7265 of 10.1.0.2 is taken: give each cluster on this host its own port"}
    assert wires.b.transport
    wires.b.transport.close()
    second.retry()
    assert second.state() == {"10.1.0.2": "up"}
    second.close()


def test_oversized_datagrams_are_counted_not_cut(wires: Wires) -> None:
    wires.join("one", 1)
    open_unicast(wires, 1)
    wires.a.send(bytes(LONGEST_DATAGRAM + 1), bytes(40_000), bytes(LONGEST_DATAGRAM))
    wires.until(lambda: wires.b.heard)
    assert wires.b.dropped == {"oversized": 2}
    assert wires.b.heard == [(bytes(LONGEST_DATAGRAM), "10.1.0.2")]


def test_a_flood_leaves_the_loop_its_turns(wires: Wires) -> None:
    """1,000 datagrams wait; another callback gets its turn after every `BUDGET` of them."""
    wires.join("one", 1)
    open_unicast(wires, 1)
    wires.a.send(*[b"flood"] * 500)
    seen: list[int] = []

    def look() -> None:
        seen.append(len(wires.b.heard))
        if seen[-1] < 500:
            wires.loop.call_soon(look)

    wires.loop.call_soon(look)
    wires.until(lambda: len(wires.b.heard) == 500)
    assert max(later - earlier for earlier, later in pairwise(seen)) <= link.BUDGET


def test_a_full_receive_buffer_is_counted(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "BUFFER_BYTES", 4096)
    wires.join("one", 1)
    open_unicast(wires, 1)
    wires.a.send(*[bytes(1000)] * 100)
    wires.until(lambda: wires.b.heard)
    assert wires.b.transport
    (status,) = wires.b.transport.links()
    assert status.overflowed > 0
    assert status.overflowed + status.received == 100


@pytest.mark.parametrize("group", [GROUP4, LINK_LOCAL6])
def test_marks_of_a_heartbeat(wires: Wires, group: str) -> None:
    """Hop limit 1, CS6, and the sender hears nothing of itself."""
    wires.join("one", 1)
    open_multicast(wires, group, "one")
    wires.until_up(wires.a, wires.b)
    assert wires.b.transport
    wires.b.transport.close()
    with wires.b.inside():
        binding = sockets.Binding("one", AF_INET6 if ":" in group else AF_INET, group, 7265, "one")
        listener = sockets.open_socket(binding)
    if binding.family == AF_INET:
        level, ttl, tos = socket.IPPROTO_IP, socket.IP_TTL, socket.IP_TOS
        listener.setsockopt(level, socket.IP_RECVTOS, 1)
        listener.setsockopt(level, 12, 1)  # IP_RECVTTL
    else:
        level, ttl, tos = socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, socket.IPV6_TCLASS
        listener.setsockopt(level, socket.IPV6_RECVTCLASS, 1)
        listener.setsockopt(level, socket.IPV6_RECVHOPLIMIT, 1)
    wires.a.send(b"hello")
    listener.settimeout(2)
    data, ancillary, _, _ = listener.recvmsg(100, 200)
    marks = {
        (at, kind): value[0] if len(value) == 1 else struct.unpack("@i", value)[0] for at, kind, value in ancillary
    }
    assert (data, marks) == (b"hello", {(level, ttl): 1, (level, tos): sockets.CS6})
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == sockets.PRIORITY
    listener.close()
    assert wires.a.heard == []


def test_reconfigure_keeps_what_stays_the_same(wires: Wires) -> None:
    for number, name in enumerate(("one", "two", "three"), start=1):
        wires.join(name, number)
    open_multicast(wires, GROUP4, "one", "two")
    wires.until_up(wires.a, wires.b)
    wires.exchange("one", "two")
    b, transport = wires.b, wires.b.transport
    assert transport
    b.heard.clear()
    wires.a.send(b"before")  # waits in B's sockets during the change
    with b.inside():
        changed = transport.configure(multicast(GROUP4, "one", "three"), me=b.node(), peers=())
    assert [(status.name, status.is_up) for status in changed] == [("three", True)]
    wires.until(lambda: b.heard)
    assert b.heard == [(b"before", "one")]
    assert {status.name: (status.sent, status.received) for status in transport.links()} == {
        "one": (1, 2),
        "three": (0, 0),
    }
    with b.inside():
        transport.configure(multicast(GROUP4, "one", "three", port=7300), me=b.node(), peers=())
    assert {status.name: status.received for status in transport.links()} == {"one": 0, "three": 0}


def test_reconfigure_of_unicast_peers_keeps_the_socket(wires: Wires) -> None:
    wires.join("one", 1)
    b = wires.b.node(1)
    wires.a.open(UNICAST, wires.a.node(1))
    wires.b.open(UNICAST, b, wires.a.node(1))
    wires.a.send(b"to nobody")
    assert wires.a.transport
    with wires.a.inside():
        assert wires.a.transport.configure(UNICAST, me=wires.a.node(1), peers=(b,)) == []
    wires.a.send(b"hello")
    wires.until(lambda: wires.b.heard)
    assert wires.b.heard == [(b"hello", "10.1.0.2")]
    assert wires.a.transport.links()[0].sent == 1


def test_close_leaves_no_descriptor(wires: Wires) -> None:
    wires.join("one", 1)
    before = len(os.listdir("/proc/self/fd"))
    open_multicast(wires, GROUP4, "one")
    for host in (wires.a, wires.b):
        assert host.transport
        host.transport.close()
        host.transport.close()
        host.send(b"nothing happens")
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the loop's selector may have grown one
