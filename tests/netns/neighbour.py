"""Asks for an address as a neighbour does, past every cache. For each line with the MAC of a host it prints which
questions that host answered: JSON {question: answered}.

    python -m tests.netns.neighbour INTERFACE

`arp` is the broadcast question, `probe` the one of RFC 5227 with an empty sender, `unicast` the question to the host
itself; `solicited` and `directed` are the same for IPv6. Each is asked in another name, so that answers can be told
apart.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils6 import in6_getnsma, in6_getnsmac

from haagent.lab.plan import VIP4, VIP6

WAIT_S = 0.4
BROADCAST = "ff:ff:ff:ff:ff:ff"
ASKERS = {"arp": "10.20.1.3", "probe": "0.0.0.0", "unicast": "10.20.1.4", "solicited": "fd00:20::3"}
ASKERS["directed"] = "fd00:20::4"


def questions(mac: str, host: str) -> dict[str, Any]:
    group = in6_getnsma(socket.inet_pton(socket.AF_INET6, VIP6))
    all_with_it = socket.inet_ntop(socket.AF_INET6, group)

    def arp(target: str, name: str) -> Any:
        return Ether(dst=target, src=mac) / ARP(op=1, hwsrc=mac, psrc=ASKERS[name], pdst=VIP4)

    def solicitation(name: str, target: str) -> Any:
        ip = IPv6(src=ASKERS[name], dst=target, hlim=255)
        return ip / ICMPv6ND_NS(tgt=VIP6) / ICMPv6NDOptSrcLLAddr(lladdr=mac)

    return {
        "arp": arp(BROADCAST, "arp"),
        "probe": arp(BROADCAST, "probe"),
        "unicast": arp(host, "unicast"),
        "solicited": Ether(dst=in6_getnsmac(group), src=mac) / solicitation("solicited", all_with_it),
        "directed": Ether(dst=host, src=mac) / solicitation("directed", VIP6),
    }


def answered(frame: Any) -> str | None:
    """To whom, if it is an answer at all."""
    if ARP in frame and frame[ARP].op == 2 and frame[ARP].psrc == VIP4:
        return str(frame[ARP].pdst)
    if ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == VIP6:
        return str(frame[IPv6].dst)
    return None


def main(interface: str) -> None:
    for line in sys.stdin:
        print(json.dumps(ask(interface, line.strip())), flush=True)


def ask(interface: str, host: str) -> dict[str, bool]:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((interface, 0))
    for question in questions(wire.getsockname()[4].hex(":"), host).values():
        wire.send(bytes(question))
    seen: set[str | None] = set()
    deadline = time.monotonic() + WAIT_S
    while (left_s := deadline - time.monotonic()) > 0 and not set(ASKERS.values()) <= seen:
        wire.settimeout(left_s)
        try:
            frame = Ether(wire.recv(2048))
        except TimeoutError:
            break
        if frame.src == host:
            seen.add(answered(frame))
    wire.close()
    return {name: asker in seen for name, asker in ASKERS.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
