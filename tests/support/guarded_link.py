"""A link that is a list, the host on it, and its guards: what they say is kept, what they hear is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from ipaddress import ip_address, ip_interface
from types import SimpleNamespace
from typing import Any

import msgspec

from haagent.config import GuardsConfig
from haagent.core.events import GatewayChanged, Guarded
from haagent.guards.frames import Heard
from haagent.guards.guards import Guards
from haagent.guards.surroundings import Surroundings
from haagent.kernel.facts import AddressError, IpAddress, Link
from haagent.kernel.links import Links
from haagent.kernel.routes import Way
from tests.support.fakes import run_virtual
from tests.support.layouts import LAYOUTS

MINE, THEIRS, ROUTER = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 9))
VIP, GATEWAY, OWN = (ip_address(f"10.20.1.{number}") for number in (100, 1, 10))
LEASE_S = 0.35
Story = Callable[["Stage"], Coroutine[Any, Any, None]]


class Spec(msgspec.Struct, frozen=True):
    name: str
    interface: str = "eth0"
    addresses: tuple[Any, ...] = (ip_interface("10.20.1.100/24"),)


class Wire:
    """Takes a sniffer's place: keeps what is said, and answers for whom it is told to."""

    stage: Stage

    def __init__(self, interface: str, *, heard: Callable[[str, Heard], None], tell: Callable[[str], None]) -> None:
        self.interface = interface
        self.link: Link | None = None
        self.fault = self.complaint = ""
        self.said: list[bytes] = []
        self.listens: set[IpAddress] = set()
        self.is_closed = False
        self._heard = heard
        self.stage.wires[interface] = self

    @property
    def has_neighbours(self) -> bool:
        return self.link is None or self.link.is_ethernet

    def link_changed(self, link: Link | None) -> None:
        self.link = link

    def listen_for(self, addresses: Iterable[IpAddress], gateways: Iterable[IpAddress]) -> None:
        self.listens = {*addresses, *gateways}

    def say(self, frames: Iterable[bytes]) -> bool:
        for frame in frames:
            self.said.append(frame)
            mac = self.stage.answering.get(frame[38:42])
            if mac is not None:
                asyncio.get_running_loop().call_later(0.0005, self.hear, frame[38:42], mac)
        return True

    def hear(self, address: bytes, mac: bytes, *, is_probe: bool = False, is_marked: bool = False) -> None:
        if not self.is_closed:
            self._heard(self.interface, Heard(address, mac, is_probe, is_marked))

    def drain(self) -> None: ...
    def close(self) -> None:
        self.is_closed = True


class Stage:
    """Also the kernel's routes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.links = Links()
        self.links.learn(Link(1, "eth0", MINE, is_up=True, has_carrier=True, is_ethernet=True))
        self.wires: dict[str, Wire] = {}
        self.answering: dict[bytes, bytes] = {GATEWAY.packed: ROUTER}  # who answers for an address
        self.posted: list[tuple[float, Guarded | GatewayChanged]] = []
        self.notes: list[tuple[str, str, str]] = []
        self.held: set[str] = set()
        self.defences: list[float] = []
        self.routed: IpAddress | None = GATEWAY
        self.guards: Guards

    # the routes
    def open(self) -> None: ...
    def close(self) -> None: ...

    def gateway(self, index: int) -> IpAddress | None:
        return self.routed

    def way_to(self, address: IpAddress, *, index: int = 0) -> Way | None:
        if address in ip_interface("10.20.1.0/24").network:
            return Way(1, OWN, is_direct=True)
        if address == ip_address("10.99.0.1"):
            raise AddressError("the kernel tells no route: ENOMEM")
        return Way(1, OWN, is_direct=False)

    async def begin(self, wanted: GuardsConfig = GuardsConfig(), *specs: Spec, counts: bool = True) -> None:  # noqa: B008
        self.guards = Guards(
            specs or (Spec("web"),),
            wanted,
            Surroundings(
                lease_s=LEASE_S,
                links=self.links,
                layouts=LAYOUTS,
                is_held=lambda group: group in self.held,
                defend=lambda _group: self.defences.append(self.now()),
                post=lambda event: self.posted.append((self.now(), event)),
                note=lambda kind, group, text: self.notes.append((kind, group, text)),
                now=self.now,
            ),
            counts=counts,
        )
        self.guards._routes = self  # type: ignore[assignment]
        await self.guards.open()

    async def reload(self, specs: Sequence[Spec], wanted: GuardsConfig = GuardsConfig()) -> None:  # noqa: B008
        config: Any = SimpleNamespace(groups={spec.name: spec for spec in specs}, guards=wanted, guards_count=True)
        ending = (await self.guards.prepare(config)).apply()
        if ending is not None:
            await ending

    @property
    def wire(self) -> Wire:
        return self.wires["eth0"]

    def words(self, kind: type) -> list[Any]:
        return [event for _, event in self.posted if isinstance(event, kind)]


def play(story: Story) -> None:
    async def run(now: Callable[[], float]) -> None:
        stage = Stage(now)
        Wire.stage = stage
        try:
            await story(stage)
        finally:
            await stage.guards.close()
        assert all(wire.is_closed for wire in stage.wires.values())

    run_virtual(run)
