"""The frames, byte by byte, and when there is nobody to tell."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from haagent.kernel.announce import Announcer, announcements
from haagent.kernel.facts import IpAddress, Link
from tests.support.layouts import LAYOUTS

MAC = bytes.fromhex("02000a14010a")
VIP = bytes((10, 20, 1, 100))
BROADCAST = b"\xff" * 6
ETHERNET_ARP = b"\x08\x06" + b"\x00\x01" + b"\x08\x00" + b"\x06" + b"\x04"  # type, Ethernet, IPv4, lengths

LINK = Link(index=7, name="eth0", mac=MAC, is_up=True, has_carrier=True, is_ethernet=True)


def announced(address: str, *, is_router: bool = False) -> list[bytes]:
    return announcements(LAYOUTS, ip_address(address), MAC, is_router=is_router)


def test_arp_request_form() -> None:
    request, _ = announced("10.20.1.100")
    assert request == BROADCAST + MAC + ETHERNET_ARP + b"\x00\x01" + MAC + VIP + bytes(6) + VIP


def test_arp_reply_form() -> None:
    _, reply = announced("10.20.1.100")
    assert reply == BROADCAST + MAC + ETHERNET_ARP + b"\x00\x02" + MAC + VIP + MAC + VIP


def test_neighbour_advertisement() -> None:
    address = ip_address("fd00:20::100").packed
    (frame,) = announced("fd00:20::100")
    ethernet, ipv6, icmp = frame[:14], frame[14:54], frame[54:]
    assert ethernet == bytes.fromhex("333300000001") + MAC + b"\x86\xdd"
    assert ipv6 == bytes.fromhex("60000000 0020 3a ff") + address + ip_address("ff02::1").packed  # hop limit 255
    assert icmp[:2] == bytes((136, 0))
    assert icmp[4:8] == b"\x20\x00\x00\x00"  # override, neither router nor solicited
    assert icmp[8:24] == address
    assert icmp[24:] == b"\x02\x01" + MAC  # target link-layer address, 8 bytes
    assert checksum(address + ip_address("ff02::1").packed + struct.pack(">I3xB", len(icmp), 58) + icmp) == 0


def test_a_router_says_that_it_is_one() -> None:
    (frame,) = announced("fd00:20::100", is_router=True)
    assert frame[58] == 0xA0


def test_frames_of_several_addresses_in_order() -> None:
    addresses: list[IpAddress] = [ip_address(text) for text in ("10.20.1.100", "fd00:20::100", "10.20.1.101")]
    announcer = Announcer(addresses, layouts=LAYOUTS, note=print)
    announcer.link_changed(LINK)
    composed = announcer._frames
    assert [frame[12:14] for _, frame in composed] == [b"\x08\x06"] * 2 + [b"\x86\xdd"] + [b"\x08\x06"] * 2
    assert composed[4][1][38:42] == bytes((10, 20, 1, 101))


def test_a_link_without_neighbours_is_no_failure() -> None:
    said: list[str] = []
    announcer = Announcer([ip_address("10.20.1.100")], layouts=LAYOUTS, note=said.append)
    announcer.link_changed(Link(index=1, name="lo", mac=bytes(6), is_up=True, has_carrier=True, is_ethernet=False))
    assert announcer.is_ready
    assert announcer.send()
    assert (announcer._frames, said) == ((), [])


def test_without_the_interface_nothing_leaves() -> None:
    announcer = Announcer([ip_address("10.20.1.100")], layouts=LAYOUTS, note=lambda text: None)
    announcer.link_changed(None)
    assert not announcer.is_ready
    assert not announcer.send()


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
