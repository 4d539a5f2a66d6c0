"""The rules themselves: two tables in each of three families, `ip`, `ip6` and `arp`.

`haagent_gate`, permanent. Drops what arrives here for a gated address, what leaves from one, and ARP that speaks for
one, unless the packet has our mark; and takes the mark off again.

`haagent_key`, owned by our netlink socket. Puts the mark on packets of the addresses that are open. The kernel removes
this table when the socket closes, however that came about, and each address when its time is over.

In each hook a packet passes three chains of ours, all before anybody else's at `raw` (-300), so that nobody sees the
mark:

    strip   (-303)  a mark that somebody else has set opens nothing: it goes. Only packets of gated addresses are
                    touched, here as everywhere, so other packets keep whatever mark they have
    unlock  (-302)  in `haagent_key`: open addresses get the mark
    check   (-301)  gated addresses without it are dropped

What is dropped:

- arriving: at `prerouting`, so that a packet which NAT would send elsewhere is stopped too; only what is for this
  host (`fib daddr type local`), so that a node which merely forwards to the holder goes on doing so. The second form of
  the question is for interfaces in a VRF, whose addresses are not in the local table.
- leaving: at `output`, everything with a gated source, neighbour advertisements and answers to pings among it. It is
  not asked whether the address is still here: an established IPv6 connection goes on sending after it has gone.
- ARP: at its `output`, whatever has a gated sender address: answers, gratuitous ones, requests. What arrives need not
  be dropped, nothing is learned from a request but who asks. The same holds for neighbour solicitations: the
  advertisement that answers one has the address itself as its source.

Not seen by any of this: packets that the agent itself sends through a packet socket (announcements: it sends none
while it does not hold), connections of other hosts that this one translates to a gated source (they end because their
answers are dropped), eBPF programs that answer in the kernel's place, and hardware that forwards by itself.

Three families rather than `inet`: a packet then meets one short rule per chain, for a third of the cost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from haagent.gate import encoding as nft
from haagent.gate.encoding import ARP, IPV4, IPV4_ADDRESS, IPV6, IPV6_ADDRESS

GATE, KEY = "haagent_gate", "haagent_key"
GATED, OPEN = "gated", "open"  # their sets
FAMILIES = (IPV4, IPV6, ARP)

# One bit, on a packet for the time between two of our chains. Kubernetes uses 0xe000, Tailscale 0xff0000, Cilium
# 0xf00: those who mark packets before `raw` at all use lower bits.
MARK = 0x10000000

STRIP, UNLOCK, CHECK = -303, -302, -301

COMMENT = "haagent: no traffic for an address that this node does not hold; `haagent release` removes it"

_KEYS = {IPV4: IPV4_ADDRESS, IPV6: IPV6_ADDRESS, ARP: IPV4_ADDRESS}
# Hooks: name of the chains, hook, what comes before the address, where the address is from the network header, length.
_ETHERNET = nft.load_payload(4, 2) + nft.equals(struct.pack("BB", 6, 4))  # lengths of hardware and protocol address
_HOOKS: dict[int, tuple[tuple[str, int, bytes, int, int], ...]] = {
    IPV4: (("arriving", nft.PREROUTING, b"", 16, 4), ("leaving", nft.LOCAL_OUT, b"", 12, 4)),
    IPV6: (("arriving", nft.PREROUTING, b"", 24, 16), ("leaving", nft.LOCAL_OUT, b"", 8, 16)),
    ARP: (("leaving", nft.ARP_OUT, _ETHERNET, 14, 4),),
}
_FOR_THIS_HOST = (nft.is_local(nft.FIB_DESTINATION), nft.is_local(nft.FIB_DESTINATION | nft.FIB_INTERFACE))


def permanent(gated: Iterable[bytes], *, flags: int) -> Iterator[bytes]:
    """Messages that make `haagent_gate`."""
    for family in FAMILIES:
        yield nft.new_table(family, GATE, flags=flags, comment=COMMENT)
        yield nft.new_set(family, GATE, GATED, key=_KEYS[family], flags=0)
        for name, hook, before, offset, length in _HOOKS[family]:
            match = before + nft.load_payload(offset, length) + nft.is_in(GATED)
            yield from _strip(family, name, hook, match)
            yield from _check(family, name, hook, match)
    yield from gate(gated)


def _strip(family: int, name: str, hook: int, match: bytes) -> Iterator[bytes]:
    chain = f"strip_{name}"
    yield nft.new_chain(family, GATE, chain, hook=hook, priority=STRIP)
    yield nft.new_rule(family, GATE, chain, nft.has_mark(MARK), match, nft.clear_mark(MARK))


def _check(family: int, name: str, hook: int, match: bytes) -> Iterator[bytes]:
    chain, verdict = f"check_{name}", f"gated_{name}"
    yield nft.new_chain(family, GATE, verdict)
    yield nft.new_rule(family, GATE, verdict, nft.has_mark(MARK), nft.clear_mark(MARK), nft.verdict(nft.ACCEPT))
    for question in _FOR_THIS_HOST if name == "arriving" else (b"",):
        yield nft.new_rule(family, GATE, verdict, question, nft.count(), nft.verdict(nft.DROP))
    yield nft.new_chain(family, GATE, chain, hook=hook, priority=CHECK)
    yield nft.new_rule(family, GATE, chain, match, nft.verdict(nft.GOTO, verdict))


def owned() -> Iterator[bytes]:
    """Messages that make `haagent_key`; the socket that sends them is its owner."""
    for family in FAMILIES:
        yield nft.new_table(family, KEY, flags=nft.OWNED)
        yield nft.new_set(family, KEY, OPEN, key=_KEYS[family], flags=nft.TIMED)
        for name, hook, before, offset, length in _HOOKS[family]:
            chain = f"unlock_{name}"
            match = before + nft.load_payload(offset, length) + nft.is_in(OPEN)
            yield nft.new_chain(family, KEY, chain, hook=hook, priority=UNLOCK)
            yield nft.new_rule(family, KEY, chain, match, nft.set_mark(MARK))


def removal(tables: Iterable[tuple[int, str]]) -> Iterator[bytes]:
    for family, name in tables:
        yield nft.delete_table(family, name)


def gate(addresses: Iterable[bytes]) -> Iterator[bytes]:
    """Messages that add addresses to what is gated."""
    for address in addresses:
        for family in families(address):
            yield nft.add_elements(family, GATE, GATED, nft.element(address))


def ungate(addresses: Iterable[bytes]) -> Iterator[bytes]:
    for address in addresses:
        for family in families(address):
            yield nft.delete_elements(family, GATE, GATED, nft.element(address))


def families(address: bytes) -> tuple[int, ...]:
    return (IPV4, ARP) if len(address) == 4 else (IPV6,)
