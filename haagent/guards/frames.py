"""The frames of the guards: questions, and what is read in the answers.

A question about a group's address claims nothing: sender 0.0.0.0 (an ARP probe, RFC 5227) or `::` (a solicitation as
in duplicate address detection, RFC 4862), so that no neighbour learns anything from it. The holder's kernel answers
both. Ours carry a mark, in the padding of the ARP frame and in the nonce option of RFC 3971: another node of a cluster
that asks is not somebody who is about to configure the address.

A gateway is asked as any neighbour is, from this host's own address.

What is asked has been laid out by scapy (`haagent.kernel.layouts`); here is written into it whom it is about.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import msgspec

from haagent.kernel import rewriting as at
from haagent.kernel.facts import IpAddress
from haagent.kernel.layouts import Layouts
from haagent.kernel.rewriting import rewritten

MARK = b"haagent"
NONCE = b"haagnt"  # six bytes make the option one unit of eight
_SHORTEST = 60  # of an Ethernet frame without its checksum
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ETHERNET, _IPV6 = 14, 40
_PADDING = MARK.ljust(_SHORTEST - _ETHERNET - _ARP.size, b"\0")
_TARGET_END = _ETHERNET + _IPV6 + 24


class Heard(msgspec.Struct, frozen=True):
    """A frame that says something of `address`."""

    address: bytes
    mac: bytes  # of who says it
    is_probe: bool  # it only asks whether the address is free
    is_marked: bool  # a node of a cluster asks


def question(layouts: Layouts, address: IpAddress, mac: bytes) -> bytes:
    """Who has it?"""
    if address.version == 4:
        asked = {at.SENDER: mac, at.ARP_SENDER_MAC: mac, at.ARP_TARGET: address.packed}
        return rewritten(layouts.arp_request, asked) + _PADDING
    return rewritten(layouts.marked_solicitation, _asked(address, mac) | {at.ND_OPTION: NONCE})


def greeting(layouts: Layouts, mac: bytes, own: str, address: IpAddress, *, to: bytes | None = None) -> bytes:
    """To a gateway, from our `own` address (empty: there is none). `to`: its hardware address, when it is known."""
    sender = ip_address(own).packed if own else bytes(len(address.packed))
    known = {at.DESTINATION: to} if to else {}
    if address.version == 4:
        asked = {at.SENDER: mac, at.ARP_SENDER_MAC: mac, at.ARP_SENDER: sender, at.ARP_TARGET: address.packed}
        return rewritten(layouts.arp_request, asked | known)
    asked = _asked(address, mac) | known
    if not own:
        return rewritten(layouts.anonymous_solicitation, asked)
    return rewritten(layouts.solicitation, asked | {at.IPV6_SENDER: sender, at.ND_OPTION: mac})


def _asked(address: IpAddress, mac: bytes) -> dict[int, bytes]:
    """To the group of those whose addresses end like this one."""
    group = bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:]
    ethernet = {at.DESTINATION: bytes.fromhex("3333") + group[-4:], at.SENDER: mac}
    return ethernet | {at.IPV6_DESTINATION: group, at.ND_TARGET: address.packed}


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
