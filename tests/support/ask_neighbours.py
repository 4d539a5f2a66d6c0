"""Asks the neighbours as the guards do, on this host's eth0, and tells how long each answer took. No agent is needed.

python asking.py TIMES ADDRESS...      prints, per address, the milliseconds until each word was known, and the words
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

import msgspec

from haagent.agent import clock
from haagent.config import GuardsConfig
from haagent.core.events import GatewayChanged, Guarded
from haagent.guards import Guards, Surroundings
from haagent.kernel.host import Host
from tests.support.layouts import LAYOUTS

FOUR_ROUNDS_S = 0.05  # whoever is wrong about who answers would have said so by then


class Spec(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    interface: str = "eth0"


async def ask(times: int, addresses: list[str]) -> dict[str, list[tuple[float, str]]]:
    said: list[tuple[float, Guarded | GatewayChanged]] = []
    host = Host(LAYOUTS)
    host.start([], lambda _: None)
    guards = Guards(
        [Spec(address, (ip_interface(address),)) for address in addresses],
        GuardsConfig(gateway="off"),
        Surroundings(
            lease_s=0.35,
            links=host.links,
            layouts=LAYOUTS,
            is_held=lambda _group: False,
            defend=lambda _group: None,
            post=lambda event: said.append((time.monotonic(), event)),
            note=lambda *_: None,
            now=clock.now,
        ),
        counts=True,
    )
    await guards.open()
    found: dict[str, list[tuple[float, str]]] = {address: [] for address in addresses}
    for _ in range(times):
        said.clear()
        began = time.monotonic()
        for address in addresses:
            guards.watch(address, on=True)
        await asyncio.sleep(FOUR_ROUNDS_S)
        while len({event.group for _, event in said if isinstance(event, Guarded)}) < len(addresses):
            await asyncio.sleep(0.001)  # a busy machine
        for address in addresses:
            guards.watch(address, on=False)
        for at, event in said:
            if isinstance(event, Guarded):
                found[event.group].append((1000 * (at - began), event.why))
    await guards.close()
    host.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(int(sys.argv[1]), sys.argv[2:]))))
