"""Which links a configuration makes."""

from __future__ import annotations

import socket
from socket import AF_INET, AF_INET6

from haagent.config import HeartbeatConfig, NodeConfig
from haagent.heartbeats.plan import Binding, plan
from haagent.heartbeats.sockets import address


def heartbeat(transport: str, *, group: str = "", interfaces: tuple[str, ...] = ()) -> HeartbeatConfig:
    return HeartbeatConfig(
        transport=transport, group=group, port=7265, interfaces=interfaces, interval_s=0.1, lease_s=0.35
    )


A = NodeConfig(name="A", addresses=("192.0.2.1", "2001:db8::1"))
B = NodeConfig(name="B", addresses=("192.0.2.2", "2001:db8::2"))
W = NodeConfig(name="W", addresses=("192.0.2.3",), witness=True)


def test_multicast_has_one_link_for_each_interface() -> None:
    links = plan(heartbeat("multicast", group="239.192.72.65", interfaces=("eth0", "eth1")), me=A, peers=(B, W))
    assert [(link.binding.name, link.hosts) for link in links] == [
        ("eth0", ("239.192.72.65",)),
        ("eth1", ("239.192.72.65",)),
    ]
    assert {link.binding.family for link in links} == {AF_INET}
    (link,) = plan(heartbeat("multicast", group="ff02::1:72", interfaces=("eth0",)), me=A, peers=(B,))
    assert link.binding == Binding("eth0", AF_INET6, "ff02::1:72", 7265, "eth0")


def test_unicast_has_one_link_for_each_address_and_leaves_out_who_has_none() -> None:
    first, second = plan(heartbeat("unicast"), me=A, peers=(B, W))
    assert (first.binding.name, first.hosts) == ("192.0.2.1", ("192.0.2.2", "192.0.2.3"))
    assert (second.binding.family, second.hosts) == (AF_INET6, ("2001:db8::2",))


def test_unicast_links_never_mix_families() -> None:
    crossed = NodeConfig(name="B", addresses=("2001:db8::2", "192.0.2.2"))
    assert [link.hosts for link in plan(heartbeat("unicast"), me=A, peers=(crossed,))] == [(), ()]


def test_unicast_links_are_called_after_interfaces_where_these_are_given() -> None:
    links = plan(heartbeat("unicast", interfaces=("eth0", "eth1")), me=A, peers=(B,))
    assert [link.binding.name for link in links] == ["eth0", "eth1"]
    links = plan(heartbeat("unicast", interfaces=("eth0",)), me=A, peers=(B,))
    assert [link.binding.name for link in links] == ["eth0", "2001:db8::1"]


def test_a_scoped_address_carries_its_interface() -> None:
    index = socket.if_nametoindex("lo")
    binding = Binding("fe80::1%lo", AF_INET6, "fe80::1%lo", 7265)
    assert address(binding, "fe80::2%lo") == ("fe80::2", 7265, 0, index)
    assert address(binding, "fd00::2") == ("fd00::2", 7265, 0, 0)
    group = Binding("lo", AF_INET6, "ff02::1:72", 7265, "lo")
    assert address(group, "ff02::1:72") == ("ff02::1:72", 7265, 0, index)


def test_both_have_the_links_of_either_under_names_of_their_own() -> None:
    links = plan(heartbeat("both", group="239.192.72.65", interfaces=("eth0", "eth1")), me=A, peers=(B, W))
    assert [(link.binding.name, link.hosts) for link in links] == [
        ("eth0", ("239.192.72.65",)),
        ("eth1", ("239.192.72.65",)),
        ("192.0.2.1", ("192.0.2.2", "192.0.2.3")),
        ("2001:db8::1", ("2001:db8::2",)),
    ]
    assert [link.binding.is_multicast for link in links] == [True, True, False, False]
