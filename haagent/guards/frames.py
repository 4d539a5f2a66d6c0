"""The frames of the guards: questions that are composed ahead of need, and what is read in the answers.

A question about a group's address claims nothing: sender 0.0.0.0 (an ARP probe, RFC 5227) or `::` (a solicitation as
in duplicate address detection, RFC 4862), so that no neighbour learns anything from it. The holder's kernel answers
both. Ours carry a mark, in the padding of the ARP frame and in the nonce option of RFC 3971: another node of a cluster
that asks is not somebody who is about to configure the address.

A gateway is asked as any neighbour is, from this host's own address.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from haagent.address.announce import BROADCAST
from haagent.address.facts import IpAddress

MARK = b"haagent"
NONCE = b"haagnt"  # six bytes make the option one unit of eight
_NONCE_OPTION = 14
_SHORTEST = 60  # of an Ethernet frame without its checksum
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ETHERNET, _IPV6 = 14, 40
_TARGET_END = _ETHERNET + _IPV6 + 24


class Heard(msgspec.Struct, frozen=True):
    """A frame that says something of `address`."""

    address: bytes
    mac: bytes  # of who says it
    is_probe: bool  # it only asks whether the address is free
    is_marked: bool  # a node of a cluster asks


def question(mac: bytes, address: IpAddress) -> bytes:
    """Who has it?"""
    if isinstance(address, IPv4Address):
        return _arp(mac, "0.0.0.0", address) + MARK.ljust(_SHORTEST - _ETHERNET - _ARP.size, b"\0")
    from scapy.layers.inet6 import ICMPv6NDOptUnknown

    return _solicitation(mac, "::", address, ICMPv6NDOptUnknown(type=_NONCE_OPTION, len=1, data=NONCE))


def greeting(mac: bytes, own: str, address: IpAddress, *, to: bytes | None = None) -> bytes:
    """To a gateway, from our `own` address (empty: there is none). `to`: its hardware address, when it is known."""
    if isinstance(address, IPv4Address):
        return _arp(mac, own or "0.0.0.0", address, to=to)
    from scapy.layers.inet6 import ICMPv6NDOptSrcLLAddr

    options = [ICMPv6NDOptSrcLLAddr(lladdr=mac.hex(":"))] if own else []  # from `::` it is forbidden
    return _solicitation(mac, own or "::", address, *options, to=to)


def _arp(mac: bytes, sender: str, address: IPv4Address, *, to: bytes | None = None) -> bytes:
    from scapy.layers.l2 import ARP, Ether

    ethernet = Ether(dst=to.hex(":") if to else BROADCAST, src=mac.hex(":"), type=0x0806)
    said = ARP(op=1, hwsrc=mac.hex(":"), psrc=sender, hwdst="00:00:00:00:00:00", pdst=str(address))
    return bytes(ethernet / said)


def _solicitation(mac: bytes, sender: str, address: IPv6Address, *options: object, to: bytes | None = None) -> bytes:
    from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import Ether

    asked = bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:]
    group = bytes.fromhex("3333") + asked[-4:]
    frame = Ether(dst=(to or group).hex(":"), src=mac.hex(":"), type=0x86DD)
    frame /= IPv6(src=sender, dst=socket.inet_ntop(socket.AF_INET6, asked), hlim=255)
    frame /= ICMPv6ND_NS(tgt=str(IPv6Address(address.packed)))
    for option in options:
        frame /= option
    return bytes(frame)


def read_arp(frame: bytes) -> Heard | None:
    if len(frame) < _ETHERNET + _ARP.size:
        return None
    hardware, protocol, mac_length, ip_length, operation, mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET)
    if (hardware, protocol, mac_length, ip_length) != (1, 0x0800, 6, 4) or operation not in (1, 2):
        return None
    if any(sender):
        return Heard(sender, mac, is_probe=False, is_marked=False)
    return Heard(target, mac, is_probe=True, is_marked=frame[_ETHERNET + _ARP.size :].startswith(MARK))


def read_discovery(frame: bytes) -> Heard | None:
    if len(frame) < _TARGET_END or frame[20] != 58 or frame[21] != 255:  # hop limit: nobody beyond a router said it
        return None
    kind, target, mac = frame[54], frame[62:78], frame[6:12]
    if kind == 136:
        return Heard(target, mac, is_probe=False, is_marked=False)
    if kind == 135 and not any(frame[22:38]):
        return Heard(target, mac, is_probe=True, is_marked=NONCE in frame[_TARGET_END:])
    return None
