# SPDX-License-Identifier: GPL-2.0-only
"""What writes the layouts: scapy those for neighbours, pyroute2 those for the kernel.

`python -m haagent.kernel.compose` writes them to its standard output and ends. The agent never imports this: it has
no use for the size of the libraries, and scapy's licence is the licence of this file (`LICENSES/GPL-2.0-only.txt`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import msgspec
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from scapy.config import conf

from haagent.kernel.encoding import AF_INET, AF_INET6, IFA_F_NODAD, RTM_DELADDR, RTM_NEWADDR
from haagent.kernel.facts import MAX_LABEL, TAG
from haagent.kernel.layouts import Layouts
from haagent.kernel.netlink import ACK, CREATE, REPLACE, REQUEST

# Nothing is sent from here, and a router's tables may be large.
conf.route_autoload = conf.route6_autoload = False

from scapy.layers import inet6  # noqa: E402 - it loads the tables
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import NoPayload, Packet  # noqa: E402

NOBODY, BROADCAST = "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
NONCE = inet6.ICMPv6NDOptUnknown(type=14, len=1, data=bytes(6))  # RFC 3971


def layouts() -> Layouts:
    return Layouts(
        arp_request=_arp(1),
        arp_reply=_arp(2),
        advertisement=_advertisement(is_router=False),
        router_advertisement=_advertisement(is_router=True),
        solicitation=_solicitation(inet6.ICMPv6NDOptSrcLLAddr(lladdr=NOBODY)),
        anonymous_solicitation=_solicitation(NoPayload()),
        marked_solicitation=_solicitation(NONCE),
        adding={4: _adding(AF_INET), 6: _adding(AF_INET6)},
        removing={4: _message(RTM_DELADDR, 0, AF_INET), 6: _message(RTM_DELADDR, 0, AF_INET6)},
    )


def _arp(operation: int) -> bytes:
    said = ARP(op=operation, hwsrc=NOBODY, psrc="0.0.0.0", hwdst=NOBODY, pdst="0.0.0.0")
    return bytes(Ether(dst=BROADCAST, src=NOBODY, type=0x0806) / said)


def _advertisement(*, is_router: bool) -> bytes:
    return bytes(
        Ether(dst=ALL_NODES_MAC, src=NOBODY, type=0x86DD)
        / inet6.IPv6(src="::", dst=ALL_NODES, hlim=255)
        / inet6.ICMPv6ND_NA(tgt="::", R=int(is_router), S=0, O=1)
        / inet6.ICMPv6NDOptDstLLAddr(lladdr=NOBODY)
    )


def _solicitation(option: Packet) -> bytes:
    ethernet = Ether(dst=NOBODY, src=NOBODY, type=0x86DD)
    return bytes(ethernet / inet6.IPv6(src="::", dst="::", hlim=255) / inet6.ICMPv6ND_NS(tgt="::") / option)


def _adding(family: int) -> bytes:
    own: tuple[str, object] = ("IFA_FLAGS", IFA_F_NODAD) if family == AF_INET6 else ("IFA_LABEL", "-" * MAX_LABEL)
    lasting = ("IFA_CACHEINFO", {"ifa_preferred": 0, "ifa_valid": 0})
    return _message(RTM_NEWADDR, CREATE | REPLACE, family, ("IFA_PROTO", TAG), own, lasting)


def _message(kind: int, flags: int, family: int, *attributes: tuple[str, object]) -> bytes:
    nothing = "::" if family == AF_INET6 else "0.0.0.0"
    message = ifaddrmsg()
    message["header"]["type"] = kind
    message["header"]["flags"] = REQUEST | ACK | flags
    message["family"] = family
    message["attrs"] = [("IFA_LOCAL", nothing), ("IFA_ADDRESS", nothing), *attributes]
    message.encode()
    return bytes(message.data)


def main() -> None:
    gc.disable()  # it lives for a second
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("0")  # the agent is spared when memory runs out; not this
    sys.stdout.buffer.write(msgspec.msgpack.encode(layouts()))
    sys.stdout.buffer.flush()
    os._exit(0)  # the agent waits for the end, and the libraries take their time to be taken apart


if __name__ == "__main__":
    main()
