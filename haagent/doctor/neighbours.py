"""Does somebody on the link already answer for a floating address?

Asked as a host asks that is about to use an address (an ARP probe, RFC 5227; a solicitation from `::`, RFC 4862): no
neighbour learns anything from it. While a member holds the group its answer is right; who else answers is a stranger.

The two questions are written here with `struct`: scapy, with which the agent composes its own, takes half a second to
load on an idle host, and more of the doctor's three on a busy one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

from haagent.config import GroupConfig
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, ok
from haagent.guards.frames import MARK, NONCE, Heard
from haagent.guards.sniffer import Sniffer
from haagent.kernel.facts import IpAddress
from haagent.kernel.rewriting import checksum

ASK_S = (0.0, 0.2, 0.4)  # a question may be lost
WAIT_S = 0.4


async def neighbours(subject: Subject) -> AsyncIterator[Finding]:
    config = subject.config
    if config is None or not subject.is_privileged or config.nodes[config.me].witness:
        return
    groups = [group for group in subject.groups if _is_examined(subject, group)]
    if not groups:
        return
    answers = await asyncio.gather(*(_answers(subject, group) for group in groups))
    for group, heard in zip(groups, answers, strict=True):
        holder = await _holder(subject, group)
        if not heard:
            yield ok(f"nobody answers for the addresses of {group.name}")
        elif holder:
            yield ok(f"the addresses of {group.name} are answered, and {holder} holds it")
        else:
            for address, mac in sorted(heard.items()):
                yield error(
                    f"{mac} answers for {address} of {group.name} on {group.interface}, "
                    "and no node is known to hold it",
                    why="Two hosts with one address: clients reach sometimes one, sometimes the other.",
                    mend=f"find the host (`ip neigh`, the switch's table of {mac}), or choose another address",
                )


def _is_examined(subject: Subject, group: GroupConfig) -> bool:
    link = subject.links.get(group.interface)
    ours = {seen.packed for seen in subject.addresses}
    has_it = any(address.ip.packed in ours for address in group.addresses)
    return link is not None and not link.fault() and link.is_ethernet and not has_it


async def _answers(subject: Subject, group: GroupConfig) -> dict[str, str]:
    """Address to the hardware address of who answers."""
    link = subject.links[group.interface]
    addresses = {address.ip.packed: address.ip for address in group.addresses}
    found: dict[str, str] = {}

    def heard(_interface: str, said: Heard) -> None:
        if said.address in addresses and not said.is_probe:
            found[str(addresses[said.address])] = said.mac.hex(":")

    complaints: list[str] = []
    sniffer = Sniffer(group.interface, heard=heard, tell=complaints.append)
    sniffer.listen_for(addresses.values(), ())
    sniffer.link_changed(link)
    questions = [question(link.mac, address) for address in addresses.values()]
    try:
        for pause_s in ASK_S:
            await asyncio.sleep(pause_s)
            sniffer.say(questions)
        await asyncio.sleep(WAIT_S)
    finally:
        sniffer.close()
    if complaints and not found:
        raise OSError(complaints[0])
    return found


async def _holder(subject: Subject, group: GroupConfig) -> str:
    if subject.agent is not None:
        names = [each["holder"] for each in subject.agent.get("groups", ()) if each["name"] == group.name]
        return str(names[0]) if names and names[0] else ""
    if subject.agent_fault:
        return "some node, perhaps"
    return (await subject.hearing()).claimed.get(group.name, "")


def question(mac: bytes, address: IpAddress) -> bytes:
    """As a whole frame: who has it? Marked, so that agents know whose question it is."""
    if address.version == 4:
        ethernet = b"\xff" * 6 + mac + struct.pack(">H", 0x0806)
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address.packed
        return ethernet + arp + MARK.ljust(60 - len(ethernet) - len(arp), b"\0")
    asked = bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:]
    ethernet = b"\x33\x33" + asked[-4:] + mac + struct.pack(">H", 0x86DD)
    said = struct.pack(">BBHI", 135, 0, 0, 0) + address.packed + bytes((14, 1)) + NONCE
    pseudo = bytes(16) + asked + struct.pack(">II", len(said), socket.IPPROTO_ICMPV6)
    said = said[:2] + checksum(pseudo + said) + said[4:]
    return ethernet + struct.pack(">IHBB", 6 << 28, len(said), socket.IPPROTO_ICMPV6, 255) + bytes(16) + asked + said
